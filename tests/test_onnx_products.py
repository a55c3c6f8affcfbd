"""Products and layers agree with ONNX: its own node tests, and its reference evaluator."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.backend.test.case import node as onnx_cases
from onnx.reference import ReferenceEvaluator

import qcore
from qcore import Epilogue, QuantParams, Requantize
from qcore.integer_form import affine_rows

Codes = NDArray[Any]

BACKENDS = pytest.mark.parametrize("backend", ["int8-blas", "reference", "numpy"])


# --- ONNX's operators, in terms of qcore ----------------------------------------------------------


def recipe(dtype: Any) -> qcore.Recipe:
    signed = np.issubdtype(dtype, np.signedinteger)
    return qcore.Recipe("asymmetric", 8, options={"signed": signed})


def tensor(codes: Codes, scale: Any, zero: Any) -> qcore.QuantizedTensor:
    """Codes as they are, with one scale and one zero point."""
    params = QuantParams(np.float32(scale).reshape(1, 1), np.int32(zero).reshape(1, 1))
    like = qcore.quantize(np.zeros(codes.shape, np.float32), recipe(codes.dtype), params=params)
    return qcore.QuantizedTensor(codes, like.params, like.recipe, like.layout)


def matmul_integer(backend: str, a: Codes, b: Codes, a_zero: int = 0, b_zero: int = 0) -> Codes:
    """(A − a₀) · (B − b₀), from the integer product and the sums of both sides."""
    product = qcore.create("backend", backend).gemm(a, b).astype(np.int64)
    product -= a_zero * b.sum(axis=0, dtype=np.int64)
    product -= b_zero * a.sum(axis=-1, dtype=np.int64, keepdims=True)
    return (product + len(b) * a_zero * b_zero).astype(np.int32)


def qlinear_matmul(
    backend: str, a: Codes, a_scale: Any, a_zero: Any, b: Codes, b_scale: Any, b_zero: Any,
    y_scale: Any, y_zero: Any,
) -> Codes:  # fmt: skip
    """A layer, and its output quantized with given params: afterwards, and by the backend."""
    if b.ndim > 2:
        layers = [
            qlinear_matmul(backend, *one, y_scale, y_zero)
            for one in ((x, a_scale, a_zero, w, b_scale, b_zero) for x, w in zip(a, b, strict=True))
        ]
        return np.stack(layers)
    x, w = tensor(a, a_scale, a_zero), tensor(b.T, b_scale, b_zero)
    output = recipe(y_zero.dtype)
    params = QuantParams(np.float32(y_scale).reshape(1, 1), np.int32(y_zero).reshape(1, 1))
    layer = qcore.Linear(w, backend=backend)
    assert layer.path(x) == "int8"
    codes = qcore.quantize(layer(x), output, params=params).codes

    chosen = qcore.create("backend", backend)
    requantize = Requantize(output.parts.quantizer, params, output.parts.rounding)
    weights = chosen.prepare_weights(affine_rows(w))
    fused = chosen.linear(affine_rows(x), weights, Epilogue(requantize=requantize))
    np.testing.assert_array_equal(fused.reshape(codes.shape), codes, strict=True)
    return codes


# --- ONNX's own node tests ------------------------------------------------------------------------


def cases(operator: str) -> list[Any]:
    """What ONNX tests its backends with, for one operator; a module makes its cases on import."""
    importlib.import_module(f"{onnx_cases.__name__}.{operator.lower()}")
    return [
        pytest.param(*case.data_sets[0], id=case.name)
        for case in onnx_cases._NodeTestCases
        if [node.op_type for node in case.model.graph.node] == [operator]
    ]


MATMUL_INTEGER, QLINEAR_MATMUL = cases("MatMulInteger"), cases("QLinearMatMul")


def test_all_of_onnxs_cases_are_here() -> None:
    assert [case.id for case in MATMUL_INTEGER] == ["test_matmulinteger"]
    assert {case.id for case in QLINEAR_MATMUL} == {
        f"test_qlinearmatmul_{axes}_{codes}_{scales}"
        for axes in ("2D", "3D")
        for codes in ("uint8", "int8")
        for scales in ("float32", "float16")
    }


@BACKENDS
@pytest.mark.parametrize(("inputs", "outputs"), MATMUL_INTEGER)
def test_matmul_integer_passes_onnxs_node_tests(
    backend: str, inputs: list[Codes], outputs: list[Codes]
) -> None:
    a, b, a_zero, b_zero = inputs
    found = matmul_integer(backend, a, b, int(a_zero.item()), int(b_zero.item()))
    np.testing.assert_array_equal(found, outputs[0], strict=True)


@BACKENDS
@pytest.mark.parametrize(("inputs", "outputs"), MATMUL_INTEGER)
def test_a_layer_of_unit_scales_is_matmul_integer(
    backend: str, inputs: list[Codes], outputs: list[Codes]
) -> None:
    a, b, a_zero, b_zero = inputs
    y = qcore.linear(tensor(a, 1, a_zero), tensor(b.T, 1, b_zero), backend=backend)
    np.testing.assert_array_equal(y, outputs[0])


@BACKENDS
@pytest.mark.parametrize(("inputs", "outputs"), QLINEAR_MATMUL)
def test_a_layer_with_output_codes_passes_onnxs_node_tests(
    backend: str, inputs: list[Any], outputs: list[Codes]
) -> None:
    found = qlinear_matmul(backend, *inputs)
    np.testing.assert_array_equal(found, outputs[0], strict=True)


# --- ONNX's reference evaluator -------------------------------------------------------------------

PROTO = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


@functools.cache
def evaluator(operator: str, left: str, right: str, output: str) -> ReferenceEvaluator:
    inputs = [("a", left), ("b", right), ("a_zero", left), ("b_zero", right)]
    if operator == "QLinearMatMul":
        inputs = [
            ("a", left), ("a_scale", None), ("a_zero", left),
            ("b", right), ("b_scale", None), ("b_zero", right),
            ("y_scale", None), ("y_zero", output),
        ]  # fmt: skip
    result = PROTO[output] if operator == "QLinearMatMul" else TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(operator, [name for name, _ in inputs], ["y"])],
        operator,
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT if dtype is None else PROTO[dtype], None
            )
            for name, dtype in inputs
        ],
        [helper.make_tensor_value_info("y", result, None)],
    )
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


def evaluated(operator: str, output: str, **inputs: Any) -> Codes:
    made = evaluator(operator, inputs["a"].dtype.name, inputs["b"].dtype.name, output)
    (y,) = made.run(None, inputs)
    return np.asarray(y)


DTYPE = st.sampled_from(["int8", "uint8"])


def codes_of(random: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Codes:
    info = np.iinfo(dtype)
    return random.integers(info.min, info.max + 1, shape).astype(dtype)


@BACKENDS
@settings(deadline=None, max_examples=40)
@given(
    DTYPE,
    DTYPE,
    st.tuples(st.integers(1, 5), st.integers(1, 60), st.integers(1, 5)),
    st.integers(0, 2**32),
)
def test_any_matmul_integer_agrees(
    backend: str, left: str, right: str, extents: tuple[int, int, int], seed: int
) -> None:
    rows, depth, columns = extents
    random = np.random.default_rng(seed)
    a, b = codes_of(random, left, (2, rows, depth)), codes_of(random, right, (depth, columns))
    zeros = codes_of(random, left, ()), codes_of(random, right, ())
    expected = evaluated("MatMulInteger", "int8", a=a, b=b, a_zero=zeros[0], b_zero=zeros[1])
    found = matmul_integer(backend, a, b, *(int(zero) for zero in zeros))
    np.testing.assert_array_equal(found, expected, strict=True)
    y = qcore.linear(tensor(a, 1, zeros[0]), tensor(b.T, 1, zeros[1]), backend=backend)
    np.testing.assert_array_equal(y, expected)  # below 2^24


def far_from_ties(exact: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where float32's few roundings, 10⁻⁶ together, cannot take a value to the other side."""
    distance = np.abs(exact - np.floor(exact) - 0.5)
    return distance > 1e-6 * np.maximum(np.abs(exact), 1)


@BACKENDS
@pytest.mark.parametrize("output", ["int8", "uint8"])
def test_any_qlinear_matmul_agrees_but_beside_ties(backend: str, output: str) -> None:
    """There our rule rounds, then adds the zero point; ONNX's reference adds, then rounds."""
    seen: dict[str, int] = {"compared": 0, "inside": 0, "all": 0}

    @settings(deadline=None, max_examples=60, database=None, derandomize=True)
    @given(
        DTYPE,
        DTYPE,
        st.tuples(st.integers(1, 6), st.integers(1, 60), st.integers(1, 6)),
        st.floats(-1, 1),
        st.integers(0, 2**32),
    )
    def agrees(
        left: str, right: str, extents: tuple[int, int, int], spread: float, seed: int
    ) -> None:
        rows, depth, columns = extents
        random = np.random.default_rng(seed)
        a, b = codes_of(random, left, (rows, depth)), codes_of(random, right, (depth, columns))
        scales = np.exp2(random.uniform(-12, 3, 2)).astype(np.float32)
        zeros = [codes_of(random, dtype, ()) for dtype in (left, right, output)]
        sums = (a.astype(np.int64) - int(zeros[0])) @ (b.astype(np.int64) - int(zeros[1]))
        # Most of the output is in range, and some outside.
        whole = float(np.abs(sums).max() + 1) * scales.astype(np.float64).prod()
        y_scale = np.float32(whole / 128 * 2.0**spread)
        rest = (scales[0], zeros[0], b, scales[1], zeros[1], y_scale, zeros[2])
        names = ("a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero")
        arrays = {name: np.asarray(value) for name, value in zip(names, rest, strict=True)}
        expected = evaluated("QLinearMatMul", output, a=a, **arrays)
        found = qlinear_matmul(backend, a, *arrays.values())

        exact = sums * (scales.astype(np.float64).prod() / np.float64(y_scale))
        compared = far_from_ties(exact)
        assert found.dtype == expected.dtype == output
        np.testing.assert_array_equal(found[compared], expected[compared])
        off = np.abs(found.astype(int) - expected.astype(int))
        assert off.max() <= 1  # on ties, the neighbour
        info = np.iinfo(output)
        inside = (found > info.min) & (found < info.max)
        seen["compared"] += np.count_nonzero(compared)
        seen["inside"] += np.count_nonzero(compared & inside)
        seen["all"] += compared.size

    agrees()
    assert seen["all"] > 500
    assert seen["compared"] > 0.95 * seen["all"]
    assert 0.4 * seen["all"] < seen["inside"] < seen["compared"]


@BACKENDS
@pytest.mark.parametrize(("zero", "ours", "onnxs"), [(0, [0, 2, 2, 0], [0, 2, 2, 0]),
                                                     (1, [1, 3, 3, 1], [2, 2, 4, 0])])  # fmt: skip
def test_on_a_tie_our_rule_rounds_and_then_adds_the_zero_point(
    backend: str, zero: int, ours: list[int], onnxs: list[int]
) -> None:
    """As ONNX's QuantizeLinear does too."""
    a = np.int8([[1], [3], [5], [-1]])
    inputs = {"a_scale": 0.5, "a_zero": 0, "b": [[1]], "b_scale": 1, "b_zero": 0, "y_scale": 1}
    arrays = {
        name: np.array(value, np.float32 if name.endswith("scale") else np.int8)
        for name, value in (inputs | {"y_zero": zero}).items()
    }
    assert qlinear_matmul(backend, a, *arrays.values())[:, 0].tolist() == ours
    assert evaluated("QLinearMatMul", "int8", a=a, **arrays)[:, 0].tolist() == onnxs
