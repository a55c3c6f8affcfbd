"""The cupy backend: why it is not available, everywhere; and the reference's results, on a GPU."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qcore
from against_reference import context_of, quantizer_of
from qcore import (
    AffineRows,
    Epilogue,
    GridQuantizer,
    QuantParams,
    Requantize,
    RoundingPolicy,
)
from qcore.testing import CheckSkipped, checks_for
from qcore_cupy import CupyBackend
from qcore_cupy.availability import first_line
from qcore_cupy.errors import ORDER

Floats = NDArray[np.float32]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # CuPy's, while it is imported
    REASON = CupyBackend().available()

on_gpu = pytest.mark.skipif(REASON is not None, reason=str(REASON))
without_cupy = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is not None, reason="CuPy is installed"
)

REFERENCE = qcore.create("backend", "reference")
LARGEST = float(np.finfo(np.float32).max)
POLICIES = (
    "half-even", "half-up", "half-down", "half-toward-zero", "half-away", "dpu", "floor", "ceil",
    "toward-zero", "stochastic:7",
)  # fmt: skip
CASES = [
    ("symmetric", 8), ("symmetric:signed=false", 4), ("asymmetric", 2), ("asymmetric", 16),
    ("asymmetric:include_zero=false", 8), ("uniform", 3), ("uniform", 16),
    ("uniform:offset=none", 8), ("pot", 4), ("pot:signed=false", 8), ("pot:domain=linear", 5),
    ("apot", 4), ("apot", 8), ("apot:k=1", 8), ("apot:signed=false", 6),
]  # fmt: skip


def test_it_is_installed_and_says_in_one_line_why_it_cannot_run() -> None:
    assert "cupy" in qcore.ids("backend")
    assert isinstance(qcore.create("backend", "cupy"), CupyBackend)
    assert REASON is None or (REASON and "\n" not in REASON)


@without_cupy
def test_without_cupy_it_says_how_to_install_it() -> None:
    line = "CuPy is not installed; pip install 'qcore-cupy[cuda12]' or 'qcore-cupy[cuda13]'"
    assert line == REASON
    with pytest.raises(qcore.UnavailableError) as caught:
        qcore.compare({"x": np.ones((2, 2), np.float32)}, ["symmetric"], backend="cupy")
    assert str(caught.value) == f"backend 'cupy' cannot run here: {line}"


@without_cupy
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            "raise ImportError('\\n====\\n  libcuda is too old\\nReinstall.')",
            "CuPy cannot be imported: libcuda is too old",
        ),
        (
            "class cuda:\n  class runtime:\n    def getDeviceCount():\n"
            "      raise RuntimeError('cudaErrorNoDevice: no CUDA-capable device is detected')",
            "CUDA finds no GPU: cudaErrorNoDevice: no CUDA-capable device is detected",
        ),
        (
            "class cuda:\n  class runtime:\n    def getDeviceCount():\n      return 0",
            "CUDA finds no GPU: its driver lists none",
        ),
        (
            "class cuda:\n  class runtime:\n    def getDeviceCount():\n      return 1",
            "CuPy finds no nvrtc: No module named 'cupy_backends'; install the CUDA toolkit, or "
            "CuPy with its extra [ctk]",
        ),
    ],
)
def test_a_cupy_that_does_not_work_is_quoted(tmp_path: Path, module: str, reason: str) -> None:
    """An installation that is broken, as a folder in front of all others."""
    (tmp_path / "cupy.py").write_text(module)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from qcore_cupy import CupyBackend; print(CupyBackend().available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == reason


def test_an_error_that_says_nothing_is_named() -> None:
    assert first_line(RuntimeError()) == "RuntimeError"
    assert first_line(RuntimeError("\n\t\n a \n b")) == "a"


def test_the_plugin_does_not_import_cupy() -> None:
    code = "import sys, qcore; qcore.ids('backend'); print('cupy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def cupy() -> Any:
    if REASON is not None:
        pytest.skip(REASON)
    return importlib.import_module("cupy")


@pytest.fixture(scope="module")
def backend(cupy: Any) -> CupyBackend:
    return CupyBackend()


def policy_for(rounding: str, shape: tuple[int, ...]) -> RoundingPolicy:
    policy = qcore.create("rounding", rounding)
    assert isinstance(policy, RoundingPolicy)
    return policy.at(np.arange(math.prod(shape), dtype=np.uint64).reshape(shape))


def some_blocks(quantizer: GridQuantizer, shape: tuple[int, int]) -> tuple[Floats, QuantParams]:
    """From subnormal to huge, on every threshold and beside it, and clipped."""
    rng = np.random.default_rng(shape[1])
    sizes = np.exp2(rng.integers(-140, 100, (shape[0], 1)).astype(np.float64))
    fitted = quantizer.fit(np.float32([[-1, 2]]), context_of(np.float32([[-1, 2]])))
    scale = np.maximum(fitted.scale.astype(np.float64) * sizes, 2.0**-149).astype(np.float32)
    low, high = quantizer.code_range
    units = rng.integers(2 * low - 2, 2 * high + 2, shape) / 2 + rng.choice([0, 1e-7], shape)
    z = None if fitted.zero_point is None else rng.integers(low, high, (shape[0], 1), np.int32)
    offset = None if fitted.offset is None else (scale * np.float32(-3.7)).astype(np.float32)
    x = (units - (0 if z is None else z)) * scale + (0 if offset is None else offset)
    blocks = np.clip(x, -LARGEST, LARGEST).astype(np.float32)
    return blocks, QuantParams(scale, z, offset)


def moved(params: QuantParams, to: Callable[[Any], Any]) -> QuantParams:
    z, offset = params.zero_point, params.offset
    return QuantParams(
        to(params.scale), None if z is None else to(z), None if offset is None else to(offset)
    )


@on_gpu
@pytest.mark.parametrize(("scheme", "bits"), CASES)
@pytest.mark.parametrize("rounding", POLICIES)
def test_codes_values_and_sums_are_the_references(
    backend: CupyBackend, cupy: Any, scheme: str, bits: int, rounding: str
) -> None:
    quantizer = quantizer_of(scheme, bits)
    for shape in [(40, 300), (3, 9000), (20_000, 3), (1, 1)]:
        blocks, params = some_blocks(quantizer, shape)
        policy = policy_for(rounding, shape)
        with np.errstate(all="ignore"):
            codes = REFERENCE.encode(quantizer, blocks, params, policy)
            values = REFERENCE.decode(quantizer, codes, params)
            stats = REFERENCE.measure(quantizer, blocks, params, policy, ORDER)
        for order, to in itertools.product("CF", [np.asarray, cupy.asarray]):
            x, own = to(np.array(blocks, order=order)), moved(params, to)
            found = backend.encode(quantizer, x, own, policy)
            assert isinstance(found, type(x))
            np.testing.assert_array_equal(cupy.asnumpy(found), codes)
            decoded = backend.decode(quantizer, to(np.array(codes, order=order)), own)
            assert isinstance(decoded, type(x))
            bits_of = cupy.asnumpy(decoded).view(np.uint32)
            np.testing.assert_array_equal(bits_of, values.view(np.uint32))
            measured = backend.measure(quantizer, x, own, policy, ORDER)
            for name in ORDER:
                size = math.sqrt(stats.x2 * stats.y2) if name == "xy" else 0.0
                wanted = pytest.approx(getattr(stats, name), rel=1e-12, abs=1e-12 * size)
                assert getattr(measured, name) == wanted, name
            assert measured.max_e == stats.max_e
            assert measured == backend.measure(quantizer, x, own, policy, ORDER)


@pytest.mark.parametrize("check", checks_for(CupyBackend()), ids=lambda check: check.__name__)
def test_it_passes_the_conformance_kit(check: Any) -> None:
    try:
        check(CupyBackend())
    except CheckSkipped as reason:
        pytest.skip(str(reason))


@on_gpu
def test_subnormal_values_and_scales_are_not_flushed(backend: CupyBackend) -> None:
    quantizer, policy = quantizer_of("symmetric", 8), policy_for("half-even", (1, 5))
    blocks = np.float32([[1e-45, -1e-45, 4e-44, 1e-39, -1.1e-38]])
    params = QuantParams(np.float32([[1e-40]]))
    codes = REFERENCE.encode(quantizer, blocks, params, policy)
    assert codes.any()
    np.testing.assert_array_equal(backend.encode(quantizer, blocks, params, policy), codes)
    values = REFERENCE.decode(quantizer, codes, params)
    np.testing.assert_array_equal(backend.decode(quantizer, codes, params), values)


@on_gpu
@pytest.mark.parametrize(
    "recipe",
    [
        "symmetric bits=8 granularity=channel:0",
        "asymmetric bits=4 granularity=group:32 rounding=stochastic:3",
        "uniform bits=6 granularity=block:16:16",
        "apot bits=4 granularity=group:128 observer=mse",
        "pot bits=5",
    ],
)
def test_the_engine_gives_the_references_codes_and_metrics_from_several_threads(
    backend: CupyBackend, recipe: str
) -> None:
    x = np.random.default_rng(0).standard_normal((512, 640)).astype(np.float32)
    expected = qcore.quantize(x, recipe, backend="reference")
    for threads in (1, 4):
        found = qcore.quantize(x, recipe, backend=backend, threads=threads)
        np.testing.assert_array_equal(found.codes, expected.codes)
    ours, theirs = (
        qcore.compare({"x": x}, [recipe], backend=engine).rows[0].metrics
        for engine in (backend, "reference")
    )
    assert ours == pytest.approx(theirs, rel=1e-9)


@on_gpu
def test_any_thread_may_call_it(backend: CupyBackend) -> None:
    quantizer = quantizer_of("symmetric", 8)
    blocks, params = some_blocks(quantizer, (50, 3000))
    policy = policy_for("half-up", blocks.shape)
    expected, found = REFERENCE.encode(quantizer, blocks, params, policy), []

    def encode() -> None:
        found.extend(backend.encode(quantizer, blocks, params, policy) for _ in range(5))

    threads = [threading.Thread(target=encode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    for codes in found:
        np.testing.assert_array_equal(codes, expected)


@on_gpu
def test_only_a_few_chunks_are_on_the_gpu_at_a_time(backend: CupyBackend, cupy: Any) -> None:
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    x = np.random.default_rng(0).standard_normal((1 << 13, 1 << 13)).astype(np.float32)
    qcore.compare({"x": x}, ["symmetric bits=8 granularity=channel:0"], backend=backend, threads=2)
    assert pool.total_bytes() - before <= 2 * 3 * 4 * backend.grid_chunk_elements


@on_gpu
@pytest.mark.parametrize("code", [-9, 8])
def test_codes_that_no_level_has_are_refused(backend: CupyBackend, code: int) -> None:
    params = QuantParams(np.float32([[1]]))
    with pytest.raises(qcore.RangeError, match="codes of this grid are -7 … 7; got one outside"):
        backend.decode(quantizer_of("apot", 4), np.int8([[0, code]]), params)


@on_gpu
def test_some_here_and_some_there_is_refused(backend: CupyBackend, cupy: Any) -> None:
    quantizer, host = quantizer_of("symmetric", 8), np.ones((2, 3), np.float32)
    params, policy = QuantParams(np.ones((2, 1), np.float32)), policy_for("floor", (2, 3))
    with pytest.raises(qcore.UsageError, match=r"blocks is on the GPU .* but scale is in the host"):
        backend.encode(quantizer, cupy.asarray(host), params, policy)
    a = np.ones((4, 3), np.int8)
    with pytest.raises(qcore.UsageError, match=r"b is on the GPU .* but a is in the host"):
        backend.gemm(a, cupy.asarray(a.T))
    prepared = backend.prepare(cupy.asarray(a.T))
    assert isinstance(backend.gemm(a, prepared), np.ndarray)
    assert isinstance(backend.gemm(cupy.asarray(a), prepared), cupy.ndarray)


@on_gpu
def test_schemes_that_the_kernels_do_not_know_run_as_they_are_written(backend: CupyBackend) -> None:
    class Written(type(quantizer_of("symmetric", 4))):  # type: ignore[misc]
        def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
            return np.clip(rounding.round(blocks / params.scale), -2, 2).astype(np.int8)

    class OnHost(Written):
        def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
            return np.asarray(blocks, np.float32).astype(np.int8)

    blocks = np.random.default_rng(0).standard_normal((5, 70)).astype(np.float32)
    params, policy = QuantParams(np.full((5, 1), 0.4, "f4")), policy_for("half-up", (5, 70))
    codes = REFERENCE.encode(Written(bits=4), blocks, params, policy)
    np.testing.assert_array_equal(backend.encode(Written(bits=4), blocks, params, policy), codes)
    stats = REFERENCE.measure(Written(bits=4), blocks, params, policy, ORDER)
    found = backend.measure(Written(bits=4), blocks, params, policy, ORDER)
    for name in ORDER:
        assert getattr(found, name) == pytest.approx(getattr(stats, name), rel=1e-12)
    with pytest.raises(qcore.SchemeError, match=r"cannot work on CuPy arrays .*--backend numpy"):
        backend.encode(OnHost(bits=4), blocks, params, policy)


def integers(dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    info = np.iinfo(dtype)
    rng = np.random.default_rng(sum(shape))
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


@on_gpu
@pytest.mark.parametrize(("left", "right"), list(itertools.product([np.int8, np.uint8], repeat=2)))
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (5, 16, 16), (3, 17, 9), (128, 256, 64), (1, 4096, 500), (700, 333, 129),
     (2, 131_072, 3), (3, 300_001, 20), (0, 4, 3), (3, 0, 4)],
)  # fmt: skip
def test_products_are_exact(
    backend: CupyBackend, cupy: Any, left: Any, right: Any, shape: tuple[int, int, int]
) -> None:
    m, k, n = shape
    a, b = integers(left, (m, k)), integers(right, (k, n))
    expected = REFERENCE.gemm(a, b)
    for to in (np.asarray, cupy.asarray):
        x, y = to(a), to(b)
        for factor in (y, backend.prepare(y), to(np.asfortranarray(b))):
            found = backend.gemm(x, factor)
            assert isinstance(found, type(x))
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(cupy.asnumpy(found), expected)
    if m > 1:
        part = backend.gemm(cupy.asarray(a)[1:, :], cupy.asarray(b))
        np.testing.assert_array_equal(cupy.asnumpy(part), expected[1:])


def rows_of(
    shape: tuple[int, int], dtypes: tuple[Any, ...], group: int, *, constant: bool
) -> AffineRows:
    rng = np.random.default_rng(group)
    fields = shape[0], -(-shape[1] // group)
    scale = np.exp2(rng.uniform(-3, 3, fields))
    digits = tuple(integers(dtype, shape) for dtype in dtypes)
    return AffineRows(digits, scale, rng.standard_normal(fields) if constant else None, group)


@on_gpu
@pytest.mark.parametrize("x_digits", [(np.int8,), (np.uint8,), (np.uint8, np.int8)])
@pytest.mark.parametrize("w_digits", [(np.int8,), (np.uint8,), (np.uint8, np.int8)])
@pytest.mark.parametrize("constants", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("groups", [(320, 320), (320, 32), (32, 320), (24, 24)])
def test_layers_are_the_references(
    backend: CupyBackend,
    cupy: Any,
    x_digits: tuple[Any, ...],
    w_digits: tuple[Any, ...],
    constants: tuple[bool, bool],
    groups: tuple[int, int],
) -> None:
    x = rows_of((33, 320), x_digits, groups[0], constant=constants[0])
    w = rows_of((70, 320), w_digits, groups[1], constant=constants[1])
    epilogue = Epilogue(np.linspace(-1, 1, 70), relu=constants[0])
    expected = REFERENCE.linear(x, REFERENCE.prepare_weights(w), epilogue)
    prepared = backend.prepare_weights(w)
    found = backend.linear(x, prepared, epilogue)
    assert isinstance(found, np.ndarray)
    size = np.abs(expected).max() * 2.0**-42
    np.testing.assert_allclose(found, expected, rtol=2.0**-23, atol=size)
    on = AffineRows(
        tuple(cupy.asarray(digit) for digit in x.digits),
        cupy.asarray(x.scale),
        None if x.constant is None else cupy.asarray(x.constant),
        x.group,
    )
    there = backend.linear(on, prepared, epilogue)
    assert isinstance(there, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(there), found)


@on_gpu
@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "apot"])
@pytest.mark.parametrize("rounding", ["half-even", "stochastic:5"])
def test_layers_give_codes(backend: CupyBackend, scheme: str, rounding: str) -> None:
    quantizer = quantizer_of(scheme, 4)
    x = rows_of((33, 320), (np.uint8,), 320, constant=False)
    w = rows_of((70, 320), (np.int8,), 320, constant=False)
    params = quantizer.fit(np.zeros((1, 1), "f4"), context_of(np.float32([[-4e4, 5e4]])))
    policy = qcore.create("rounding", rounding)
    epilogue = Epilogue(requantize=Requantize(quantizer, params, policy))
    expected = REFERENCE.linear(x, REFERENCE.prepare_weights(w), epilogue)
    found = backend.linear(x, backend.prepare_weights(w), epilogue)
    np.testing.assert_array_equal(found, expected)
