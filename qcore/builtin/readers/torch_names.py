"""Names of the tensors in nested dicts and lists: the keys on the way to each, joined by dots."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from qcore.builtin.readers.torch_globals import Pairs, Tensor
from qcore.builtin.readers.torch_pickle import Budget, Refused
from qcore.stored_file import quoted

_DEEPEST = 100  # what holds itself is deeper than any limit
_MOST_VISITS = 3 << 18  # what is shared many times over is visited as often
_WAY_OUT = "save its tensors in one flat dict"


def named_tensors(root: object, alone: str, budget: Budget) -> Iterator[tuple[str, Tensor]]:
    """The tensors in `root`, in order, each with its name, no two alike.

    A key that is a number, a truth value or None is written as text; places in a list are counted
    from 0. What holds no tensor may have any key.

    Args:
        root: what `torch_pickle.load` gives.
        alone: the name of a tensor that is in no dict or list.
        budget: what the names may take.

    Raises:
        Refused: a tensor has no name or that of another, or there is no end to them.
    """
    names = set()
    for keys, tensor in _tensors(root):
        budget.spend(sum(map(sys.getsizeof, keys)))
        name = ".".join(map(_text, keys)) if keys else alone
        if name in names:
            raise Refused(f"two of its tensors would be named {quoted(name)}; {_WAY_OUT}")
        names.add(name)
        yield name, tensor


def _tensors(root: Any) -> Iterator[tuple[list[Any], Tensor]]:
    """The tensors, and the keys that lead to each; without recursion."""
    keys: list[Any] = []
    ways: list[Iterator[tuple[Any, Any]]] = [iter([(None, root)])]
    visits = 0
    while ways:
        for key, value in ways[-1]:
            visits += 1
            if visits > _MOST_VISITS or len(ways) > _DEEPEST:
                limits = f"more than {_MOST_VISITS} values, or deeper than {_DEEPEST}"
                raise Refused(f"it holds {limits}; {_WAY_OUT}")
            if type(value) is Tensor:
                yield [*keys, key][1:], value
            elif type(value) in (list, tuple, Pairs):
                keys.append(key)
                ways.append(_items(value))
                break
        else:
            ways.pop()
            del keys[-1:]


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a list, tuple or dict holds, each with its place or key."""
    if type(value) is not Pairs:
        return enumerate(value)
    in_turn = iter(value)
    return zip(in_turn, in_turn, strict=True)


def _text(key: Any) -> str:
    """A key as a part of a name.

    Raises:
        Refused: it is no text, or holds half a character.
    """
    if key is not None and not isinstance(key, str | int | float):
        raise Refused(f"a tensor in it has a key that is neither text nor a number; {_WAY_OUT}")
    text = str(key)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"a tensor in it has the key {quoted(text)}, which holds half a character"
            raise Refused(f"{message}; {_WAY_OUT}") from error
    return text
