"""asymmetric agrees to the bit with ONNX's reference evaluator, wherever both have a say."""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import qcore

TYPES = {
    "int4": (4, True, TensorProto.INT4, ml_dtypes.int4),
    "uint4": (4, False, TensorProto.UINT4, ml_dtypes.uint4),
    "int8": (8, True, TensorProto.INT8, np.int8),
    "uint8": (8, False, TensorProto.UINT8, np.uint8),
    "int16": (16, True, TensorProto.INT16, np.int16),
    "uint16": (16, False, TensorProto.UINT16, np.uint16),
}
SHAPE = (6, 24)
LAYOUTS = {
    # granularity: the shape of the scales, and ONNX's attributes for it
    "tensor": ((), {}),
    "channel:0": ((6,), {"axis": 0}),
    "channel:1": ((24,), {"axis": 1}),
    "group:8": ((6, 3), {"axis": 1, "block_size": 8}),
    "group:24": ((6, 1), {"axis": 1, "block_size": 24}),
    "group:2:0": ((3, 24), {"axis": 0, "block_size": 2}),
}


@functools.cache
def evaluator(
    op: str, code_type: int, attributes: tuple[tuple[str, int], ...]
) -> ReferenceEvaluator:
    """A model of one node, of opset 21: the first with int4 and blocks."""
    float_type = TensorProto.FLOAT
    quantizes = op == "QuantizeLinear"
    node = helper.make_node(op, ["x", "scale", "zero"], ["y"], **dict(attributes))
    graph = helper.make_graph(
        [node],
        op,
        [
            helper.make_tensor_value_info("x", float_type if quantizes else code_type, None),
            helper.make_tensor_value_info("scale", float_type, None),
            helper.make_tensor_value_info("zero", code_type, None),
        ],
        [helper.make_tensor_value_info("y", code_type if quantizes else float_type, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return ReferenceEvaluator(model)


def evaluated(
    op: str, type_name: str, granularity: str, x: Any, scale: Any, zero: Any
) -> np.ndarray:
    _, _, code_type, dtype = TYPES[type_name]
    shape, attributes = LAYOUTS[granularity]
    inputs = {
        "x": x if op == "QuantizeLinear" else x.astype(dtype),
        "scale": scale.reshape(shape),
        "zero": zero.reshape(shape).astype(dtype),
    }
    (y,) = evaluator(op, code_type, tuple(attributes.items())).run(None, inputs)
    return np.asarray(y)


def recipe(type_name: str, granularity: str = "tensor") -> qcore.Recipe:
    bits, signed, _, _ = TYPES[type_name]
    return qcore.Recipe("asymmetric", bits, granularity, options={"signed": signed})


def repeated(scale: np.ndarray, granularity: str) -> np.ndarray:
    """One entry an element, in `SHAPE`."""
    shape, attributes = LAYOUTS[granularity]
    entries = scale.reshape(shape)
    if "block_size" in attributes:
        return entries.repeat(attributes["block_size"], axis=attributes["axis"])
    return np.broadcast_to(entries[:, None] if attributes.get("axis") == 0 else entries, SHAPE)


@pytest.fixture(params=range(5))
def random(request: pytest.FixtureRequest) -> np.random.Generator:
    return np.random.default_rng(request.param)


def params_and_values(
    type_name: str, granularity: str, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scales, zero points, and values: anywhere in range, on ties, beside ties, far outside."""
    low, high = recipe(type_name).parts.quantizer.code_range
    count = int(np.prod(LAYOUTS[granularity][0]))
    scale = (2.0 ** random.uniform(-12, 8, count)).astype(np.float32)
    pow2 = random.random(count) < 0.5
    scale[pow2] = np.exp2(np.rint(np.log2(scale[pow2])))  # so that ties are exact
    zero = random.integers(low, high + 1, count).astype(np.int32)
    s, z = repeated(scale, granularity), repeated(zero, granularity)
    steps = random.integers(low - 3, high + 4, SHAPE) - z
    kind = random.integers(0, 5, SHAPE)
    tie = ((steps + 0.5) * s).astype(np.float32)
    x = np.select(
        [kind == 0, kind == 1, kind == 2, kind == 3],
        [
            tie,
            np.nextafter(tie, np.float32(np.inf)),
            np.nextafter(tie, np.float32(-np.inf)),
            random.uniform(-1, 1, SHAPE) * s * 2.0**24,  # ONNX wraps beyond int32
        ],
        (steps + random.uniform(-0.5, 0.5, SHAPE)) * s,
    ).astype(np.float32)
    return scale, zero, x


@pytest.mark.parametrize("granularity", LAYOUTS)
@pytest.mark.parametrize("type_name", TYPES)
def test_codes_and_values_are_those_of_quantize_linear_and_dequantize_linear(
    type_name: str, granularity: str, random: np.random.Generator
) -> None:
    scale, zero, x = params_and_values(type_name, granularity, random)
    q = qcore.quantize(x, recipe(type_name, granularity), params=qcore.QuantParams(scale, zero))
    codes = evaluated("QuantizeLinear", type_name, granularity, x, scale, zero)
    assert codes.dtype == TYPES[type_name][3]
    np.testing.assert_array_equal(q.codes, codes.astype(np.int32))
    assert q.codes.dtype == q.recipe.parts.quantizer.code_dtype
    values = evaluated("DequantizeLinear", type_name, granularity, q.codes, scale, zero)
    np.testing.assert_array_equal(q.dequantize(), values, strict=True)


@pytest.mark.parametrize("type_name", TYPES)
def test_what_is_observed_agrees_too(type_name: str, random: np.random.Generator) -> None:
    x = random.normal(0.3, 2, SHAPE).astype(np.float32)
    for granularity in LAYOUTS:
        q = qcore.quantize(x, recipe(type_name, granularity))
        assert q.zero_point is not None
        codes = evaluated("QuantizeLinear", type_name, granularity, x, q.scale, q.zero_point)
        np.testing.assert_array_equal(q.codes, codes.astype(np.int32))
        values = evaluated(
            "DequantizeLinear", type_name, granularity, q.codes, q.scale, q.zero_point
        )
        np.testing.assert_array_equal(q.dequantize(), values, strict=True)


@pytest.mark.parametrize("type_name", TYPES)
def test_every_code_has_the_same_value(type_name: str) -> None:
    low, high = recipe(type_name).parts.quantizer.code_range
    codes = np.arange(low, high + 1)
    for scale, z in ((0.1, 0), (1.7e-5, low), (3.3, high), (0.0090682853, (low + high) // 2)):
        s, zero = np.array(scale, np.float32), np.array(z, np.int32)
        x = ((codes - z) * s).astype(np.float32)
        q = qcore.quantize(x, recipe(type_name), params=qcore.QuantParams(s, zero))
        np.testing.assert_array_equal(q.codes, codes)
        expected = evaluated("DequantizeLinear", type_name, "tensor", q.codes, s, zero)
        np.testing.assert_array_equal(q.dequantize(), expected, strict=True)


@pytest.mark.parametrize("type_name", TYPES)
@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.floats(-(2.0**20), 2.0**20, width=32), min_size=1, max_size=12),
    scale=st.floats(2.0**-10, 2.0**20, width=32),
    place=st.floats(0, 1),
)
def test_any_value_scale_and_zero_point_agree(
    type_name: str, values: list[float], scale: float, place: float
) -> None:
    low, high = recipe(type_name).parts.quantizer.code_range
    x, s = np.array(values, np.float32), np.array(scale, np.float32)
    zero = np.array(round(low + place * (high - low)), np.int32)
    q = qcore.quantize(x, recipe(type_name), params=qcore.QuantParams(s, zero))
    expected = evaluated("QuantizeLinear", type_name, "tensor", x, s, zero)
    np.testing.assert_array_equal(q.codes, expected.astype(np.int32))


@functools.cache
def dynamic() -> ReferenceEvaluator:
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
    uint8, float_type = TensorProto.UINT8, TensorProto.FLOAT
    outputs = [("y", uint8), ("scale", float_type), ("zero", uint8)]
    graph = helper.make_graph(
        [node],
        "dynamic",
        [helper.make_tensor_value_info("x", float_type, None)],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
    )
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


def assert_dynamic(x: np.ndarray) -> None:
    q = qcore.quantize(x, recipe("uint8"))
    y, scale, zero = dynamic().run(None, {"x": x})
    assert q.zero_point is not None
    assert q.scale.item() == scale.item()
    assert q.zero_point.item() == zero.item()
    np.testing.assert_array_equal(q.codes, y, strict=True)


@pytest.mark.parametrize("shift", [-100, -3, -0.5, 0, 0.2, 3, 100])
def test_scale_zero_point_and_codes_are_those_of_dynamic_quantize_linear(shift: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        spread = 2.0 ** random.uniform(-20, 20)
        assert_dynamic(((random.normal(0, 1, 200) + shift) * spread).astype(np.float32))


@settings(deadline=None, max_examples=80)
@given(st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=1, max_size=12))
def test_dynamic_quantize_linear_agrees_on_any_values(values: list[float]) -> None:
    x = np.array(values, np.float32)
    if np.abs(x).max() > 2.0**-100:  # ONNX has a scale of 1/255 for zeros, and subnormal ones
        assert_dynamic(x)
