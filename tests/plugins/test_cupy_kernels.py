"""The CUDA kernels, compiled for the CPU, give the reference's codes and values to the bit.

There is no GPU where these tests run. The kernels are plain C++ but for a few words, which the
driver below defines: a group's threads run one after the other, or, where a kernel makes them wait
for each other, at once. So all but CUDA's own compiler, cuBLAS and the copying is tested here.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import math
import shutil
import subprocess
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import qcore
from qcore import (
    AffineRows,
    Backend,
    Epilogue,
    FitContext,
    Gap,
    GridQuantizer,
    IntegerGrid,
    LevelGrid,
    Quantizer,
    QuantParams,
    Requantize,
    RoundingPolicy,
)
from qcore.testing import checks_for
from qcore_cupy import CupyBackend, arguments, depth
from qcore_cupy.compiler import FOLDER, OPTIONS
from qcore_cupy.device import THREADS, BlasTerms, Device
from qcore_cupy.errors import ORDER
from qcore_cupy.layout import TILE
from qcore_cupy.rules import rule_of, table_of

Floats = NDArray[np.float32]

SOURCES = sorted(path.name for path in FOLDER.glob("*.cu"))
KERNELS = [
    *(f"encode_{code}" for code in ("int8", "uint8", "int16", "uint16")),
    *(f"decode_{code}" for code in ("int8", "uint8", "int16", "uint16")),
    *(f"decode_{code}" for code in ("int32", "uint32", "int64")),
    *(f"measure_{values}" for values in ("scheme", "float32", "float64")),
    *("restore_int32", "restore_int64", "weigh_int32", "weigh_int64"),
]
AT_ONCE = frozenset(name for name in KERNELS if name.startswith("measure"))
LARGEST = float(np.finfo(np.float32).max)
POLICIES = (
    "half-even", "half-up", "half-down", "half-toward-zero", "half-away", "dpu", "floor", "ceil",
    "toward-zero", "stochastic:7",
)  # fmt: skip
INTEGER_SCHEMES = (
    "symmetric", "symmetric:full_range=true", "symmetric:signed=false", "asymmetric",
    "asymmetric:signed=false", "asymmetric:include_zero=false", "uniform", "uniform:offset=none",
    "uniform:offset=none:signed=false",
)  # fmt: skip
LEVEL_SCHEMES = (
    "pot", "pot:signed=false", "pot:domain=linear", "pot:signed=false:domain=linear", "apot",
    "apot:signed=false", "apot:k=1", "apot:k=8", "apot:k=8:signed=false",
)  # fmt: skip
CASES = [
    *itertools.product(INTEGER_SCHEMES, (2, 3, 4, 8, 16)),
    *itertools.product(LEVEL_SCHEMES, range(2, 9)),
    *itertools.product(("apot:k=3",), (4, 7)),
]
SCHEMES = pytest.mark.parametrize(("scheme", "bits"), CASES)

DRIVER = """
#include <cstddef>
#include <functional>
#include <type_traits>
#include <utility>
#include <ucontext.h>

struct Index { unsigned x; };
static Index threadIdx, blockIdx, gridDim;
static ucontext_t scheduler, threads[256];

#define __global__
#define __device__
#define __shared__ static
#define __syncthreads() swapcontext(&threads[threadIdx.x], &scheduler)

SOURCES

static std::function<void()> body;
static char stacks[THREADS][1 << 15];
static bool done[THREADS];

static void enter() {
    body();
    done[threadIdx.x] = true;
}

// Each thread in turn goes on to where it waits for the others, until all are done.
static void run_group() {
    for (int i = 0; i < THREADS; ++i) {
        done[i] = false;
        getcontext(&threads[i]);
        threads[i].uc_stack.ss_sp = stacks[i];
        threads[i].uc_stack.ss_size = sizeof stacks[i];
        threads[i].uc_link = &scheduler;
        makecontext(&threads[i], enter, 0);
    }
    for (bool any = true; any;) {
        any = false;
        for (int i = 0; i < THREADS; ++i) {
            if (done[i]) continue;
            threadIdx.x = i;
            swapcontext(&scheduler, &threads[i]);
            any = any || !done[i];
        }
    }
}

template <typename... A, size_t... I>
void call(void (*kernel)(A...), void** given, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A>*>(given[I])...);
}

template <typename... A>
void launch(void (*kernel)(A...), void** given, unsigned groups, bool at_once) {
    body = [=] { call(kernel, given, std::index_sequence_for<A...>()); };
    gridDim.x = groups;
    for (blockIdx.x = 0; blockIdx.x < groups; ++blockIdx.x) {
        if (at_once) run_group();
        else for (threadIdx.x = 0; threadIdx.x < THREADS; ++threadIdx.x) body();
    }
}

extern "C" size_t size_of_blocks() { return sizeof(Blocks); }
extern "C" size_t size_of_scheme() { return sizeof(Scheme); }
extern "C" size_t size_of_layer() { return sizeof(Layer); }
extern "C" double uniform_at(u64 seed, u64 position) { return uniform(seed, position); }
extern "C" int constant(int which) {
    const int all[] = {HALF_EVEN, GIVEN, HASHED, THREADS, TILE, SUMS};
    return all[which];
}
"""

LAUNCH = """
extern "C" void launch_NAME(void** given, unsigned groups, bool at_once) {
    launch(NAME, given, groups, at_once);
}
"""


class OnDevice(np.ndarray[Any, Any]):
    """An array that counts as one of the device's."""


class OnDeviceNumpy:
    """NumPy, but what it makes counts as the device's."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)

        def made(*given: Any, **options: Any) -> Any:
            result = function(*given, **options)
            return result.view(OnDevice) if isinstance(result, np.ndarray) else result

        return made


def columns(matrix: Any, start: int, count: int, terms: BlasTerms) -> NDArray[np.float64]:
    """(k, count), column by column in memory from an address on, as BLAS reads it."""
    memory, step = matrix.reshape(-1)[start:], matrix.shape[1]
    assert step in (terms.lda, terms.ldb)
    shape, strides = (terms.k, count), (1, step)
    return np.lib.stride_tricks.as_strided(memory, shape, strides).astype(np.float64)


class Cpu:
    """The CPU as a device: NumPy's arrays, and the kernels compiled for it."""

    xp: ClassVar[Any] = OnDeviceNumpy()
    current: ClassVar[int] = 0

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.turn = threading.Lock()  # the driver runs one kernel at a time

    def holds(self, array: Any) -> bool:
        return isinstance(array, OnDevice)

    def of(self, array: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def upload(self, array: Any) -> Any:
        return np.ascontiguousarray(array).view(OnDevice)

    def download(self, array: Any) -> NDArray[Any]:
        assert self.holds(array)
        return np.array(array)

    def address(self, array: Any) -> int:
        assert self.holds(array)
        return int(array.ctypes.data)

    def finish(self) -> None:
        pass

    def launch(self, kernel: str, groups: int, *given: Any) -> None:
        assert 0 < groups < 2**31
        passed = [arguments.by_value(argument, self.address) for argument in given]
        passed = [self._stored(argument) for argument in passed]
        pointers = (ctypes.c_void_p * len(passed))(*(value.ctypes.data for value in passed))
        run = getattr(self.library, f"launch_{kernel}")
        with self.turn:
            run(pointers, ctypes.c_uint(groups), ctypes.c_bool(kernel in AT_ONCE))

    def _stored(self, argument: Any) -> NDArray[Any]:
        """As CuPy passes it: structures and scalars by value, arrays by their address."""
        if isinstance(argument, np.ndarray) and argument.dtype.names is None:
            assert argument.flags.c_contiguous
            return np.array([self.address(argument)], np.uint64)
        return np.asarray(argument)

    def multiply(self, left: Any, right: Any, start: int, depth: int, out: Any) -> None:
        """What cuBLAS asks for is checked here, as it would say no more than 'not supported'."""
        assert left.dtype == right.dtype == np.int8
        assert out.dtype == np.int32
        assert all(array.flags.c_contiguous for array in (left, right, out))
        assert all(self.holds(array) for array in (left, right, out))
        assert out.shape == (left.shape[0], right.shape[0])
        multiples = (start, depth, left.shape[1], right.shape[1], right.shape[0])
        assert all(number % 16 == 0 for number in multiples)
        assert 0 < depth <= left.shape[1] - start
        terms = BlasTerms.of(left.shape, right.shape, depth)
        a, b = columns(right, start, terms.m, terms), columns(left, start, terms.n, terms)
        exact = a.T @ b
        assert np.abs(exact).max(initial=0) < 2**31
        assert terms.ldc == out.shape[1] >= terms.m
        out[:, : terms.m] = exact.T  # column j of C begins at j · ldc


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("g++ on Linux compiles the kernels for the CPU")
    folder = tmp_path_factory.mktemp("kernels")
    includes = "".join(f'#include "{name}"\n' for name in SOURCES)
    launches = "".join(LAUNCH.replace("NAME", name) for name in KERNELS)
    (folder / "driver.cpp").write_text(DRIVER.replace("SOURCES", includes) + launches)
    command = [
        *(compiler, "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC"),
        *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function"),
        *(f"-I{FOLDER}", "-o", "kernels.so", "driver.cpp"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = ctypes.CDLL(str(folder / "kernels.so"))
    for size in ("blocks", "scheme", "layer"):
        getattr(built, f"size_of_{size}").restype = ctypes.c_size_t
    built.uniform_at.restype = ctypes.c_double
    return built


@pytest.fixture(scope="session")
def backend(library: ctypes.CDLL) -> CupyBackend:
    """The backend as it is, on the CPU."""
    cpu = Cpu(library)

    @dataclass(frozen=True)
    class OnCpu(CupyBackend):
        @property
        def device(self) -> Device:
            return cpu

        def available(self) -> str | None:
            return None

    return OnCpu()


REFERENCE = qcore.create("backend", "reference")


def quantizer_of(scheme: str, bits: int) -> GridQuantizer:
    made = qcore.create("scheme", scheme, bits=bits)
    assert isinstance(made, GridQuantizer)
    return made


def context_of(blocks: Floats) -> FitContext:
    snap = qcore.create("scale_format", "float32").snap
    return FitContext(blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True), snap)


def policy_for(rounding: str, shape: tuple[int, ...]) -> RoundingPolicy:
    policy = qcore.create("rounding", rounding)
    assert isinstance(policy, RoundingPolicy)
    return policy.at(np.arange(math.prod(shape), dtype=np.uint64).reshape(shape) * np.uint64(3))


SCALES = np.array(
    [1, 0.1, 0.037, 2.0**-20, 1e-30, 2.0**-126, 1e-41, 1e20, 2.0**99, 2.0**101, 1.5e37, 1e38],
    np.float32,
)[:, None]
SPECIAL = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.1e-38, -1.1e-38, 1.1754944e-38, 1e-30, 3e38, -3e38, LARGEST,
     -LARGEST, 1, -1, 0.49999997, -0.49999997, 0.5, -0.5, 1.5, 2.5, 8388609.0, -8388609.0],
    np.float32,
)  # fmt: skip


def some_params(quantizer: GridQuantizer, scales: Floats) -> QuantParams:
    """Params with these scales, and zero points and offsets, wide ones too, where it has them."""
    fitted = quantizer.fit(np.zeros((1, 1), np.float32), context_of(np.float32([[-1, 2]])))
    low, high = quantizer.code_range
    z = np.linspace(low, high, len(scales)).astype(np.int32)[:, None]
    wide = np.maximum(-5.3 * scales.astype(float), -LARGEST).astype("f4")
    return QuantParams(
        scales,
        None if fitted.zero_point is None else z,
        None if fitted.offset is None else wide,
    )


def critical_units(quantizer: GridQuantizer) -> Floats:
    """Every threshold and every level (of a wide grid: some), and the floats right beside them."""
    grid = quantizer.grid
    if isinstance(grid, IntegerGrid):
        ends = np.r_[grid.qmin - 3.0 : grid.qmin + 20, grid.qmax - 20 : grid.qmax + 3.0, -20.0:20]
        exact = np.unique(np.r_[ends, ends + 0.5])
    else:
        assert isinstance(grid, LevelGrid)
        exact = np.r_[grid.units, grid.cuts]
    with np.errstate(all="ignore"):
        single = exact.astype(np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    return np.concatenate([single, np.nextafter(single, up), np.nextafter(single, down)])


def critical_blocks(quantizer: GridQuantizer, params: QuantParams) -> Floats:
    """A block for each scale: elements beside every threshold, special ones and random ones."""
    units, scales = critical_units(quantizer), params.scale
    z = 0.0 if params.zero_point is None else params.zero_point.astype(np.float64)
    offset = 0.0 if params.offset is None else params.offset.astype(np.float64)
    x = (units.astype(np.float64) - z) * scales.astype(np.float64) + offset
    x = np.clip(x, -LARGEST, LARGEST).astype(np.float32)
    rng = np.random.default_rng(1)
    spread = rng.standard_normal((len(scales), 40)) * 10 * np.abs(units).max()
    noise = np.clip(spread * scales, -LARGEST, LARGEST)
    special = np.broadcast_to(SPECIAL, (len(scales), SPECIAL.size))
    return np.hstack([x, special, noise]).astype(np.float32)


def assert_same(
    backend: Backend,
    quantizer: Quantizer,
    blocks: Floats,
    params: QuantParams,
    rounding: RoundingPolicy,
    orders: str = "CF",
) -> None:
    """Codes, values and sums, of blocks in these orders in memory."""
    with np.errstate(all="ignore"):  # as the engine calls
        codes = REFERENCE.encode(quantizer, blocks, params, rounding)
        values = REFERENCE.decode(quantizer, codes, params)
        stats = REFERENCE.measure(quantizer, blocks, params, rounding, ORDER)
    for order in orders:
        laid = np.array(blocks, order=order)
        laid.flags.writeable = False
        found = backend.encode(quantizer, laid, params, rounding)
        assert found.dtype == codes.dtype
        np.testing.assert_array_equal(found, codes)
        decoded = backend.decode(quantizer, np.array(codes, order=order), params)
        assert decoded.dtype == np.float32
        np.testing.assert_array_equal(decoded.view(np.uint32), values.view(np.uint32))
        measured = backend.measure(quantizer, laid, params, rounding, ORDER)
        assert measured.count == stats.count
        for name in ORDER:
            size = math.sqrt(stats.x2 * stats.y2) if name == "xy" else 0.0
            wanted = pytest.approx(getattr(stats, name), rel=1e-12, abs=1e-12 * size, nan_ok=True)
            assert getattr(measured, name) == wanted, name
        assert measured.max_e == stats.max_e
        assert measured.clipped == stats.clipped


@SCHEMES
@pytest.mark.parametrize("rounding", POLICIES)
def test_codes_values_and_sums_are_the_references_beside_every_threshold_at_every_scale(
    backend: Backend, scheme: str, bits: int, rounding: str
) -> None:
    quantizer = quantizer_of(scheme, bits)
    params = some_params(quantizer, SCALES)
    blocks = critical_blocks(quantizer, params)
    order = "C" if bits % 2 else "F"
    assert_same(backend, quantizer, blocks, params, policy_for(rounding, blocks.shape), order)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "uniform", "apot", "pot"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1),
        (1, 5000),
        (5000, 1),
        (3, TILE),
        (2, TILE + 1),
        (TILE - 1, 3),
        (TILE + 1, 3),
        (700, 33),
        (33, 700),
    ],
)
@pytest.mark.parametrize("rounding", ["half-even", "stochastic:5"])
def test_every_element_finds_its_block_whatever_the_shape(
    backend: Backend, scheme: str, shape: tuple[int, int], rounding: str
) -> None:
    quantizer = quantizer_of(scheme, 6)
    rng = np.random.default_rng(2)
    sizes = np.exp2(rng.integers(-20, 20, (shape[0], 1)))
    blocks = (rng.standard_normal(shape) * sizes).astype(np.float32)
    params = quantizer.fit(blocks, context_of(blocks))
    assert_same(backend, quantizer, blocks, params, policy_for(rounding, shape))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("scheme", ["symmetric", "apot"])
def test_nothing_is_quantized_to_nothing(
    backend: Backend, scheme: str, shape: tuple[int, int]
) -> None:
    quantizer, blocks = quantizer_of(scheme, 4), np.zeros(shape, np.float32)
    params = QuantParams(np.ones((shape[0], 1), np.float32))
    rounding = policy_for("half-even", shape)
    codes = backend.encode(quantizer, blocks, params, rounding)
    assert codes.shape == backend.decode(quantizer, codes, params).shape == shape
    assert backend.measure(quantizer, blocks, params, rounding, ORDER).e2 == 0


floats = st.floats(-LARGEST, LARGEST, width=32)
scales = st.one_of(st.floats(2.0**-149, LARGEST, width=32), st.floats(2.0**-20, 2.0**20, width=32))


@given(
    case=st.sampled_from(CASES),
    rounding=st.sampled_from(POLICIES),
    rows=st.lists(st.tuples(scales, st.integers(-(2**31), 2**31 - 1), floats), min_size=1),
    data=st.data(),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_float_any_params_any_policy(
    backend: Backend,
    case: tuple[str, int],
    rounding: str,
    rows: list[tuple[float, int, float]],
    data: st.DataObject,
) -> None:
    quantizer = quantizer_of(*case)
    like = some_params(quantizer, np.float32([[1]]))
    params = QuantParams(
        np.array([[scale] for scale, _, _ in rows], np.float32),
        None if like.zero_point is None else np.array([[z] for _, z, _ in rows], np.int32),
        None if like.offset is None else np.array([[o] for _, _, o in rows], np.float32),
    )
    length = data.draw(st.integers(1, 8))
    element = st.one_of(floats, st.sampled_from(SPECIAL.tolist()))
    drawn = data.draw(st.lists(element, min_size=length * len(rows), max_size=length * len(rows)))
    blocks = np.array(drawn, np.float32).reshape(len(rows), length)
    assert_same(backend, quantizer, blocks, params, policy_for(rounding, blocks.shape))


@given(
    units=st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=40, unique=True).map(sorted),
    elements=st.lists(floats, min_size=1, max_size=30),
    share=st.floats(0.01, 1),
    rounding=st.sampled_from(POLICIES),
)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_levels_with_any_thresholds(
    backend: Backend, units: list[float], elements: list[float], share: float, rounding: str
) -> None:
    between = [low + (high / 2 - low / 2) * 2 * share for low, high in itertools.pairwise(units)]
    pairs = zip(units, between, units[1:], strict=False)
    if not all(low < t <= high for low, t, high in pairs):
        between = units[1:]
    near = np.clip(np.array([*units, *between]), -LARGEST, LARGEST).astype(np.float32)
    blocks = np.concatenate([near, np.array(elements, np.float32)])[None]
    params, policy = QuantParams(np.float32([[1]])), policy_for(rounding, blocks.shape)
    assert_same(backend, Levels(tuple(units), tuple(between)), blocks, params, policy)


@dataclass(frozen=True)
class Levels(GridQuantizer):
    """A third party's levels."""

    id: ClassVar[str] = "levels"
    bits: ClassVar[int] = 8
    units: tuple[float, ...]
    thresholds: tuple[float, ...] | None = None

    @property
    def grid(self) -> LevelGrid:
        return LevelGrid(self.units, self.thresholds)

    def params(self, context: FitContext) -> QuantParams:
        return QuantParams(context.snap(np.maximum(context.largest(signed=True), np.float32(1))))


def test_a_thousand_levels_take_codes_of_two_bytes(backend: Backend) -> None:
    quantizer = Levels(tuple(math.sinh(i / 90) for i in range(-500, 501)))
    blocks = np.random.default_rng(0).uniform(-140, 140, (3, 5000)).astype(np.float32)
    params = QuantParams(np.float32([[1], [0.5], [3]]))
    assert quantizer.code_dtype == np.int16
    assert_same(backend, quantizer, blocks, params, policy_for("half-away", blocks.shape))


@pytest.mark.parametrize("seed", [0, 7, -1, 2**63, 2**70 + 5])
@pytest.mark.parametrize("scheme", ["symmetric", "apot"])
def test_the_stochastic_policy_itself_goes_by_places_in_c_order(
    backend: Backend, scheme: str, seed: int
) -> None:
    quantizer = quantizer_of(scheme, 4)
    blocks = np.random.default_rng(3).standard_normal((40, 130)).astype(np.float32)
    params = quantizer.fit(blocks, context_of(blocks))
    assert_same(backend, quantizer, blocks, params, qcore.create("rounding", f"stochastic:{seed}"))


def test_a_value_goes_up_where_its_number_is_below_its_fraction_not_where_it_is_the_same(
    backend: Backend,
) -> None:
    policy: Any = policy_for("stochastic", (1, 3))
    below, same, above = np.nextafter(0.25, 0), 0.25, np.nextafter(0.25, 1)
    exact = type(policy)(np.array([[below, same, above]]))
    params = QuantParams(np.float32([[1]]))
    for quantizer in (quantizer_of("symmetric", 4), Levels((0.0, 1.0, 2.0, 3.0))):
        codes = backend.encode(quantizer, np.float32([[1.25, 1.25, 1.25]]), params, exact)
        assert codes.tolist() == [[2, 1, 1]]


@pytest.mark.parametrize(
    "z", [0, 127, -128, 1 << 20, 1 << 22, (1 << 22) + 1, (1 << 25) + 3, -(1 << 30) - 1, 2**31 - 1]
)
@pytest.mark.parametrize("signed", ["true", "false"])
@pytest.mark.parametrize("scale", [1, 0.3])
def test_given_zero_points_far_outside_the_codes_give_the_references(
    backend: Backend, z: int, signed: str, scale: float
) -> None:
    quantizer = quantizer_of(f"asymmetric:include_zero=false:signed={signed}", 8)
    x = (np.random.default_rng(0).uniform(-1, 1, (1, 300)) * 300 - z) * scale
    params = QuantParams(np.float32([[scale]]), np.int32([[z]]))
    assert_same(backend, quantizer, x.astype(np.float32), params, policy_for("half-even", x.shape))


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 2**64 - 1))
def test_the_hash_is_the_policys(library: ctypes.CDLL, seed: int, position: int) -> None:
    policy: Any = qcore.create("rounding", f"stochastic:{seed}")
    u = policy.at(np.array([position], np.uint64)).u
    given = ctypes.c_ulonglong(seed), ctypes.c_ulonglong(position)
    assert library.uniform_at(*given) == u[0]


@pytest.mark.parametrize("rounding", POLICIES[:-1])
@given(
    x=st.lists(st.floats(-1e6, 1e6, width=32) | st.integers(-99, 99).map(lambda i: i / 2)),
)
def test_a_policys_table_says_what_the_policy_says(rounding: str, x: list[float]) -> None:
    policy = qcore.create("rounding", rounding)
    t = np.array(x, np.float32)
    lower = np.floor(t)
    gap = Gap(t, lower, lower + 1, lower + np.float32(0.5), lower)
    region = 1 + np.sign(t - gap.threshold).astype(int)
    bit = 4 * region + 2 * gap.negative + gap.lower_even
    np.testing.assert_array_equal(table_of(policy) >> bit & 1, policy.goes_up(gap))


def test_the_two_sides_agree_on_sizes_and_numbers(library: ctypes.CDLL) -> None:
    for name in ("blocks", "scheme", "layer"):
        dtype = getattr(arguments, name.upper())
        assert getattr(library, f"size_of_{name}")() == dtype.itemsize
    half_even = table_of(qcore.create("rounding", "half-even"))
    stochastic = qcore.create("rounding", "stochastic")
    given, hashed = rule_of(stochastic.at(np.zeros((1, 1), np.uint64))), rule_of(stochastic)
    assert given is not None
    assert hashed is not None
    expected = [half_even, given.code, hashed.code, THREADS, TILE, len(ORDER)]
    assert [library.constant(i) for i in range(6)] == expected


@pytest.mark.parametrize("code", [-9, 8, 100, -128])
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_codes_that_no_level_has_are_refused(backend: Backend, code: int, dtype: Any) -> None:
    quantizer, params = quantizer_of("apot", 4), QuantParams(np.float32([[1]]))
    codes = np.array([[0, code, 1]], dtype)
    texts = []
    for engine in (REFERENCE, backend):
        with pytest.raises(qcore.RangeError) as caught:
            engine.decode(quantizer, codes, params)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("scheme", ["symmetric", "uniform", "apot:signed=false"])
def test_codes_of_any_integer_dtype_are_decoded(backend: Backend, scheme: str, dtype: Any) -> None:
    quantizer = quantizer_of(scheme, 4)
    params = some_params(quantizer, np.float32([[0.3], [7]]))
    codes = np.arange(8).reshape(2, 4).astype(dtype)
    expected = REFERENCE.decode(quantizer, codes, params)
    np.testing.assert_array_equal(backend.decode(quantizer, codes, params), expected)


def test_blocks_and_params_may_lie_in_memory_in_any_way(backend: Backend) -> None:
    quantizer = quantizer_of("uniform", 5)
    blocks = np.random.default_rng(4).standard_normal((40, 60)).astype(np.float32)
    fitted = quantizer.fit(blocks, context_of(blocks))
    wide = np.repeat(fitted.scale, 3, axis=1)[:, 1:2]
    params = QuantParams(wide, offset=np.broadcast_to(np.float32(-1.5), (40, 1)))
    assert not params.scale.flags.c_contiguous
    policy = policy_for("half-up", (40, 60))
    expected = REFERENCE.encode(quantizer, blocks, params, policy)
    spread = np.zeros((80, 180), np.float32)
    spread[::2, ::3] = blocks
    for laid in (spread[::2, ::3], np.asfortranarray(blocks), blocks[::-1][::-1]):
        codes = backend.encode(quantizer, laid, params, policy)
        np.testing.assert_array_equal(codes, expected)


def test_one_row_of_params_serves_all_blocks(backend: Backend) -> None:
    quantizer = quantizer_of("asymmetric", 4)
    blocks = np.random.default_rng(4).standard_normal((7, 60)).astype(np.float32)
    params = QuantParams(np.float32([[0.2]]), np.int32([[3]]))
    assert_same(backend, quantizer, blocks, params, policy_for("dpu", (7, 60)))


def test_params_of_other_dtypes_are_taken_as_the_scheme_takes_them(backend: Backend) -> None:
    quantizer = quantizer_of("asymmetric", 8)
    blocks = np.random.default_rng(4).standard_normal((7, 60)).astype(np.float32)
    z, policy = np.full((7, 1), 3), policy_for("half-even", (7, 60))
    for scale in (np.full((7, 1), 0.1), np.full((7, 1), 0.1, np.float32)):
        assert_same(backend, quantizer, blocks, QuantParams(scale, z.astype(np.int64)), policy)


@pytest.mark.parametrize("sums", [(name,) for name in ORDER] + [("x2", "e2"), ()])
def test_only_the_sums_asked_for_are_there(backend: Backend, sums: tuple[str, ...]) -> None:
    quantizer = quantizer_of("symmetric", 3)
    blocks = np.random.default_rng(4).standard_normal((7, 60)).astype(np.float32)
    params, policy = QuantParams(np.float32([[0.2]])), policy_for("half-even", (7, 60))
    found = backend.measure(quantizer, blocks, params, policy, sums)
    expected = REFERENCE.measure(quantizer, blocks, params, policy, sums)
    for name in ORDER:
        wanted = pytest.approx(getattr(expected, name), rel=1e-12, nan_ok=True)
        assert getattr(found, name) == wanted
        assert math.isnan(getattr(found, name)) == (name not in sums)


def test_sums_are_the_same_every_time_and_more_groups_than_run_at_once_share_the_work(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcore_cupy.layout._MOST_GROUPS", 3)
    quantizer = quantizer_of("symmetric", 8)
    blocks = np.random.default_rng(4).standard_normal((10, 5 * TILE // 2 + 7)).astype(np.float32)
    params, policy = quantizer.fit(blocks, context_of(blocks)), policy_for("half-even", (1, 1))
    first = backend.measure(quantizer, blocks, params, policy, ORDER)
    assert first == backend.measure(quantizer, blocks, params, policy, ORDER)
    assert_same(backend, quantizer, blocks, params, policy)


def test_a_value_that_is_not_finite_shows_in_the_sums(backend: Backend) -> None:
    quantizer, policy = quantizer_of("symmetric", 8), policy_for("half-even", (1, 3))
    blocks = np.float32([[1, 2, 3]])
    found = backend.measure(quantizer, blocks, QuantParams(np.float32([[np.nan]])), policy, ORDER)
    assert math.isnan(found.e2)
    assert math.isnan(found.max_e)


@dataclass(frozen=True)
class Ternary(Quantizer):
    """No grid; as a third party writes it. `host` uses what only works on NumPy's own arrays."""

    id: ClassVar[str] = "ternary"
    bits: ClassVar[int] = 2
    fails: bool = False

    def fit(self, blocks: Floats, context: FitContext) -> QuantParams:
        return QuantParams(np.abs(blocks).mean(axis=1, keepdims=True))

    def encode(self, blocks: Floats, params: QuantParams, rounding: RoundingPolicy) -> Any:
        if self.fails:
            raise TypeError("Implicit conversion to a NumPy array is not allowed.\nUse .get().")
        return np.clip(rounding.round(blocks / params.scale), -1, 1).astype(np.int8)

    def decode(self, codes: Any, params: QuantParams) -> Any:
        return codes * params.scale


@dataclass(frozen=True)
class Wide(Ternary):
    """Its values are float64, and it can tell what is clipped."""

    id: ClassVar[str] = "wide"

    def decode(self, codes: Any, params: QuantParams) -> Any:
        return (codes * params.scale.astype(np.float64) / 3).copy()

    def clipped(self, blocks: Floats, params: QuantParams) -> Any:
        return np.abs(blocks) > params.scale


@dataclass(frozen=True)
class Up(RoundingPolicy):
    """A third party's policy."""

    id: ClassVar[str] = "up"

    def goes_up(self, gap: Gap) -> Any:
        return gap.x > gap.lower + 0.25


@pytest.mark.parametrize("quantizer", [Ternary(), Wide()])
@pytest.mark.parametrize("rounding", ["half-even", "stochastic:3"])
def test_a_scheme_that_is_no_grid_runs_as_it_is_written(
    backend: Backend, quantizer: Quantizer, rounding: str
) -> None:
    blocks = np.random.default_rng(4).standard_normal((7, 60)).astype(np.float32)
    params, policy = quantizer.fit(blocks, context_of(blocks)), policy_for(rounding, (7, 60))
    codes = REFERENCE.encode(quantizer, blocks, params, policy)
    expected = REFERENCE.measure(quantizer, blocks, params, policy, ORDER)
    for order in "CF":
        laid = np.array(blocks, order=order)
        np.testing.assert_array_equal(backend.encode(quantizer, laid, params, policy), codes)
        found = backend.measure(quantizer, laid, params, policy, ORDER)
        for name in ORDER:
            wanted = pytest.approx(getattr(expected, name), rel=1e-12, nan_ok=True)
            assert getattr(found, name) == wanted, name
    values = REFERENCE.decode(quantizer, codes, params)
    np.testing.assert_array_equal(backend.decode(quantizer, codes, params), values)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "uniform"])
def test_a_third_partys_policy_runs_as_it_is_written(backend: Backend, scheme: str) -> None:
    quantizer = quantizer_of(scheme, 4)
    blocks = np.random.default_rng(4).standard_normal((7, 60)).astype(np.float32)
    assert rule_of(Up()) is None
    assert_same(backend, quantizer, blocks, quantizer.fit(blocks, context_of(blocks)), Up())


def test_a_scheme_with_an_encode_of_its_own_is_not_taken_for_its_grid(backend: Backend) -> None:
    @dataclass(frozen=True)
    class Zeros(Levels):
        def encode(self, blocks: Floats, params: QuantParams, rounding: RoundingPolicy) -> Any:
            return np.zeros(blocks.shape, np.int8)

    blocks, params = np.ones((2, 3), np.float32), QuantParams(np.ones((2, 1), np.float32))
    codes = backend.encode(Zeros((-1.0, 0.0, 1.0)), blocks, params, policy_for("floor", (2, 3)))
    np.testing.assert_array_equal(codes, 0)


def test_what_a_written_scheme_gives_must_be_codes_and_values(backend: Backend) -> None:
    @dataclass(frozen=True)
    class Odd(Ternary):
        wrong: str = "codes"

        def encode(self, blocks: Floats, params: QuantParams, rounding: RoundingPolicy) -> Any:
            return blocks if self.wrong == "codes" else blocks.astype(np.int8)

        def decode(self, codes: Any, params: QuantParams) -> Any:
            return codes[:, 1:] * params.scale

    given = np.ones((2, 3), np.float32), QuantParams(np.ones((2, 1), np.float32)), Up()
    with pytest.raises(qcore.SchemeError, match=r"gave float32 codes \(2, 3\) for \(2, 3\) blocks"):
        backend.encode(Odd(), *given)
    with pytest.raises(
        qcore.SchemeError, match=r"gave float32 values \(2, 2\) for \(2, 3\) blocks"
    ):
        backend.measure(Odd(wrong="values"), *given, ORDER)


@pytest.mark.parametrize("what", ["encode", "measure"])
def test_a_scheme_that_cannot_work_on_the_device_is_named_with_what_does_run_it(
    backend: Backend, what: str
) -> None:
    given = (np.ones((1, 3), np.float32), QuantParams(np.float32([[1]])), Up())
    message = (
        r"^'ternary' cannot work on CuPy arrays \(TypeError: Implicit conversion to a NumPy array "
        r"is not allowed.\); --backend numpy runs it$"
    )
    with pytest.raises(qcore.SchemeError, match=message):
        getattr(backend, what)(Ternary(fails=True), *given, *([ORDER] if what == "measure" else []))


@pytest.mark.parametrize("what", ["encode", "decode", "measure"])
def test_a_zero_point_for_a_level_grid_is_refused(backend: Backend, what: str) -> None:
    params = QuantParams(np.float32([[1]]), np.int32([[3]]))
    blocks = np.ones((1, 4), np.int8 if what == "decode" else np.float32)
    rest = {"encode": [Up()], "decode": [], "measure": [Up(), ORDER]}[what]
    with pytest.raises(qcore.UsageError, match="a level grid has no zero point"):
        getattr(backend, what)(quantizer_of("apot", 4), blocks, params, *rest)


def test_some_here_and_some_there_is_refused_and_says_which(backend: Backend) -> None:
    quantizer, rounding = quantizer_of("symmetric", 4), policy_for("half-even", (2, 3))
    host = np.ones((2, 3), np.float32)
    params = QuantParams(np.ones((2, 1), np.float32))
    message = (
        r"^blocks is on the GPU \(\(2, 3\) float32\), but scale is in the host's memory \(\(2, 1\) "
        r"float32\); move one, with backend.asarray or cupy.asnumpy$"
    )
    with pytest.raises(qcore.UsageError, match=message):
        backend.encode(quantizer, host.view(OnDevice), params, rounding)
    own = QuantParams(params.scale.view(OnDevice))
    with pytest.raises(
        qcore.UsageError, match=r"^scale is on the GPU .* but blocks is in the host"
    ):
        backend.measure(quantizer, host, own, rounding, ORDER)
    a = np.ones((4, 3), np.int8)
    with pytest.raises(qcore.UsageError, match=r"^b is on the GPU .* but a is in the host"):
        backend.gemm(a, a.T.view(OnDevice))
    np.testing.assert_array_equal(backend.gemm(a, backend.prepare(a.T.view(OnDevice))), 3)
    np.testing.assert_array_equal(backend.gemm(a.view(OnDevice), backend.prepare(a.T)), 3)


def integers(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Of the whole range, with the ends in abundance."""
    info = np.iinfo(dtype)
    drawn = rng.integers(info.min, info.max, shape, endpoint=True)
    ends = rng.choice([info.min, info.max], shape)
    return np.where(rng.random(shape) < 0.3, ends, drawn).astype(dtype)


PAIRS = pytest.mark.parametrize(
    ("left", "right"), list(itertools.product([np.int8, np.uint8], repeat=2))
)


@PAIRS
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 16, 16), (3, 17, 9), (70, 33, 129), (16, 64, 48), (1, 200, 300)]
)
def test_products_are_exact(
    backend: Backend, left: Any, right: Any, shape: tuple[int, int, int]
) -> None:
    m, k, n = shape
    rng = np.random.default_rng(m)
    a, b = integers(rng, left, (m, k)), integers(rng, right, (k, n))
    expected = a.astype(np.int64) @ b.astype(np.int64)
    for given_a, given_b in [(a, b), (np.asfortranarray(a), b.T.copy().T), (a, backend.prepare(b))]:
        found = backend.gemm(given_a, given_b)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)
    on = backend.gemm(a.view(OnDevice), b.view(OnDevice))
    np.testing.assert_array_equal(on, expected)


@PAIRS
@pytest.mark.parametrize("k", [33_025, 33_026, 65_794, 131_056, 131_057, 131_072, 300_001])
def test_sums_longer_than_int32_holds_are_cut_and_come_out_as_int64(
    backend: Backend, left: Any, right: Any, k: int
) -> None:
    """Every element at its largest."""
    a = np.full((2, k), -128 if left is np.int8 else 255, left)
    b = np.full((k, 3), -128 if right is np.int8 else 255, right)
    b[:, 1] = 127
    expected = a.astype(np.int64) @ b.astype(np.int64)
    for factor in (b, backend.prepare(b)):
        found = backend.gemm(a, factor)
        wide = k * (128 if left is np.int8 else 255) * (128 if right is np.int8 else 255) >= 2**31
        assert found.dtype == (np.int64 if wide else np.int32)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(0, 4, 3), (3, 0, 4), (3, 4, 0)])
@PAIRS
def test_empty_products_are_zeros(
    backend: Backend, left: Any, right: Any, shape: tuple[int, int, int]
) -> None:
    m, k, n = shape
    a, b = np.ones((m, k), left), np.ones((k, n), right)
    for factor in (b, backend.prepare(b)):
        np.testing.assert_array_equal(backend.gemm(a, factor), np.zeros((m, n)))


def test_leading_axes_are_kept(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    a, b = integers(rng, np.uint8, (2, 3, 5, 20)), integers(rng, np.int8, (20, 7))
    expected = a.astype(np.int64) @ b.astype(np.int64)
    np.testing.assert_array_equal(backend.gemm(a, b), expected)
    np.testing.assert_array_equal(backend.gemm(a[0, 0, 0], b), expected[0, 0, 0])


@given(
    lengths=st.lists(st.integers(1, 300_000), min_size=1, max_size=6),
)
def test_k_is_cut_in_pieces_that_int32_holds_and_matrix_units_take(lengths: list[int]) -> None:
    ends = list(itertools.accumulate(lengths, initial=0))
    spans = [slice(a, b) for a, b in itertools.pairwise(ends)]
    pieces = depth.pieces_of(spans)
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == ends[-1]
    for piece in pieces:
        assert spans[piece.span].start <= piece.start < piece.stop <= spans[piece.span].stop
        assert piece.size - 16 < piece.stop - piece.start <= piece.size
        assert piece.size % 16 == piece.at % 16 == 0
        assert piece.size * 128 * 128 < 2**31
    room = [0, *itertools.accumulate(piece.size for piece in pieces)]
    assert [piece.at for piece in pieces] == room[:-1]
    assert (depth.LONGEST + 16) * 128 * 128 >= 2**31


def test_a_matrix_that_is_laid_out_already_is_not_copied(library: ctypes.CDLL) -> None:
    device = Cpu(library)
    matrix = np.ones((32, 64), np.int8)
    for spans in ([slice(0, 64)], [slice(0, 16), slice(16, 64)]):
        assert np.shares_memory(depth.Factor.of(device, matrix, spans).matrix, matrix)
    for other in (matrix.astype(np.uint8), matrix[:, ::2], matrix[:, 3:], matrix.T.copy().T):
        spans = [slice(0, other.shape[1])]
        assert not np.shares_memory(depth.Factor.of(device, other, spans).matrix, other)
    cut = depth.Factor.of(device, matrix, [slice(0, 8), slice(8, 64)])
    assert cut.matrix.shape == (32, 80)


def rows_of(
    rng: np.random.Generator,
    shape: tuple[int, int],
    dtypes: tuple[Any, ...],
    group: int,
    *,
    per_row: bool,
    constant: bool,
) -> AffineRows:
    digits = tuple(integers(rng, dtype, shape) for dtype in dtypes)
    fields = shape[0] if per_row else 1, max(1, -(-shape[1] // group))
    scale = np.exp2(rng.uniform(-3, 3, fields))
    return AffineRows(digits, scale, rng.standard_normal(fields) if constant else None, group)


def assert_same_layer(
    backend: Backend, x: AffineRows, w: AffineRows, epilogue: Epilogue, ulps: int = 2
) -> None:
    expected = REFERENCE.linear(x, REFERENCE.prepare_weights(w), epilogue)
    found = backend.linear(x, backend.prepare_weights(w), epilogue)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if epilogue.requantize is not None:
        # A float64 sum in another order may, once in a blue moon, round to the other neighbour.
        assert np.abs(found.astype(int) - expected).max(initial=0) <= 1
        assert np.count_nonzero(found != expected) <= found.size // 200
        return
    terms = np.abs(expected).max(initial=0) * 2.0**-23
    np.testing.assert_allclose(found, expected, rtol=ulps * 2.0**-24, atol=ulps * terms * 2.0**-20)


DIGITS = [(np.int8,), (np.uint8,), (np.uint8, np.int8), (np.uint8, np.uint8)]


@pytest.mark.parametrize("x_digits", DIGITS)
@pytest.mark.parametrize("w_digits", DIGITS)
@pytest.mark.parametrize("constants", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("groups", [(70, 70), (70, 32), (32, 70), (16, 16), (70, 24), (24, 24)])
def test_layers_are_the_references(
    backend: Backend,
    x_digits: tuple[Any, ...],
    w_digits: tuple[Any, ...],
    constants: tuple[bool, bool],
    groups: tuple[int, int],
) -> None:
    rng = np.random.default_rng(sum(groups))
    for per_row in itertools.product([False, True], repeat=2):
        x = rows_of(rng, (9, 70), x_digits, groups[0], per_row=per_row[0], constant=constants[0])
        w = rows_of(rng, (21, 70), w_digits, groups[1], per_row=per_row[1], constant=constants[1])
        bias = rng.standard_normal(21) if per_row[0] else None
        assert_same_layer(backend, x, w, Epilogue(bias, relu=per_row[1]))


def test_one_product_without_constants_is_the_reference_to_the_bit(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    for x_type, w_type in itertools.product([np.int8, np.uint8], repeat=2):
        x = rows_of(rng, (33, 50), (x_type,), 50, per_row=True, constant=False)
        w = rows_of(rng, (40, 50), (w_type,), 50, per_row=True, constant=False)
        epilogue = Epilogue(rng.standard_normal(40), relu=True)
        expected = REFERENCE.linear(x, REFERENCE.prepare_weights(w), epilogue)
        found = backend.linear(x, backend.prepare_weights(w), epilogue)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric:signed=false", "apot", "pot"])
@pytest.mark.parametrize("rounding", ["half-away", "stochastic:5"])
def test_layers_give_codes_and_tiles_make_no_difference(
    backend: Backend, scheme: str, rounding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x = rows_of(rng, (37, 64), (np.uint8,), 32, per_row=True, constant=True)
    w = rows_of(rng, (19, 64), (np.int8,), 32, per_row=True, constant=False)
    quantizer = quantizer_of(scheme, 4)
    params = quantizer.fit(np.zeros((1, 1), "f4"), context_of(np.float32([[-4e4, 5e4]])))
    policy = qcore.create("rounding", rounding)
    epilogue = Epilogue(None, requantize=Requantize(quantizer, params, policy))
    whole = backend.linear(x, backend.prepare_weights(w), epilogue)
    assert_same_layer(backend, x, w, epilogue)
    monkeypatch.setattr("qcore_cupy.layer._TILE_ELEMENTS", 200)
    np.testing.assert_array_equal(backend.linear(x, backend.prepare_weights(w), epilogue), whole)


def test_layers_requantize_with_what_third_parties_wrote(backend: Backend) -> None:
    @dataclass(frozen=True)
    class Placed(RoundingPolicy):
        """Every other element up, from the one at place 1 on."""

        id: ClassVar[str] = "placed"
        needs_positions: ClassVar[bool] = True
        index: Any = None

        def at(self, index: NDArray[np.uint64]) -> RoundingPolicy:
            return Placed(index)

        def goes_up(self, gap: Gap) -> Any:
            return self.index % 2 == 1

    rng = np.random.default_rng(0)
    x = rows_of(rng, (5, 16), (np.int8,), 16, per_row=True, constant=False)
    w = rows_of(rng, (7, 16), (np.int8,), 16, per_row=True, constant=False)
    params = QuantParams(np.float32([[9e3]]))
    for quantizer, policy in [(quantizer_of("symmetric", 4), Placed()), (Ternary(), Up())]:
        epilogue = Epilogue(requantize=Requantize(quantizer, params, policy))
        expected = REFERENCE.linear(x, REFERENCE.prepare_weights(w), epilogue)
        found = backend.linear(x, backend.prepare_weights(w), epilogue)
        np.testing.assert_array_equal(found, expected)


def test_an_output_that_is_not_finite_becomes_no_code(backend: Backend) -> None:
    ones = np.ones((2, 16), np.int8)
    x, w = (
        AffineRows((ones,), np.array([[1e300]]), None, 16),
        AffineRows((ones,), np.eye(1), None, 16),
    )
    quantizer, params = quantizer_of("symmetric", 4), QuantParams(np.float32([[1]]))
    epilogue = Epilogue(requantize=Requantize(quantizer, params, policy_for("half-even", (1, 1))))
    for engine in (REFERENCE, backend):
        with np.errstate(over="ignore"), pytest.raises(qcore.NonFiniteError, match="4 of 4 values"):
            engine.linear(x, engine.prepare_weights(w), epilogue)


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 5, 0), (4, 0, 3)])
def test_layers_without_inputs_or_outputs(backend: Backend, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng = np.random.default_rng(0)
    x = rows_of(rng, (m, k), (np.uint8,), max(k, 1), per_row=False, constant=True)
    w = rows_of(rng, (n, k), (np.int8,), max(k, 1), per_row=False, constant=False)
    assert_same_layer(backend, x, w, Epilogue(rng.standard_normal(n), relu=True))


def test_a_group_longer_than_int32_holds(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    x = rows_of(rng, (2, 140_000), (np.uint8,), 140_000, per_row=True, constant=False)
    w = rows_of(rng, (3, 140_000), (np.uint8,), 140_000, per_row=True, constant=False)
    assert_same_layer(backend, x, w, Epilogue())


def test_layers_come_out_where_they_went_in_and_refuse_a_mixture(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    x = rows_of(rng, (5, 16), (np.int8,), 16, per_row=True, constant=True)
    w = rows_of(rng, (7, 16), (np.int8,), 16, per_row=True, constant=False)
    prepared = backend.prepare_weights(w)
    expected = backend.linear(x, prepared, Epilogue())
    assert x.constant is not None
    on = [array.view(OnDevice) for array in (x.digits[0], x.scale, x.constant)]
    moved = AffineRows((on[0],), on[1], on[2], 16)
    np.testing.assert_array_equal(backend.linear(moved, prepared, Epilogue()), expected)
    mixed = AffineRows((on[0],), x.scale, on[2], 16)
    with pytest.raises(qcore.UsageError, match=r"x.digits\[0\] is on the GPU .* but x.scale is in"):
        backend.linear(mixed, prepared, Epilogue())
    with pytest.raises(qcore.UsageError, match="prepared by 'reference', not by 'cupy'"):
        backend.linear(x, REFERENCE.prepare_weights(w), Epilogue())


@pytest.mark.parametrize("check", checks_for(CupyBackend()), ids=lambda check: check.__name__)
def test_it_passes_the_conformance_kit(backend: Backend, check: Any) -> None:
    check(backend)


def test_the_engine_runs_on_it(backend: Backend) -> None:
    x = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
    for recipe in ("asymmetric bits=4 granularity=group:32 rounding=stochastic:3", "apot bits=5"):
        codes = qcore.quantize(x, recipe, backend=backend, threads=1).codes
        np.testing.assert_array_equal(codes, qcore.quantize(x, recipe, backend="reference").codes)
        ours, theirs = (
            qcore.compare({"x": x}, [recipe], backend=engine, threads=1).rows[0].metrics
            for engine in (backend, "reference")
        )
        assert ours == pytest.approx(theirs, rel=1e-12)
    layer = qcore.Linear(qcore.quantize(x, "symmetric bits=8"), backend=backend)
    y = layer(qcore.quantize(x, "asymmetric bits=8 granularity=token", backend="reference"))
    assert isinstance(y, np.ndarray)
    assert y.shape == (64, 64)


NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize("source", SOURCES)
def test_cudas_compiler_takes_the_kernels_and_keeps_to_ieee(source: str, tmp_path: Path) -> None:
    """Nothing is flushed, fused or approximated, but for the sums that say fma themselves."""
    command = [str(NVCC), *OPTIONS, "-arch=sm_90", "-Werror=all-warnings", str(FOLDER / source)]
    for form in ("--ptx", "--cubin"):
        built = subprocess.run(
            [*command, form, "-o", f"{tmp_path}/out"], capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stderr
        assert not built.stderr
    ptx = subprocess.run(
        [*command, "--ptx", "-o", "-"], capture_output=True, text=True, check=True
    ).stdout
    assert set(KERNELS) & set(ptx.replace("(", " ").split())
    for wrong in (".ftz", ".approx", "fma.rn.f32", "mad.f32"):
        assert wrong not in ptx
    assert ("fma.rn.f64" in ptx) == (source == "measure.cu")
    assert ("div.rn.f32" in ptx) == (source in ("encode.cu", "measure.cu"))


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
@pytest.mark.parametrize("source", SOURCES)
def test_the_compiler_that_cupy_has_takes_the_kernels(source: str) -> None:
    from qcore_cupy.availability import library as cuda_library

    try:
        nvrtc = cuda_library("nvrtc")
        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"CuPy finds no NVRTC: {error}")
    text = (FOLDER / source).read_text()
    program = nvrtc.createProgram(text, source, (), ())
    options = (*OPTIONS, f"-I{FOLDER}", "-arch=sm_90", "--device-as-default-execution-space")
    nvrtc.compileProgram(program, options)
    log = nvrtc.getProgramLog(program).strip("\0\n ")
    assert not log
    nvrtc.destroyProgram(program)
