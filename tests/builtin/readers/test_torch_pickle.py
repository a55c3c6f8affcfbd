"""A checkpoint's pickle gives what pickle.loads would, of plain data; of all else, nothing runs."""

from __future__ import annotations

import collections
import contextlib
import operator
import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.builtin.readers.torch_globals import OPAQUE, Pairs, Storage, Tensor
from qcore.builtin.readers.torch_pickle import Budget, Refused, load

PROTOCOLS = (2, 3, 4, 5)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(), st.binary()
)
KEYS = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()))
DATA = st.recursive(
    LEAVES | st.sets(st.integers()) | st.frozensets(st.text()) | st.binary().map(bytearray),
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(KEYS, inner),
        st.dictionaries(KEYS, inner).map(collections.OrderedDict),
    ),
)


def loaded(data: bytes, nbytes: int = 1 << 22) -> Any:
    return load(data, Budget(nbytes))


def refusal(data: bytes, nbytes: int = 1 << 22) -> str:
    """The message, of one line."""
    with pytest.raises(Refused) as caught:
        loaded(data, nbytes)
    assert str(caught.value).isprintable()
    return str(caught.value)


def same(got: Any, value: Any) -> bool:
    """Whether `got` is what the machine makes of `value`."""
    if isinstance(value, dict):
        flat = [part for item in value.items() for part in item]
        return type(got) is Pairs and same(list(got), flat)
    if isinstance(value, bytes | bytearray):
        return got is OPAQUE
    if isinstance(value, set | frozenset):
        value = list(value)
        return type(got) is list and sorted(got) == sorted(value)
    if isinstance(value, list | tuple):
        return type(got) is type(value) and len(got) == len(value) and all(map(same, got, value))
    return type(got) is type(value) and (got == value or value != value)


# Opcodes, as torch.save writes them
def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(module: str, qualname: str) -> bytes:
    return f"c{module}\n{qualname}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: bytes = name("torch", "FloatStorage"), count: bytes = number(6)) -> bytes:
    return b"(" + text("storage") + kind + text("0") + text("cpu") + count + b"tQ"


V2 = name("torch._utils", "_rebuild_tensor_v2")
V3 = name("torch._utils", "_rebuild_tensor_v3")
SPARSE = name("torch._utils", "_rebuild_sparse_tensor")
HOOKS = call(name("collections", "OrderedDict"))
UNTYPED = storage(name("torch.storage", "UntypedStorage"), number(12))
FLAT = (number(1), numbers(2), numbers(1), b"\x89", HOOKS)  # offset, shape, strides, …
TENSOR = call(V2, storage(), *FLAT)
EXPECTED = Tensor("float32", (2,), (1,), 1, Storage("0", "float32", 24))


@settings(max_examples=50, deadline=None)
@given(value=DATA, protocol=st.sampled_from(PROTOCOLS))
def test_plain_data_is_what_pickle_makes_of_it(value: Any, protocol: int) -> None:
    assert same(loaded(pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_long_data_uses_the_long_opcodes(protocol: int) -> None:
    value = ["a" * 300, b"b" * 300, list(range(70_000)), {i: str(i) for i in range(300)}, 2**2000]
    assert same(loaded(pickle.dumps(value, protocol), 1 << 26), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_text_too_long_for_a_name_is_ignored(protocol: int) -> None:
    value = ["a" * (1 << 16), "a" * ((1 << 16) + 1)]
    assert loaded(pickle.dumps(value, protocol)) == [value[0], OPAQUE]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_shared_is_shared_and_a_cycle_closed(protocol: int) -> None:
    shared: list[Any] = [1]
    shared.append(shared)
    first, second = loaded(pickle.dumps([shared, shared], protocol))
    assert first is second
    assert first[1] is first


def test_a_counter_is_a_dict_and_complex_numbers_are_ignored() -> None:
    value = [collections.Counter("aab"), 1j]
    assert loaded(pickle.dumps(value, 2)) == [["a", 2, "b", 1], OPAQUE]


def test_the_metadata_of_a_state_dict_is_dropped() -> None:
    state = collections.OrderedDict(a=1)
    state._metadata = {"version": 1}  # type: ignore[attr-defined]
    assert loaded(pickle.dumps(state, 2)) == ["a", 1]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (TENSOR, EXPECTED),
        (call(name("torch._utils", "_rebuild_tensor"), storage(), *FLAT[:3]), EXPECTED),
        (
            call(V3, UNTYPED, *FLAT, name("torch", "float8_e5m2")),
            Tensor("float8_e5m2", (2,), (1,), 1, Storage("0", "", 12)),
        ),
        (call(V2, storage(), *FLAT, b"}"), EXPECTED),
        (
            call(V2, storage(), *FLAT, b"}" + text("conj") + b"\x88s"),
            Tensor("float32", (2,), encoding="conjugated"),
        ),
        (call(name("torch._utils", "_rebuild_parameter"), TENSOR, b"\x88", HOOKS), EXPECTED),
        (
            call(
                name("torch._utils", "_rebuild_parameter_with_state"),
                TENSOR, b"\x88", HOOKS, b"}",
            ),
            EXPECTED,
        ),
        (
            call(
                name("torch._tensor", "_rebuild_from_type_v2"),
                V2, name("torch", "Tensor"), b"(" + storage() + b"".join(FLAT) + b"t", b"}",
            ),
            EXPECTED,
        ),
        (
            call(
                name("torch._utils", "_rebuild_qtensor"),
                storage(name("torch", "QInt8Storage")), *FLAT[:3],
                b"(" + name("torch", "per_tensor_affine") + b"K\x01K\x00t", b"\x89", HOOKS,
            ),
            Tensor("qint8", (2,), encoding="quantized"),
        ),
        (
            call(
                SPARSE,
                call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo")),
                b"(" + TENSOR * 2 + call(name("torch", "Size"), numbers(3, 4)) + b"\x88t",
            ),
            Tensor("float32", (3, 4), encoding="sparse"),
        ),
        (
            call(
                SPARSE,
                call(name("torch.serialization", "_get_layout"), text("torch.sparse_csr")),
                b"(" + TENSOR * 3 + call(name("torch", "Size"), numbers(3, 4)) + b"t",
            ),
            Tensor("float32", (3, 4), encoding="sparse"),
        ),
        (
            call(
                name("torch._utils", "_rebuild_meta_tensor_no_storage"),
                name("torch", "int8"), numbers(3), numbers(1), b"\x89",
            ),
            Tensor("int8", (3,), encoding="meta"),
        ),
        (call(name("torch", "Size"), numbers(3, 4)), (3, 4)),
        (call(name("torch", "device"), text("cuda")), OPAQUE),
    ],
)  # fmt: skip
def test_what_torch_rebuilds_becomes_a_record(data: bytes, expected: Any) -> None:
    got = loaded(b"\x80\x02" + data + b".")
    assert type(got) is type(expected)
    assert got == expected


class Runs:
    """Unpickled by pickle, it leaves a file behind."""

    def __init__(self, path: Path, function: Any = os.system) -> None:
        self.path, self.function = path, function

    def __reduce__(self) -> Any:
        return self.function, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, f"{os.name}.system"), (eval, "builtins.eval"), (exec, "builtins.exec")],
)
def test_no_function_is_ever_called(
    tmp_path: Path, protocol: int, function: Any, named: str
) -> None:
    data = pickle.dumps({"w": Runs(tmp_path / "ran", function)}, protocol)
    if function is os.system:
        pickle.loads(data)
        (tmp_path / "ran").unlink()  # raises if the attack is none
    message = refusal(data)
    assert message.startswith(f"it needs '{named}', which qcore never runs; save the state_dict")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_object_is_ever_made(protocol: int) -> None:
    assert refusal(pickle.dumps(operator.attrgetter("a"), protocol)).startswith(
        "it needs 'operator.attrgetter', which qcore never runs"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"(S'touch /tmp/x'\nios\nsystem\n.", "pickle opcode b'S' is not one that qcore reads"),
        (b"(X\x01\x00\x00\x00aios\nsystem\n.", "pickle opcode b'i' is not one that qcore reads"),
        (b"(cos\nsystem\nX\x01\x00\x00\x00ao.", "it needs 'os.system'"),
        (b"(ctorch\nTensor\nX\x01\x00\x00\x00ao.", "pickle opcode b'o' is not one that qcore"),
        (b"ctorch\nTensor\n)\x81.", r"pickle opcode b'\x81' is not one that qcore reads"),
        (b"\x82\x01.", r"pickle opcode b'\x82' is not one that qcore reads"),
        (b"\x84\x01\x00\x00\x00.", r"pickle opcode b'\x84' is not one that qcore reads"),
        (b"\x8c\x02os\x8c\x06system\x93.", "it needs 'os.system'"),
        (b"\x8c\x05torch\x8c\x05saves\x93.", "it needs 'torch.saves'"),
        (b"ctorch\nnn.Linear\n.", "it needs 'torch.nn.Linear'"),
        (name("builtins", "x" * 230) + b".", f"it needs 'builtins.{'x' * 188}...'"),
        (b"P0\n.", "pickle opcode b'P' is not one that qcore reads"),
        (b"\x8b\xff\xff\xff\x7f", r"pickle opcode b'\x8b' is not one that qcore reads"),
        (b"I" + b"9" * 10_000 + b"\n.", "pickle opcode b'I' is not one that qcore reads"),
    ],
)
def test_opcodes_and_names_that_make_objects_are_refused(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


@pytest.mark.parametrize(
    "data",
    [
        b"", b".", b"N", b"h\x00.", b"q\x00.", b"j\xff\xff\xff\xff.", b"a.", b"Na.", b"]a.", b"e.",
        b"}(Nu.", b"}Ns.", b"NN\x86", b"N\x86.", b"\x85.", b"\x87.", b"t.", b"NR.", b"R.", b"NNR.",
        b"]}b.", b"Nb.", TENSOR + b"}b.", name("torch", "Tensor") + b"}b.",
        b"\x93.", b"KK\x93", b"NN\x93.", b"c" + b"a" * 999 + b"\nb\n.", b"ca\n",
        b"X\xff\xff\xff\xffab.", b"\x8d" + b"\xff" * 8 + b"ab.", b"\x8e" + b"\xff" * 8 + b"ab.",
        b"\x96" + b"\xff" * 8 + b"ab.", b"X\x01\x00\x00\x00\xff.", b"\x8a\xffab.", b"G1.", b"J1.",
        b"NQ.", b")Q.", b"]Q.", text("abcde") + b"Q.", b"(NNNNNtQ.",
        storage(count=number(-1)) + b".", storage(count=number(2**63)) + b".",
        storage(count=b"\x88") + b".", storage(count=text("1")) + b".",
        storage(name("torch", "Tensor")) + b".", storage(text("FloatStorage")) + b".",
        call(name("torch", "Tensor"), b"N") + b".", name("torch", "device") + b"]R.",
        call(name("torch", "device"), b"N" * 10) + b".", call(V2) + b".", call(V2, b"N" * 9) + b".",
        call(name("collections", "OrderedDict"), b"]") + b".",
        call(V2, b"N", *FLAT) + b".", call(V2, b"(NNNt", *FLAT) + b".",
        call(V2, storage(), number(-1), *FLAT[1:]) + b".",
        call(V2, storage(), b"N", *FLAT[1:]) + b".",
        call(V2, storage(), number(0), numbers(2), numbers(-1), b"\x89", HOOKS) + b".",
        call(V2, storage(), number(0), numbers(-2), numbers(1), b"\x89", HOOKS) + b".",
        call(V2, storage(), number(0), numbers(2**63), numbers(1), b"\x89", HOOKS) + b".",
        call(V2, storage(), number(0), numbers(2, 2), numbers(1), b"\x89", HOOKS) + b".",
        call(V2, storage(), number(0), *[numbers(*[1] * 65)] * 2, b"\x89", HOOKS) + b".",
        call(V2, storage(), number(0), b"]", b"]", b"\x89", HOOKS) + b".",
        call(V2, UNTYPED, *FLAT) + b".", call(V3, UNTYPED, *FLAT, text("float32")) + b".",
        call(V3, UNTYPED, *FLAT, name("torch", "int4")) + b".",
        call(V3, UNTYPED, *FLAT, name("torch", "Tensor")) + b".",
        call(SPARSE, b"N", b")") + b".", call(SPARSE, b"N", b"N") + b".",
        call(SPARSE, b"N", b"(NN" + numbers(1) + b"t") + b".",
    ],
)  # fmt: skip
def test_damage_is_told_with_its_place(data: bytes) -> None:
    message = refusal(data)
    assert message.startswith("its pickle is damaged near byte ")
    assert message.endswith("; save or download it again")


def test_a_function_that_calls_another_does_not_call_itself() -> None:
    rebuild = name("torch._tensor", "_rebuild_from_type_v2")
    nested = rebuild + b"q\x00" + b"h\x00N(" * 5000 + b"N" + b"tN" * 5000 + b"(" + b"tR."
    assert "damaged" in refusal(nested)
    inside = b"(" + rebuild + b"NNNt"
    assert "damaged" in refusal(call(rebuild, rebuild, b"N", inside, b"N") + b".")


def test_a_cut_pickle_is_damaged_wherever_it_is_cut() -> None:
    whole = b"\x80\x02}(" + text("w") + TENSOR + text("n") + b"\x96" + bytes(8) + b"u."
    loaded(whole)
    for length in range(len(whole)):
        assert "damaged" in refusal(whole[:length])


def survives(data: bytes) -> None:
    with contextlib.suppress(Refused):
        loaded(data)


@settings(deadline=None)
@given(st.lists(st.sampled_from([bytes([code]) for code in range(256)] + [TENSOR, V2, HOOKS])))
def test_any_opcodes_give_data_or_are_refused(parts: list[bytes]) -> None:
    survives(b"".join(parts) + b".")


@settings(deadline=None)
@given(at=st.integers(0, len(TENSOR) - 1), byte=st.binary(min_size=1, max_size=1))
def test_a_damaged_tensor_is_data_or_refused(at: int, byte: bytes) -> None:
    survives(TENSOR[:at] + byte + TENSOR[at + 1 :] + b".")


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


MANY = 1 << 17
BOMBS = {
    "dicts": b"}" * MANY,
    "lists": b"]" * MANY,
    "marks": b"(" * MANY,
    "floats": (b"G" + bytes(8)) * MANY,
    "numbers": b"J\xff\xff\xff\x7f" * MANY,
    "long numbers": (b"\x8a\xff" + b"\x01" * 255) * (MANY >> 4),
    "tuples": b"N\x85" * MANY,
    "memo": b"N" + b"\x94" * MANY,
    "wide memo": b"}" + b"".join(put(i << 8) for i in range(MANY)),
    "short wide text": text("\U0001f600") * MANY,
    "long wide text": text("\U0001f600" + "a" * ((1 << 16) - 4)) * 99,
    "lists of one": b"]Na" * MANY,
    "dicts of one": b"}NNs" * MANY,
    "one list": b"](" + b"N" * MANY + b"e",
    "lists in lists": b"]" * MANY + b"a" * (MANY - 1),
    "tuples in tuples": b"N" + b"\x85" * MANY,
    "calls": name("collections", "OrderedDict") + b"q\x00" + b"h\x00)R" * MANY,
    "a great argument": b"(" + b"N" * 9999 + b"tq\x00" + name("torch", "Size") + b"q\x01"
    + b"h\x01h\x00\x85R" * MANY,
}  # fmt: skip


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_no_pickle_takes_more_memory_than_it_may(data: bytes) -> None:
    budget = 1 << 20
    tracemalloc.start()
    try:
        message = refusal(data, budget)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message.startswith("it holds more objects than qcore reads of one file; save")
    assert peak < budget * 1.3


def test_a_deep_structure_is_loaded_and_forgotten_without_recursion() -> None:
    depth = 100_000
    for data in (b"]" * depth + b"a" * (depth - 1), b"N" + b"\x85" * depth):
        loaded(data + b".", 1 << 26)
