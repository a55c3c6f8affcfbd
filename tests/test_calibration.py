"""A calibrated range is what the observer finds in all batches at once, however they come."""

from __future__ import annotations

import json
import tracemalloc
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import qcore
from qcore import (
    CalibratedRange,
    Calibration,
    DtypeError,
    NonFiniteError,
    Observer,
    Quantizer,
    QuantParams,
    ReadError,
    Recipe,
    SchemeError,
    Trial,
    UnknownIdError,
    UsageError,
    calibrate,
    samples,
)
from qcore import activation_job as job
from qcore.builtin.readers.npz import NpzReader
from qcore.interfaces.backend import Backend
from qcore.sources import from_paths

Floats = NDArray[np.float32]

LARGEST = float(np.finfo(np.float32).max)
FLOATS = st.floats(-LARGEST, LARGEST, width=32)
TIED = st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)
BATCHES = st.lists(
    st.one_of(*(hnp.arrays(np.float32, SHAPES, elements=e) for e in (FLOATS, TIED))),
    min_size=1,
    max_size=5,
).filter(lambda batches: any(batch.size for batch in batches))
EXACT = ["minmax", "percentile:99.9", "percentile:60", "percentile:100", "fixed:-0.3:2"]
SCHEMES = ["symmetric", "symmetric:signed=false", "asymmetric", "asymmetric:include_zero=false",
           "uniform", "uniform:offset=none", "pot", "apot"]  # fmt: skip


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def together(batches: Sequence[Floats]) -> Floats:
    """All elements of all batches, as one block."""
    return np.concatenate([batch.ravel() for batch in batches])[None]


def ends(known: CalibratedRange) -> bytes:
    return np.array([known.lo, known.hi], np.float32).tobytes()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backend, "chunk_elements", 7)
    monkeypatch.setattr(job, "_AT_ONCE", 3)


# Laws


@settings(deadline=None, max_examples=70)
@given(BATCHES, st.sampled_from(EXACT))
@example([np.float32([0.0]), np.float32([-0.0])], "minmax")
@example([np.float32([-0.0]), np.float32([0.0])], "percentile:60")
def test_batches_are_calibrated_as_their_concatenation_is_observed(
    batches: list[Floats], observer: str
) -> None:
    recipe = Recipe("asymmetric", observer=observer)
    known = calibrate({"x": batches}, recipe, threads=1)["x"]
    lo, hi = recipe.parts.observer.observe(together(batches), None)
    assert ends(known) == (np.hstack([lo, hi]) + np.float32(0)).tobytes()  # −0 as 0
    assert (known.batches, known.elements) == (len(batches), sum(b.size for b in batches))
    assert known.nonfinite == 0


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("observer", [*EXACT, "mse"])
@pytest.mark.parametrize("threads", [1, 3])
def test_neither_chunks_nor_threads_matter(
    monkeypatch: pytest.MonkeyPatch, observer: str, threads: int
) -> None:
    activations = {name: [normal(5, 9, seed=i), normal(41, seed=9)] for i, name in enumerate("abc")}
    recipe = Recipe("asymmetric", 4, observer=observer)
    found = calibrate(activations, recipe, threads=threads)
    monkeypatch.undo()
    assert found == calibrate(activations, recipe, threads=1)


@settings(deadline=None, max_examples=40)
@given(BATCHES, st.sampled_from(SCHEMES), st.data())
def test_static_is_dynamic_where_the_data_is_that_of_the_calibration(
    batches: list[Floats], scheme: str, data: st.DataObject
) -> None:
    x = together(batches)
    recipe = Recipe(scheme, 4)
    static = calibrate({"x": batches}, recipe, threads=1).recipe("x")
    try:
        dynamic = qcore.quantize(x, recipe)
    except qcore.RangeError:  # a zero point too far out
        with pytest.raises(qcore.RangeError):
            qcore.quantize(x, static)
        return
    known = qcore.quantize(x, static)
    np.testing.assert_array_equal(known.codes, dynamic.codes)
    np.testing.assert_array_equal(known.scale, dynamic.scale)
    np.testing.assert_array_equal(known.dequantize(), dynamic.dequantize())


@settings(deadline=None, max_examples=100)
@given(FLOATS, FLOATS)
@example(0.0, -0.0)
@example(float(np.float32(1e-45)), LARGEST)
@example(float(np.float32(0.1)), 16777216.0)
def test_ends_are_the_shortest_decimals_of_their_float32(first: float, second: float) -> None:
    lo, hi = sorted((first, second))
    known = CalibratedRange(lo, hi, 1, 1)
    assert (np.float32(known.lo), np.float32(known.hi)) == (lo, hi)
    for end in (known.lo, known.hi):
        assert end == float(str(np.float32(end)))
        assert not np.signbit(end) or end < 0
    recipe = Calibration(Recipe("asymmetric"), {"x": known}).recipe("x")
    assert Recipe.parse(str(recipe)) == recipe
    assert bits(recipe) == np.array([known.lo, known.hi], np.float32).tobytes()


def test_the_one_float32_whose_shortest_decimal_is_another_s_in_float64_is_kept_too() -> None:
    (value,) = np.array([0x15AE43FD], np.uint32).view(np.float32)
    assert np.float32(float(str(value))) != value
    assert np.float32(CalibratedRange(0, float(value), 1, 1).hi) == value


def bits(recipe: Recipe) -> bytes:
    """The range that a recipe's observer gives, whatever it is shown."""
    lo, hi = recipe.parts.observer.observe(np.zeros((1, 1), np.float32), None)
    return np.hstack([lo, hi]).tobytes()


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.builds(
            lambda a, b, *counts: CalibratedRange(min(a, b), max(a, b), *counts),
            *(FLOATS, FLOATS, st.integers(1, 9), st.integers(1, 2**40), st.integers(0, 3)),
        ),
        max_size=4,
    ),
    st.sampled_from(["asymmetric bits=8", "apot:k=3 bits=4 observer=percentile:99 rounding=floor"]),
)
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, ranges: dict[str, CalibratedRange], text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "ranges.json"
    calibration = Calibration(Recipe.parse(text), ranges)
    calibration.save(path)
    assert Calibration.load(path) == calibration
    stored = json.loads(path.read_text(encoding="ascii"))
    assert list(stored["ranges"]) == sorted(ranges)


PLACES = [
    (), ("qcore",), ("recipe",), ("ranges",), ("ranges", "x"), ("ranges", "new"), ("new",),
    *(("recipe", axis) for axis in ("scheme", "bits", "options", "granularity", "observer", "new")),
    *(("ranges", "x", key) for key in ("lo", "hi", "batches", "elements", "nonfinite", "new")),
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def document(place: tuple[str, ...] = (), value: Any = None) -> Any:
    """What a good file holds, but for the value in one place."""
    entry = {"lo": -1.0, "hi": 2, "batches": 1, "elements": 5}
    whole: Any = {
        "qcore": {"version": "0.1.0"},
        "recipe": Recipe("asymmetric").to_dict(),
        "ranges": {"x": entry},
    }
    if not place:
        return whole if value is None else value
    inside = whole
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return whole


@settings(deadline=None, max_examples=70)
@given(st.sampled_from(PLACES), JSON)
@example(("ranges", "x", "lo"), 10**400)
@example(("ranges", "x", "hi"), 1e39)
@example(("recipe", "options"), {"signed": []})
@example(("recipe", "options"), {"bits": 4})
@example(("recipe", "observer"), "fixed:nan:nan")
@example((), {"recipe": {}, "ranges": {}})
def test_whatever_a_file_holds_is_loaded_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, ...], value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.json"
    path.write_text(json.dumps(document(place, value)))
    refused = ""
    ranges: list[CalibratedRange] = []
    try:
        ranges += Calibration.load(path).ranges.values()
    except (ReadError, UsageError) as error:
        refused = str(error)
    assert "\n" not in refused
    assert not refused or refused.startswith(f"'{path}': ")
    assert all(-LARGEST <= known.lo <= known.hi <= LARGEST for known in ranges)


# Worked examples


def test_the_sample_activations() -> None:
    found = calibrate(samples.path(), "asymmetric bits=8", include="input$")
    assert dict(found.ranges) == {
        "fc1.input": CalibratedRange(0, 6.2900205, 1, 64 * 512),
        "fc2.input": CalibratedRange(0, 15.216288, 1, 64 * 128),
    }
    assert list(found) == ["fc1.input", "fc2.input"]
    assert len(found) == 2
    assert found.skipped == {"not included": 10}
    assert str(found.recipe("fc1.input")) == "asymmetric bits=8 observer=fixed:0:6.2900205"


def test_a_calibrated_layer_is_as_good_as_a_dynamic_one() -> None:
    sample = {ref.name: ref.load() for ref in from_paths([samples.path()])[0]}
    halves = {name: np.split(sample[name], 2) for name in ("fc1.input", "fc2.input")}
    ranges = calibrate({name: first for name, (first, _) in halves.items()}, "asymmetric bits=8")
    x = halves["fc1.input"][1]  # not what was calibrated with
    weight = qcore.quantize(sample["fc1.weight"], "symmetric bits=8 granularity=channel:0")
    layer = qcore.Linear(
        weight, sample["fc1.bias"], activation="relu", output=ranges.recipe("fc2.input")
    )
    static = layer(qcore.quantize(x, ranges.recipe("fc1.input")))
    assert isinstance(static, qcore.QuantizedTensor)
    assert static.recipe == ranges.recipe("fc2.input")
    exact = np.maximum(x @ sample["fc1.weight"].T + sample["fc1.bias"], 0)
    dynamic = qcore.linear(
        qcore.quantize(x, "asymmetric bits=8"), weight, sample["fc1.bias"], "relu",
        output="asymmetric bits=8",
    )  # fmt: skip
    assert isinstance(dynamic, qcore.QuantizedTensor)
    errors = [np.linalg.norm(y.dequantize() - exact) for y in (static, dynamic)]
    assert errors[0] < 0.01 * np.linalg.norm(exact)
    assert errors[0] < 2 * errors[1]


def test_a_recipe_has_the_range_in_place_of_its_observer() -> None:
    x = normal(100)
    found = calibrate({"x": x}, "apot:k=3 bits=4 rounding=half-away observer=percentile:90")
    own = found.recipe("x")
    lo, hi = Recipe("symmetric", observer="percentile:90").parts.observer.observe(x[None], None)
    assert ends(found["x"]) == np.hstack([lo, hi]).tobytes()
    spec = f"fixed:{found['x'].lo}:{found['x'].hi}"
    assert own == Recipe.parse(f"apot:k=3 bits=4 rounding=half-away observer={spec}")
    for other in ("symmetric bits=6 scale_format=pow2 observer=minmax", Recipe("symmetric", 6)):
        expected = Recipe.parse(f"symmetric bits=6 observer={spec}")
        assert found.recipe("x", other).parts[:4] == expected.parts[:4]


def test_quantizing_with_a_static_recipe_does_not_look_at_the_range() -> None:
    ranges = calibrate({"x": np.float32([-1, 1])}, "symmetric bits=8")
    for x in (100 * normal(50), np.zeros(3, np.float32)):
        quantized = qcore.quantize(x, ranges.recipe("x"))
        assert quantized.scale.item() == np.float32(1) / 127
        assert np.abs(quantized.dequantize()).max() <= 1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("value", [0, 2.5])
def test_an_activation_that_is_constant_has_a_range_of_one_number(
    scheme: str, value: float
) -> None:
    x = np.full((3, 4), value, np.float32)
    ranges = calibrate({"x": x}, Recipe(scheme, 4))
    assert (ranges["x"].lo, ranges["x"].hi) == (value, value)
    static = ranges.recipe("x")
    assert static.observer == f"fixed:{value}:{value}"
    np.testing.assert_array_equal(
        qcore.fake_quantize(x, static), qcore.fake_quantize(x, Recipe(scheme, 4))
    )


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float16, ml_dtypes.bfloat16, ">f4"], ids=lambda d: np.dtype(d).name
)
def test_every_floating_type_is_taken_as_float32(dtype: Any) -> None:
    x = normal(6, 7).astype(dtype)[:, ::2]
    assert calibrate({"x": x}, "asymmetric") == calibrate({"x": x.astype(np.float32)}, "asymmetric")


def test_what_a_mapping_may_hold() -> None:
    batches = {"one": normal(3), "list": [normal(3), normal(2, 2)], "tuple": (normal(4),),
               "scalars": [1.0, -2.0], "empty batch": [normal(0), normal(1, 1)]}  # fmt: skip
    found = calibrate(batches, "asymmetric")
    assert [known.batches for known in found.ranges.values()] == [1, 2, 1, 2, 2]
    assert found["scalars"] == CalibratedRange(-2, 1, 2, 2)
    assert calibrate({"x": np.arange(3)}, "asymmetric", integers=True)["x"].hi == 2


# The observer's view


def test_mse_tries_the_recipe_itself_on_all_batches() -> None:
    batches = [normal(40), 6 * normal(8, seed=1)]
    for text in ("asymmetric bits=3", "pot bits=4 scale_format=pow2", "symmetric bits=4"):
        recipe = Recipe.parse(f"{text} observer=mse")
        parts = recipe.parts
        trial = Trial(parts.quantizer, parts.scale_format, parts.rounding)
        lo, hi = parts.observer.observe(together(batches), trial)
        assert ends(calibrate({"x": batches}, recipe)["x"]) == np.hstack([lo, hi]).tobytes()


@dataclass(frozen=True)
class ThreeSigma(Observer):
    """Mean ± three standard deviations, in two passes; a third party's."""

    id: ClassVar[str] = "three-sigma"
    passes: ClassVar[int] = 2

    def summarize(self, blocks: Floats, trial: Trial | None, previous: Any) -> Any:
        assert trial is None
        count = np.full(len(blocks), blocks.shape[1])
        mean = 0 if previous is None else previous["sum"] / previous["count"]
        deviation = blocks.astype(np.float64) - np.reshape(mean, (-1, 1))
        power = 1 if previous is None else 2
        return {"count": count, "sum": (deviation**power).sum(axis=1), "mean": mean + 0 * count}

    def merge(self, a: Any, b: Any) -> Any:
        return {**a, "count": a["count"] + b["count"], "sum": a["sum"] + b["sum"]}

    def range(self, state: Any) -> Any:
        spread = 3 * np.sqrt(state["sum"] / state["count"])
        middle = state["mean"]
        return np.float32(middle - spread)[:, None], np.float32(middle + spread)[:, None]


@pytest.mark.usefixtures("small_chunks")
def test_a_third_party_s_observer_of_several_passes_is_followed() -> None:
    batches = [normal(20) + 5, normal(3, 30, seed=1)]
    known = calibrate({"x": batches}, Recipe("asymmetric", observer=ThreeSigma()))["x"]  # type: ignore[arg-type]
    x = together(batches).astype(np.float64)
    assert known.lo == pytest.approx(x.mean() - 3 * x.std(), rel=1e-6)
    assert known.hi == pytest.approx(x.mean() + 3 * x.std(), rel=1e-6)


@dataclass(frozen=True)
class Broken(ThreeSigma):
    """Fails where it is told to."""

    id: ClassVar[str] = "broken"
    where: str = "summarize"

    def summarize(self, blocks: Floats, trial: Trial | None, previous: Any) -> Any:
        if self.where == "summarize":
            raise ValueError("of all\nthings")
        return super().summarize(blocks, trial, previous)

    def range(self, state: Any) -> Any:
        if self.where == "range":
            raise ValueError("of all\nthings")
        lo, hi = super().range(state)
        return hi, lo


@pytest.mark.parametrize(
    ("where", "message"),
    [("summarize", "ValueError: of all"), ("range", "ValueError: of all"),
     ("order", "'broken:order' gave the range 1.18.* … -1.10.*")],
)  # fmt: skip
def test_an_observer_that_fails_is_named_with_the_tensor(where: str, message: str) -> None:
    recipe = Recipe("symmetric", observer=Broken(where))  # type: ignore[arg-type]
    with pytest.raises(SchemeError, match=rf"^'x': 'symmetric .*' failed: {message}$"):
        calibrate({"x": normal(5)}, recipe)


@dataclass(frozen=True)
class OfTensorRange(Quantizer):
    """Whole blocks, and the range of all of the tensor: all that a scheme may ask for."""

    id: ClassVar[str] = "of-tensor-range"
    bits: ClassVar[int] = 8
    needs_tensor_range: ClassVar[bool] = True

    def fit(self, blocks: Floats, context: Any) -> QuantParams:
        assert context.tensor_range == (-4, 8)
        return QuantParams(context.snap(context.largest(signed=True) / 127))

    def encode(self, blocks: Floats, params: QuantParams, rounding: Any) -> Any:
        return np.clip(rounding.round(blocks / params.scale), -127, 127).astype(np.int8)

    def decode(self, codes: Any, params: QuantParams) -> Any:
        return codes * params.scale


def test_a_scheme_may_need_the_tensor_s_range_and_that_is_of_all_batches() -> None:
    recipe = Recipe(OfTensorRange(), observer="mse")  # type: ignore[arg-type]
    ticks: list[tuple[int, int]] = []
    batches = [np.float32([-4, 1, 1]), np.float32([8, 3])]
    known = calibrate({"x": batches}, recipe, progress=lambda *tick: ticks.append(tick))["x"]
    assert known.lo == -known.hi / 2
    assert ticks[-1] == (15, 15)


def test_progress_counts_elements_times_passes_up_to_the_total() -> None:
    ticks: list[tuple[int, int]] = []
    activations = {"x": [normal(10), normal(3, 3)], "y": normal(5)}
    calibrate(activations, "symmetric observer=percentile", progress=lambda *t: ticks.append(t))
    assert ticks[-1] == (72, 72)
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)


# Files


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_a_name_in_several_files_is_one_activation(tmp_path: Path) -> None:
    x = [normal(4, 8, seed=i) for i in range(3)]
    for i, batch in enumerate(x):
        npz(tmp_path / f"{i}.npz", **{"fc.input": batch, "scale": np.float32(1)})
    npz(tmp_path / "3.npz", other=x[0].astype(np.float16), ids=np.arange(4))
    found = calibrate(tmp_path, "asymmetric observer=percentile:95")
    expected = calibrate({"fc.input": x, "other": x[0].astype(np.float16)}, found.template)
    assert found == expected
    assert found["fc.input"].batches == 3
    assert found.skipped == {"of fewer than 1 dimensions": 1, "not floating point": 1}
    paths = [tmp_path / "0.npz", str(tmp_path / "2.npz")]
    assert calibrate(paths, "asymmetric")["fc.input"].elements == 64
    assert calibrate(paths[1], "asymmetric")["fc.input"].elements == 32


@pytest.mark.parametrize("threads", [1, 2])
def test_one_batch_is_open_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Files may be more than a process may open, and batches more than memory holds."""
    last = [weakref.ref(np.zeros(0))]
    alive = []

    def read(self: NpzReader, info: Any) -> Any:
        alive.append(last[0]() is not None)
        array = normal(*info.shape)
        last[0] = weakref.ref(array)
        return array

    monkeypatch.setattr(NpzReader, "read", read)
    for i in range(4):
        npz(tmp_path / f"{i}.npz", x=normal(50))
    recipe = "asymmetric observer=percentile"
    assert calibrate(tmp_path, recipe, threads=threads)["x"].batches == 4
    assert alive == [False] * 12


@pytest.mark.parametrize("observer", ["minmax", "percentile"])
def test_a_large_file_is_gone_through_in_pieces(tmp_path: Path, observer: str) -> None:
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (1 << 12, 1 << 12)).flush()  # 64 MiB
    tracemalloc.start()
    try:
        known = calibrate(path, f"asymmetric observer={observer}", threads=1)["large"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert known == CalibratedRange(0, 0, 1, 1 << 24)
    assert peak < 16 << 20, f"{peak / 2**20:.0f} MiB"


def test_what_fails_in_files_is_listed_and_the_rest_is_done(tmp_path: Path) -> None:
    npz(tmp_path / "good.npz", x=normal(5), y=normal(5))
    bad = npz(tmp_path / "nan.npz", x=np.float32([1, np.nan, np.inf]))
    (tmp_path / "broken.npz").write_bytes(bad.read_bytes()[:60])
    found = calibrate([tmp_path / f"{n}.npz" for n in ("good", "nan", "broken")], "asymmetric")
    assert list(found) == ["y"]
    assert [unreadable.source for unreadable in found.unreadable] == [str(tmp_path / "broken.npz")]
    message = f"{bad}: 'x': 2 of 3 values are NaN, infinite or beyond float32; "
    assert str(found.failed["x"]).startswith(message)
    for ask in (found.__getitem__, found.recipe):
        with pytest.raises(NonFiniteError, match=r": 'x': 2 of 3 values"):
            ask("x")
    found.save(tmp_path / "ranges.json")
    assert Calibration.load(tmp_path / "ranges.json") == found
    with pytest.raises(NonFiniteError, match=r"nan.npz: 'x': 2 of 3"):
        calibrate(bad, "asymmetric")


# Mistakes


def test_what_is_not_finite_is_counted_where_it_is() -> None:
    batches = [normal(5), np.float32([np.nan, 1, np.inf, 0]), np.float32([np.nan])]
    with pytest.raises(NonFiniteError) as caught:
        calibrate({"good": normal(3), "fc1.input": batches}, "asymmetric")
    assert (caught.value.count, caught.value.size) == (2, 4)
    assert str(caught.value) == (
        "'fc1.input', batch 2: 2 of 4 values are NaN, infinite or beyond float32; "
        "clean the tensor, or pass nonfinite='clip' (--nonfinite clip)"
    )
    with pytest.raises(NonFiniteError, match=r"^'x': 1 of 2 values"):
        calibrate({"x": np.array([1e39, 0])}, "asymmetric observer=fixed:0:1")


def test_what_is_not_finite_may_be_clipped_and_is_counted() -> None:
    batches = [np.float32([np.nan, 3]), np.float32([2, -np.inf, np.nan])]
    for observer in ("minmax", "percentile:100"):
        recipe = Recipe("asymmetric", observer=observer)
        known = calibrate({"x": batches}, recipe, nonfinite="clip")["x"]
        assert known == CalibratedRange(-LARGEST, 3, 2, 5, nonfinite=3)


@pytest.mark.parametrize("granularity", ["token", "channel:0", "group:8"])
def test_one_range_is_for_all_of_an_activation(granularity: str) -> None:
    recipe = Recipe("asymmetric", granularity=granularity)
    pattern = f"^granularity={granularity} cannot be calibrated: .* granularity=tensor; "
    with pytest.raises(UsageError, match=pattern):
        calibrate({"x": normal(8, 8)}, recipe)
    with pytest.raises(UsageError, match=pattern):
        calibrate({"x": normal(8, 8)}, "asymmetric").recipe("x", recipe)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({}, UsageError, "nothing to calibrate: no tensors"),
        ({"x": []}, UsageError, "'x' has no batches"),
        ({"x": [normal(0), normal(0, 3)]}, UsageError, "'x' has no elements, and so no range"),
        ({3: normal(3)}, UsageError, "the name of an activation is a text, not 3"),
        ({"x": np.arange(3)}, UsageError, "nothing to calibrate: 1 not floating point; --integers"),
        ({"x": [normal(3), np.arange(3)]}, DtypeError, "'x', batch 2: holds int64; qcore quanti"),
        ({"x": np.array(["a"])}, DtypeError, "'x': holds <U1; qcore quantizes floating tensors"),
        ("nowhere.npz", ReadError, "no such file: 'nowhere.npz'"),
    ],
)
def test_a_source_that_cannot_be_is_one_line(source: Any, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        calibrate(source, "asymmetric")
    assert str(caught.value).startswith(message)


def test_what_is_left_out_is_counted_by_name() -> None:
    activations = {"a.input": [normal(3), normal(3)], "a.ids": [np.arange(3)] * 2, "b": normal(3)}
    found = calibrate(activations, "asymmetric", include="a")
    assert (list(found), found.skipped) == (
        ["a.input"], {"not included": 1, "not floating point": 1},
    )  # fmt: skip
    assert list(calibrate(activations, "asymmetric", exclude="input$")) == ["b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"nonfinite": "ignore"}, "nonfinite='ignore' is not one of"),
     ({"threads": 0}, "threads is at least 1"), ({"include": "("}, "include: '(' is no regular"),
     ({"exclude": "."}, "nothing to calibrate: 1 excluded")],
)  # fmt: skip
def test_an_option_that_cannot_be_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        calibrate({"x": normal(3)}, "asymmetric", **options)
    assert str(caught.value).startswith(message)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    found = calibrate({"fc1.input": normal(3), "fc2.input": normal(3)}, "asymmetric")
    for ask in (found.__getitem__, found.recipe):
        with pytest.raises(UsageError) as caught:
            ask("fc1.inptu")
        assert str(caught.value) == "'fc1.inptu' was not calibrated, did you mean 'fc1.input'?"


def test_a_range_that_mse_found_belongs_to_its_recipe() -> None:
    found = calibrate({"x": normal(50)}, "asymmetric bits=4 observer=mse")
    for other in (None, "asymmetric bits=4", "asymmetric bits=4 observer=percentile"):
        assert found.recipe("x", other) == found.recipe("x")
    for other in ("asymmetric bits=8", "asymmetric bits=4 rounding=floor", Recipe("symmetric", 4)):
        with pytest.raises(UsageError, match=r"^'mse' found the range of 'x' for 'asymmetric bits"):
            found.recipe("x", other)


@pytest.mark.parametrize(("lo", "hi"), [(1, 0), (np.nan, 1), (0, np.inf), (-1e39, 0), (0, 10**400)])
def test_a_range_needs_two_finite_numbers_in_order(lo: float, hi: float) -> None:
    with pytest.raises(UsageError, match=r"^lo .*$"):
        CalibratedRange(lo, hi, 1, 1)


# The file


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    batches = {"b": [normal(3), np.float32([0.1, -0.3])], "a": np.float32([0, 1e20])}
    found = calibrate(batches, "asymmetric observer=percentile:100")
    found.save(path)
    assert json.loads(path.read_text()) == {
        "qcore": {"version": found.to_dict()["qcore"]["version"]},
        "recipe": {
            "scheme": "asymmetric", "options": {}, "bits": 8, "granularity": "tensor",
            "rounding": "half-even", "observer": "percentile:100", "scale_format": "float32",
        },
        "ranges": {
            "a": {"lo": 0.0, "hi": 1e20, "batches": 1, "elements": 2},
            "b": {"lo": -0.3, "hi": found["b"].hi, "batches": 2, "elements": 5},
        },
    }  # fmt: skip
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert Calibration.load(str(path)).recipe("a") == found.recipe("a")


def test_the_file_is_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ranges.json"
    first, second = (calibrate({"x": normal(3, seed=i)}, "asymmetric") for i in range(2))
    first.save(path)
    path.chmod(0o640)
    second.save(path)
    assert Calibration.load(path) == second
    assert path.stat().st_mode & 0o777 == 0o640

    def no_space(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(qcore.QcoreError) as caught:
        first.save(path)
    assert str(caught.value) == f"cannot write '{path}': No space left on device"
    assert Calibration.load(path) == second
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_cannot_be_written_into_no_folder(tmp_path: Path) -> None:
    found = calibrate({"x": normal(3)}, "asymmetric")
    for path in (tmp_path / "nowhere" / "ranges.json", tmp_path):
        with pytest.raises(UsageError, match=r"^cannot write '"):
            found.save(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("{", "this is no JSON: Expecting property name"),
        ("[" * 100_000, "this is no JSON of ours: it is nested too deeply"),
        ('{"recipe":' * 100_000, "this is no JSON of ours: it is nested too deeply"),
        ("1" * 5000, "this is no JSON: Exceeds the limit"),
        ("[]", "the whole must be an object, not a list"),
        ("{}", "'recipe' is missing"),
        ('{"recipe": {}, "recipe": {}}', "'recipe' is given twice"),
    ],
    ids=range(8),
)
def test_a_file_that_is_none_of_ours_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(text)
    with pytest.raises(ReadError) as caught:
        Calibration.load(path)
    assert str(caught.value).startswith(f"'{path}': {message}")


@pytest.mark.parametrize(
    ("place", "value", "error", "message"),
    [
        (("ranges",), [], ReadError, "'ranges' must be an object, not a list"),
        (("ranges", "x"), 3, ReadError, "'x': a range must be an object, not a whole number"),
        (("ranges", "x"), {}, ReadError, "'x': 'lo' is missing"),
        (("ranges", "x", "lo"), "0", ReadError, "'x': 'lo' must be a number, not a text"),
        (("ranges", "x", "lo"), True, ReadError, "'x': 'lo' must be a number, not true or false"),
        (("ranges", "x", "lo"), 3, UsageError, "'x': lo 3.0 is above hi 2.0"),
        (("ranges", "x", "hi"), np.nan, ReadError, "NaN is no number in JSON"),
        (("ranges", "x", "hi"), 1e39, UsageError, "'x': lo and hi are finite float32 numbers"),
        (("ranges", "x", "batches"), 0, ReadError, "'x': its counts cannot be"),
        (("ranges", "x", "elements"), 1.5, ReadError, "'x': 'elements' must be a whole number"),
        (("ranges", "a\nb"), None, ReadError, "'a\\nb': a range must be an object, not null"),
        (("recipe", "bits"), "8", ReadError, "'bits' must be a whole number, not a text"),
        (("recipe", "scheme"), "asymetric", UnknownIdError,
         "unknown scheme 'asymetric', did you mean 'asymmetric'?"),
        (("recipe", "bits"), 99, UsageError, "'asymmetric' has 2 to 16 bits, not 99"),
        (("recipe", "rounding"), "up", UnknownIdError, "unknown rounding 'up'"),
        (("recipe", "granularity"), "token", UsageError, "granularity=token cannot be calibrated"),
        (("recipe", "observr"), "minmax", ReadError,
         "recipe: there is no 'observr', did you mean 'observer'?"),
        (("recipe", "options"), {"k": 2}, UsageError, "'asymmetric' has no option 'k'"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_says_where(
    tmp_path: Path, place: tuple[str, ...], value: Any, error: type[Exception], message: str
) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps(document(place, value)))
    with pytest.raises(error) as caught:
        Calibration.load(path)
    assert str(caught.value).startswith(f"'{path}': {message}")


def test_axes_that_a_file_does_not_name_are_at_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps(document(("recipe",), {"scheme": "apot", "bits": 4})))
    assert Calibration.load(path).template == Recipe("apot", 4)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    for path, why in (("nowhere.json", "No such file or directory"), ("", "Is a directory")):
        with pytest.raises(ReadError) as caught:
            Calibration.load(tmp_path / path)
        assert str(caught.value) == f"'{tmp_path / path}': cannot be read: {why}"
    (tmp_path / "latin").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ReadError, match=r"latin': this is no JSON: it is no UTF-8$"):
        Calibration.load(tmp_path / "latin")
