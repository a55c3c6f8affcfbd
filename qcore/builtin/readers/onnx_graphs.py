"""The graphs of an ONNX model: the tensors that they and the graphs inside them hold, by name."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from qcore.builtin.readers.onnx_tensor import TensorProto, add_dims, tensor_proto
from qcore.builtin.readers.protobuf import BYTES, VARINT, Field, Messages, key
from qcore.stored_file import StoredFile

MOST_NAMES = 50_000  # of tensors and of graphs inside others; some 30 MB when listed
MOST_LETTERS = 1 << 24  # of all names together, since what is inside a graph repeats its name
MOST_NESTED = 16  # graphs inside one another

_IR_VERSION, _GRAPH = key(1, VARINT), key(7, BYTES)
_MODEL = {_IR_VERSION, key(5, VARINT)} | {
    key(number, BYTES) for number in (2, 3, 4, 6, 7, 8, 14, 20, 25, 26)
}
_MOST_IN_MODEL = 1 << 14  # fields; a model has some ten, and one for each of its functions
_LATEST_IR_VERSION = 99  # 13 after eight years

_NODE, _INITIALIZER, _SPARSE_INITIALIZER = key(1, BYTES), key(5, BYTES), key(15, BYTES)
_HOLD_TENSORS = (_NODE, _INITIALIZER, _SPARSE_INITIALIZER)
_IN_GRAPH = {key(number, BYTES) for number in (1, 2, 5, 10, 11, 12, 13, 14, 15, 16)}
_OUTPUT, _OP_TYPE, _ATTRIBUTE = key(2, BYTES), key(4, BYTES), key(5, BYTES)
_NAME, _TENSOR, _BODY, _BODIES = key(1, BYTES), key(5, BYTES), key(6, BYTES), key(11, BYTES)
_VALUES = key(1, BYTES)
_SPARSE_DIMS = (key(3, VARINT), key(3, BYTES))


def is_model(file: StoredFile) -> bool:
    """Whether the file is a model from end to end, told by the fields of its outermost message.

    Raises:
        ReadError: its bytes are no message.
    """
    messages = Messages(file, _MOST_IN_MODEL)
    version, has_graph = 0, False
    for found in messages.fields(0, file.size):
        if found.key not in _MODEL:
            return False
        if found.key == _IR_VERSION:
            version = found.value
        elif found.key == _GRAPH:
            has_graph = True
            first = next(messages.inside(found), None)
            if first is not None and first.key not in _IN_GRAPH:
                return False
    return has_graph and 1 <= version <= _LATEST_IR_VERSION


def named_tensors(file: StoredFile) -> Iterator[TensorProto]:
    """The tensors of a model, as `OnnxReader` names them, a graph before those inside it.

    Raises:
        ReadError: the model is damaged, or made to hurt.
    """
    return _Walk(file).tensors()


class _Graph(NamedTuple):
    """A graph that is to be walked: what the names in it begin with, and how deep it is."""

    message: Field
    prefix: str
    depth: int


class _Walk:
    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._messages = Messages(file)
        self._pending: deque[_Graph] = deque()
        self._names = self._letters = self._tensors = 0

    def tensors(self) -> Iterator[TensorProto]:
        for found in self._messages.fields(0, self._file.size, (_GRAPH,)):
            self._enter(found, "", 0)
        if not self._pending:
            raise self._file.error("it holds no graph; it is no ONNX model, or cut off")
        while self._pending:
            yield from self._graph(self._pending.popleft())

    def _graph(self, graph: _Graph) -> Iterator[TensorProto]:
        for found in self._messages.inside(graph.message, _HOLD_TENSORS):
            if found.key == _INITIALIZER:
                tensor = tensor_proto(self._messages, found)
                yield self._named(tensor, graph.prefix, tensor.name)
            elif found.key == _SPARSE_INITIALIZER:
                tensor = self._sparse(found)
                yield self._named(tensor, graph.prefix, tensor.name)
            else:
                yield from self._node(found, graph)

    def _node(self, node: Field, graph: _Graph) -> Iterator[TensorProto]:
        """The value of a constant; of any other node the graphs inside are noted for later."""
        parts = self._messages.first_of_each(node, (_OUTPUT, _OP_TYPE, _ATTRIBUTE))
        if _ATTRIBUTE not in parts:
            return
        for found in self._messages.inside(node, (_ATTRIBUTE,)):
            holds = self._messages.first_of_each(found, (_NAME, _TENSOR, _BODY, _BODIES))
            if not holds.keys() - {_NAME}:
                continue
            name, output = self._text(holds.get(_NAME)), self._text(parts.get(_OUTPUT))
            is_value = name == "value" and self._text(parts.get(_OP_TYPE)) == "Constant"
            if is_value and _TENSOR in holds:
                yield self._named(
                    tensor_proto(self._messages, holds[_TENSOR]), graph.prefix, output
                )
            prefix, depth = f"{graph.prefix}{output}/{name}/", graph.depth + 1
            if _BODY in holds:
                self._enter(holds[_BODY], prefix, depth)
            if _BODIES in holds:
                for index, body in enumerate(self._messages.inside(found, (_BODIES,))):
                    self._enter(body, f"{prefix}{index}/", depth)

    def _sparse(self, message: Field) -> TensorProto:
        """A sparse tensor by its values, which have its name and dtype, and its whole shape."""
        parts = self._messages.first_of_each(message, (_VALUES,))
        values = parts.get(_VALUES, message._replace(end=message.start))
        tensor = tensor_proto(self._messages, values)
        tensor.dims, tensor.encoding = [], "sparse"
        for found in self._messages.inside(message, _SPARSE_DIMS):
            add_dims(tensor.dims, self._messages, found)
        return tensor

    def _enter(self, message: Field, prefix: str, depth: int) -> None:
        if depth > MOST_NESTED:
            raise self._file.error(f"graphs are nested more than {MOST_NESTED} deep; refused")
        self._count(prefix)
        self._pending.append(_Graph(message, prefix, depth))

    def _named(self, tensor: TensorProto, prefix: str, name: str) -> TensorProto:
        tensor.name = prefix + (name or f"unnamed_{self._tensors}")
        self._tensors += 1
        self._count(tensor.name)
        return tensor

    def _count(self, name: str) -> None:
        self._names += 1
        self._letters += len(name)
        if self._names > MOST_NAMES:
            raise self._file.error(f"it holds more than {MOST_NAMES} tensors and graphs; refused")
        if self._letters > MOST_LETTERS:
            raise self._file.error(f"its names take more than {MOST_LETTERS} letters; refused")

    def _text(self, found: Field | None) -> str:
        return "" if found is None else self._messages.text(found)
