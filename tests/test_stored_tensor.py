"""Every scheme's tensors come back from a file bit for bit, and take the bytes declared."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import qcore
from qcore import FitContext, QuantizedTensor, Quantizer, QuantParams, RoundingPolicy
from qcore.engine import empty_params
from qcore.loading import ids, plugins
from qcore.registry import Entry
from qcore.stored_tensor import StoredTensor
from qcore.testing import examples

SCHEMES = [scheme for id in ids("scheme") for scheme in examples(plugins().get("scheme", id))]
GRANULARITIES = [
    "tensor", "token", "channel:0", "channel:-1", "channel:0:groups=2", "group:3:tail=short",
    "group:2:0:tail=short", "block:2:3:tail=short",
]  # fmt: skip
SCALE_FORMATS = [
    form for id in ids("scale_format") for form in examples(plugins().get("scale_format", id))
]


def same(found: NDArray[Any], array: NDArray[Any]) -> None:
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


def saved(path: Path, **tensors: QuantizedTensor) -> None:
    """Save tensors: what comes back is the same to the bit, and as large as declared."""
    qcore.save(path, tensors)
    found = qcore.load(path)
    assert list(found) == list(tensors)
    for name, q in tensors.items():
        again = found[name]
        assert isinstance(again, QuantizedTensor)
        same(again.codes, q.codes)
        fields, expected = again.params.fields(), q.params.fields()
        assert list(fields) == list(expected)
        for field, array in expected.items():
            same(fields[field], array)
        assert (again.recipe, again.layout) == (q.recipe, q.layout)
        assert type(again.recipe.parts.quantizer) is type(q.recipe.parts.quantizer)
        same(again.dequantize(), q.dequantize())
    assert data_bytes(path) == sum(q.nbytes for q in tensors.values())


def data_bytes(path: Path) -> int:
    """What a file holds after its header."""
    return path.stat().st_size - 8 - int.from_bytes(path.read_bytes()[:8], "little")


# --- what is installed ----------------------------------------------------------------------------


@st.composite
def quantized(draw: st.DrawFn) -> QuantizedTensor:
    recipe = qcore.Recipe(
        draw(st.sampled_from(SCHEMES)),
        granularity=draw(st.sampled_from(GRANULARITIES)),
        scale_format=draw(st.sampled_from(SCALE_FORMATS)),
    )
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7))
    numbers = st.floats(-1000, 1000, width=32)
    x = draw(hnp.arrays(np.float32, shape, elements=numbers))
    try:
        return qcore.quantize(x, recipe)
    except (qcore.ShapeError, qcore.RangeError):  # it does not fit
        assume(False)
        raise


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(quantized())
def test_any_tensor_comes_back_and_takes_the_bytes_declared(
    tmp_path: Path, q: QuantizedTensor
) -> None:
    saved(tmp_path / "file", w=q)
    fields = 1 + len(q.params.fields())
    if q.codes.size:
        assert 0 <= q.nbytes * 8 - round(q.bits_per_weight * q.codes.size) < 8 * fields


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme}-{scheme.bits}")
def test_every_scheme_is_stored_with_every_scale_format(tmp_path: Path, scheme: Quantizer) -> None:
    x = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)
    tensors = {
        str(form): qcore.quantize(x, scheme=scheme, granularity="group:5", scale_format=form)
        for form in SCALE_FORMATS
    }
    saved(tmp_path / "file", **tensors)


def test_all_that_is_installed_is_tried() -> None:
    assert {spec.partition(":")[0] for spec in GRANULARITIES} >= set(ids("granularity"))
    assert {scheme.id for scheme in SCHEMES} == set(ids("scheme"))
    assert {form.id for form in SCALE_FORMATS} == set(ids("scale_format"))


def test_codes_of_whole_bytes_are_a_tensor_of_their_own_shape(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for bits, dtype in ((8, "int8"), (16, "int16"), (4, "uint8"), (12, "uint8")):
        q = qcore.quantize(x, scheme="symmetric", bits=bits)
        stored = StoredTensor.of("w", q.recipe, q.shape, "float32", q.params)
        entry = stored.entries["codes"]
        packed = (q.pack().size,)
        assert (entry.name, entry.dtype) == ("w:codes", dtype)
        assert entry.shape == ((3, 4) if bits in (8, 16) else packed)
        assert stored.nbytes == q.nbytes


# --- params that were given -----------------------------------------------------------------------


def test_params_that_were_given_come_back(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    for params in (
        QuantParams(np.float32([[0.5]]), zero_point=np.int32([[-3]])),
        QuantParams(np.float32([[0.5], [0.25]]), zero_point=np.int32([[7], [-8]])),
    ):
        q = qcore.quantize(x, "asymmetric bits=4 granularity=channel:0", params=params)
        saved(tmp_path / "file", w=q)


def test_a_zero_point_that_was_not_given_is_not_stored(tmp_path: Path) -> None:
    params = QuantParams(np.float32([[0.5]]))
    q = qcore.quantize(np.float32([[0, 1]]), "asymmetric bits=4", params=params)
    qcore.save(tmp_path / "file", {"w": q})
    again = qcore.load(tmp_path / "file")["w"]
    assert isinstance(again, QuantizedTensor)
    assert again.zero_point is None
    same(again.dequantize(), q.dequantize())


@pytest.mark.parametrize(
    ("scheme", "params", "says"),
    [
        ("asymmetric bits=4", QuantParams(np.float32([[1]]), zero_point=np.int32([[8]])),
         "a zero_point is not among the numbers that 4 bits of int32 hold"),
        ("asymmetric:signed=false bits=4",
         QuantParams(np.float32([[1]]), zero_point=np.int32([[-1]])),
         "a zero_point is not among the numbers that 4 bits of int32 hold"),
    ],
)  # fmt: skip
def test_params_that_would_not_come_back_are_refused_and_nothing_is_written(
    tmp_path: Path, scheme: str, params: QuantParams, says: str
) -> None:
    q = qcore.quantize(np.float32([[0, 1]]), scheme, params=params)
    path = tmp_path / "file"
    with pytest.raises(qcore.UsageError, match=f"^{re.escape(str(path))}: tensor 'w': {says}"):
        qcore.save(path, {"w": q})
    assert list(tmp_path.iterdir()) == []


# --- third parties' -------------------------------------------------------------------------------


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, type[Any]], None]:
    """Registers a class, as a plugin would, until the test ends."""
    entries = plugins().registry.entries
    return lambda kind, cls: monkeypatch.setitem(entries[kind], cls.id, Entry(cls, "third-party"))


@dataclass(frozen=True)
class Bag(Quantizer):
    """Signs, with whatever else in its params."""

    id: ClassVar[str] = "bag"
    bits: ClassVar[int] = 3
    code_range: ClassVar[tuple[int, int]] = (1, 6)  # unsigned

    def fit(self, blocks: NDArray[np.float32], context: FitContext) -> QuantParams:
        scale = context.snap(np.ones((len(blocks), 1), np.float32))
        return QuantParams(scale, extra=self.extra(len(blocks)))

    def extra(self, n: int) -> dict[str, NDArray[Any]]:
        numbers = np.arange(n * 3).reshape(n, 3)
        return {
            "book": (numbers % 32 - 16).astype(np.int16),  # 5 bits each
            "flags": numbers % 2 == 1,
            "wide": numbers.astype(np.int64) << 40,
            "half": np.where(numbers == 1, np.nan, -0.0).astype(np.float16),
            "brain": numbers[:, :1].astype(ml_dtypes.bfloat16),
        }

    def field_bits(self, params: QuantParams) -> dict[str, int]:
        return {**super().field_bits(params), "book": 15, "flags": 3}

    def encode(
        self, blocks: NDArray[np.float32], params: QuantParams, rounding: RoundingPolicy
    ) -> NDArray[Any]:
        return np.where(blocks < 0, 1, 6).astype(np.uint8)

    def decode(self, codes: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
        return np.where(codes == 1, -params.scale, params.scale)


@pytest.mark.parametrize("shape", [(2, 6), (0, 6), (1,), ()])
def test_a_scheme_with_fields_of_its_own_comes_back(
    tmp_path: Path, install: Callable[[str, type[Any]], None], shape: tuple[int, ...]
) -> None:
    install("scheme", Bag)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    q = qcore.quantize(x, scheme=Bag(), granularity="group:2:tail=short")
    saved(tmp_path / "file", w=q)


def test_the_scheme_of_the_example_plugin_comes_back(
    tmp_path: Path, install: Callable[[str, type[Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "docs" / "example-plugin")
    scheme = importlib.import_module("qcore_normal_float").NormalFloat
    install("scheme", scheme)
    x = np.random.default_rng(0).standard_normal((8, 32)).astype(np.float32)
    for bits in (2, 3, 4, 8):
        q = qcore.quantize(x, f"normal-float bits={bits} granularity=group:16")
        saved(tmp_path / "file", w=q)


@pytest.mark.parametrize(
    ("name", "array", "bits", "says"),
    [
        ("short", np.zeros((1, 2), np.float32), 32, "'short', 2 × float32 a block, cannot be saved:"
         " an element of float32 takes 32 bits, not 16; integers may take any from 1 to 16"),
        ("odd", np.zeros((1, 2), np.int8), 15, "'odd', 2 × int8 a block, cannot be saved: "
         "field_bits says 15 bits a block"),
        ("none", np.zeros((1, 2), np.int8), 0, "field_bits says 0 bits a block"),
        ("text", np.zeros((1, 2), np.int8), "8", "field_bits says 8 bits a block"),
        ("unsaid", np.zeros((1, 2), np.int8), None, "field_bits says None bits a block"),
        ("many", np.zeros((1, 1), np.int32), 20, "takes 32 bits, not 20; integers may take any"),
        ("nibble", np.zeros((1, 2), ml_dtypes.int4), 8, "safetensors has no number type 'int4'"),
        ("flat", np.zeros(1, np.int8), 8, "'flat', 0 × int8 a block, cannot be saved"),
        ("codes", np.zeros((1, 1), np.int8), 8, "gives params a field 'codes'; give it another"),
    ],
)  # fmt: skip
def test_fields_that_cannot_be_stored_as_declared_are_the_scheme_s_fault(
    tmp_path: Path,
    install: Callable[[str, type[Any]], None],
    name: str,
    array: NDArray[Any],
    bits: Any,
    says: str,
) -> None:
    @dataclass(frozen=True)
    class Odd(Bag):
        id: ClassVar[str] = "odd"

        def extra(self, n: int) -> dict[str, NDArray[Any]]:
            return {name: np.repeat(array, n, axis=0)}

        def field_bits(self, params: QuantParams) -> dict[str, int]:
            return {} if bits is None else {name: bits}

    install("scheme", Odd)
    q = qcore.quantize(np.float32([[0, 1]]), scheme=Odd())
    with pytest.raises(qcore.SchemeError, match=re.escape(says)):
        qcore.save(tmp_path / "file", {"w": q})
    assert list(tmp_path.iterdir()) == []


def test_a_scheme_that_raises_where_it_should_declare_is_named(
    tmp_path: Path, install: Callable[[str, type[Any]], None]
) -> None:
    @dataclass(frozen=True)
    class Silent(Bag):
        id: ClassVar[str] = "silent"

        def field_bits(self, params: QuantParams) -> dict[str, int]:
            raise KeyError("book")

    install("scheme", Silent)
    q = qcore.quantize(np.float32([[0, 1]]), scheme=Silent())
    with pytest.raises(qcore.SchemeError, match="tensor 'w': 'silent bits=3' failed: KeyError"):
        qcore.save(tmp_path / "file", {"w": q})


def test_a_scheme_of_no_plugin_cannot_be_saved(tmp_path: Path) -> None:
    q = qcore.quantize(np.float32([[0, 1]]), scheme=Bag())
    says = "'bag bits=3' gives another scheme than this one, or none, when it is read back"
    with pytest.raises(qcore.UsageError, match=f"tensor 'w': {says}; provide .* in a plugin"):
        qcore.save(tmp_path / "file", {"w": q})


def test_nor_can_one_that_has_the_id_of_another(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Impostor(Bag):
        id: ClassVar[str] = "symmetric"

    q = qcore.quantize(np.float32([[0, 1]]), scheme=Impostor())
    with pytest.raises(qcore.UsageError, match="gives another scheme than this one"):
        qcore.save(tmp_path / "file", {"w": q})


def test_a_scale_format_without_a_number_type_of_its_bits_cannot_be_saved(
    tmp_path: Path, install: Callable[[str, type[Any]], None]
) -> None:
    @dataclass(frozen=True)
    class Quarter(qcore.ScaleFormat):
        """Multiples of a quarter."""

        id: ClassVar[str] = "quarter"
        bits: ClassVar[int] = 12

        def snap(self, scale: NDArray[Any]) -> NDArray[np.float32]:
            return np.maximum(0.25, np.ceil(scale * 4) / 4).astype(np.float32)

    install("scale_format", Quarter)
    q = qcore.quantize(np.float32([[0, 1]]), "symmetric bits=4 scale_format=quarter")
    says = "scale format 'quarter' names no dtype of 12 bits to be saved in; use another"
    for dtype in ("", "float16", "int4", "nonsense"):
        Quarter.dtype = dtype
        with pytest.raises(qcore.UsageError, match=says):
            qcore.save(tmp_path / "file", {"w": q})


def test_a_scale_format_of_a_plugin_is_stored_in_its_type(
    tmp_path: Path, install: Callable[[str, type[Any]], None]
) -> None:
    @dataclass(frozen=True)
    class Float8(qcore.ScaleFormat):
        """e5m2."""

        id: ClassVar[str] = "float8"
        bits: ClassVar[int] = 8
        dtype: ClassVar[str] = "float8_e5m2"

        def snap(self, scale: NDArray[Any]) -> NDArray[np.float32]:
            raised = np.maximum(scale, 2.0**-16)
            return raised.astype(ml_dtypes.float8_e5m2).astype(np.float32)

    install("scale_format", Float8)
    x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    q = qcore.quantize(x, "symmetric bits=4 granularity=channel:0 scale_format=float8")
    saved(tmp_path / "file", w=q)
    assert q.nbytes == 16 + 4


# --- what is planned and what is put --------------------------------------------------------------


def test_the_plan_is_the_same_before_and_after_the_tensor_is_quantized() -> None:
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    for scheme in SCHEMES:
        q = qcore.quantize(x, scheme=scheme, granularity="group:3")
        before = StoredTensor.of("w", q.recipe, x.shape, "float32", empty_params(q.recipe))
        assert before == StoredTensor.of("w", q.recipe, x.shape, "float32", q.params)


def test_a_description_gives_the_same_again() -> None:
    for scheme in SCHEMES:
        recipe = qcore.Recipe(scheme, granularity="block:2:4:tail=short", scale_format="pow2")
        stored = StoredTensor.of("w", recipe, (3, 5, 6), "bfloat16", empty_params(recipe))
        again = StoredTensor.from_dict("w", stored.to_dict())
        assert again == stored
        assert again.layout == stored.layout


@pytest.mark.parametrize(
    "broken",
    [
        lambda q: QuantizedTensor(q.codes + np.int8(8), q.params, q.recipe, q.layout),
        lambda q: QuantizedTensor(q.codes.astype(np.float32), q.params, q.recipe, q.layout),
        lambda q: QuantizedTensor(q.codes, QuantParams(-q.params.scale), q.recipe, q.layout),
        lambda q: QuantizedTensor(q.codes, QuantParams(np.ones((3, 1), "f4")), q.recipe, q.layout),
        lambda q: QuantizedTensor(
            q.codes, QuantParams(q.params.scale, extra={"w": np.ones((3, 1))}), q.recipe, q.layout
        ),
    ],
    ids=["codes out of range", "codes no integers", "negative", "three rows", "three of extra"],
)
def test_what_was_made_by_hand_and_makes_no_sense_is_refused(
    tmp_path: Path, broken: Callable[[QuantizedTensor], QuantizedTensor]
) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    q = broken(qcore.quantize(x, "symmetric bits=4 granularity=channel:0"))
    with pytest.raises(qcore.QcoreError, match="tensor 'w': "):
        qcore.save(tmp_path / "file", {"w": q})
    assert list(tmp_path.iterdir()) == []


def test_one_row_of_params_serves_all_as_wherever_params_are_given(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    q = qcore.quantize(x, "symmetric bits=4 granularity=channel:0")
    qcore.save(
        tmp_path / "file", {"w": QuantizedTensor(q.codes, q.params.rows([0]), q.recipe, q.layout)}
    )
    again = qcore.load(tmp_path / "file")["w"]
    assert isinstance(again, QuantizedTensor)
    same(again.dequantize(), q.codes * q.params.scale[0])
