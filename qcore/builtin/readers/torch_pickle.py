"""The pickle in a PyTorch checkpoint, read as data: nothing that it names is imported or called.

It is the work of a small machine with a stack. The machine knows the opcodes that make plain data,
and of the globals those of `torch_globals`, for which it puts records of qcore's own.

Source: pickletools of the standard library; torch/_weights_only_unpickler.py.
"""

from __future__ import annotations

import io
import pickle  # for the names of its opcodes alone
import struct
import sys
from collections.abc import Callable
from typing import Any

from qcore.builtin.readers import torch_globals
from qcore.builtin.readers.torch_globals import GLOBALS, OPAQUE, Global, Pairs
from qcore.stored_file import quoted

_WAY_OUT = "save the state_dict alone: torch.save(model.state_dict(), path)"
_LONGEST_LINE = 256
_LONGEST_TEXT = 1 << 16  # bytes of a text that may yet be part of a name
_STEP = 32  # bytes: a place on the stack, and later in a container, each with room to grow
_MEMORIZED = 80  # bytes: a number and a place in a dict that has just grown


class Refused(Exception):
    """What is not read in a checkpoint, and what to do, in one line without the file's name."""


class Budget:
    """The memory that what a file holds may take, estimated from above.

    Args:
        nbytes: all of it.
    """

    def __init__(self, nbytes: int) -> None:
        self._left = nbytes

    def spend(self, nbytes: int) -> None:
        """Take some of it.

        Raises:
            Refused: so much is not left.
        """
        self._left -= nbytes
        if self._left < 0:
            message = "it holds more objects than qcore reads of one file"
            raise Refused(f"{message}; save the state_dict alone, or as .safetensors")


def load(data: bytes, budget: Budget) -> object:
    """What a pickle holds: lists, tuples, Pairs for dicts, numbers, text and `torch_globals`' own.

    Raises:
        Refused: it is damaged, too large, or needs what qcore does not run.
    """
    machine = _Machine(data, budget)
    try:
        return machine.run()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        place = f"its pickle is damaged near byte {machine.position}"
        raise Refused(f"{place}; save or download it again") from error


class _Machine:
    """A stack, marks on it, and a memo; `_STEPS` says what each opcode does to them."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self._file = io.BytesIO(data)
        self._read = self._file.read
        self._spend = budget.spend
        self._marks: list[int] = []
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    @property
    def position(self) -> int:
        return self._file.tell()

    def run(self) -> object:
        while (opcode := self._read(1)) != pickle.STOP:
            step = _STEPS.get(opcode)
            if step is None:
                if not opcode:
                    raise ValueError("cut off")
                raise Refused(f"pickle opcode {opcode!r} is not one that qcore reads; {_WAY_OUT}")
            self._spend(_STEP)
            step(self)
        return self.stack.pop()

    def take(self, count: int) -> bytes:
        data = self._read(count)
        if len(data) < count:
            raise ValueError("cut off")
        return data

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def push(self, value: object) -> None:
        self._spend(sys.getsizeof(value))
        self.stack.append(value)

    def push_text(self, form: str) -> None:
        data = self.take(self.number(form))
        is_name = len(data) <= _LONGEST_TEXT
        self.push(data.decode("utf-8", "surrogatepass") if is_name else OPAQUE)

    def skip_bytes(self, form: str) -> None:
        self.take(self.number(form))
        self.push(OPAQUE)

    def push_long(self) -> None:
        self.push(int.from_bytes(self.take(self.number("B")), "little", signed=True))

    def memorize(self, index: int) -> None:
        self._spend(_MEMORIZED)
        self.memo[index] = self.stack[-1]

    def mark(self) -> None:
        self._spend(sys.getsizeof(place := len(self.stack)))
        self._marks.append(place)

    def since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("nothing to take")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def put(self, items: list[Any], kind: type[list[Any]]) -> None:
        """Add to the list or dict on top."""
        if type(self.stack[-1]) is not kind or (kind is Pairs and len(items) % 2):
            raise ValueError("items for nothing that holds them")
        self.stack[-1].extend(items)

    def find(self, module: str, name: str) -> None:
        # protocol 2 writes Python 2's name
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full not in GLOBALS:
            raise Refused(f"it needs {quoted(full)}, which qcore never runs; {_WAY_OUT}")
        self.stack.append(GLOBALS[full])

    def line(self) -> str:
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("a name without an end")
        return line[:-1].decode()

    def find_on_stack(self) -> None:
        module, name = self.last(2)
        if type(module) is not str or type(name) is not str:
            raise ValueError("a name that is no text")
        self.find(module, name)

    def call(self) -> None:
        function, arguments = self.last(2)
        if type(function) is not Global:
            raise ValueError("a call of no function")
        self.push(function.call(arguments))

    def build(self) -> None:
        """Drop a state: that of a dict, such as a state_dict's metadata, holds no tensors."""
        target, _ = self.last(2)
        self.stack.append(target)
        if type(target) is not Pairs:
            raise ValueError("a state for nothing that has one")


_STEPS: dict[bytes, Callable[[_Machine], object]] = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: lambda m: m.take(8),
    pickle.NONE: lambda m: m.stack.append(None),
    pickle.NEWTRUE: lambda m: m.stack.append(True),
    pickle.NEWFALSE: lambda m: m.stack.append(False),
    pickle.BININT: lambda m: m.push(m.number("<i")),
    pickle.BININT1: lambda m: m.push(m.number("B")),
    pickle.BININT2: lambda m: m.push(m.number("<H")),
    pickle.LONG1: lambda m: m.push_long(),
    pickle.BINFLOAT: lambda m: m.push(m.number(">d")),
    pickle.SHORT_BINUNICODE: lambda m: m.push_text("B"),
    pickle.BINUNICODE: lambda m: m.push_text("<I"),
    pickle.BINUNICODE8: lambda m: m.push_text("<Q"),
    pickle.SHORT_BINBYTES: lambda m: m.skip_bytes("B"),
    pickle.BINBYTES: lambda m: m.skip_bytes("<I"),
    pickle.BINBYTES8: lambda m: m.skip_bytes("<Q"),
    pickle.BYTEARRAY8: lambda m: m.skip_bytes("<Q"),
    pickle.EMPTY_TUPLE: lambda m: m.stack.append(()),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.EMPTY_SET: lambda m: m.push([]),
    pickle.EMPTY_DICT: lambda m: m.push(Pairs()),
    pickle.MARK: lambda m: m.mark(),
    pickle.TUPLE: lambda m: m.push(tuple(m.since_mark())),
    pickle.TUPLE1: lambda m: m.push(tuple(m.last(1))),
    pickle.TUPLE2: lambda m: m.push(tuple(m.last(2))),
    pickle.TUPLE3: lambda m: m.push(tuple(m.last(3))),
    pickle.FROZENSET: lambda m: m.push(m.since_mark()),
    pickle.APPEND: lambda m: m.put(m.last(1), list),
    pickle.APPENDS: lambda m: m.put(m.since_mark(), list),
    pickle.ADDITEMS: lambda m: m.put(m.since_mark(), list),
    pickle.SETITEM: lambda m: m.put(m.last(2), Pairs),
    pickle.SETITEMS: lambda m: m.put(m.since_mark(), Pairs),
    pickle.BINPUT: lambda m: m.memorize(m.number("B")),
    pickle.LONG_BINPUT: lambda m: m.memorize(m.number("<I")),
    pickle.MEMOIZE: lambda m: m.memorize(len(m.memo)),
    pickle.BINGET: lambda m: m.stack.append(m.memo[m.number("B")]),
    pickle.LONG_BINGET: lambda m: m.stack.append(m.memo[m.number("<I")]),
    pickle.GLOBAL: lambda m: m.find(m.line(), m.line()),
    pickle.STACK_GLOBAL: lambda m: m.find_on_stack(),
    pickle.REDUCE: lambda m: m.call(),
    pickle.BUILD: lambda m: m.build(),
    pickle.BINPERSID: lambda m: m.push(torch_globals.storage(m.last(1)[0])),
}
