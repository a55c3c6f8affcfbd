"""What the schemes have in common: their edges, their bits, and how they are written as text."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore

TINY = 2.0**-126
LARGEST = float(np.finfo(np.float32).max)
NARROW = [2, 3, 4, 5, 6, 7, 8]
WIDE = [*NARROW, 12, 16]
BITS = {
    "uniform": WIDE, "symmetric": WIDE, "asymmetric": WIDE, "pot": NARROW, "apot": NARROW,
}  # fmt: skip

UNIFORM = ["uniform", "uniform:offset=none", "uniform:offset=none:signed=false"]
SYMMETRIC = ["symmetric", "symmetric:full_range=true", "symmetric:signed=false"]
ASYMMETRIC = [
    "asymmetric",
    "asymmetric:signed=false",
    "asymmetric:include_zero=false",
    "asymmetric:include_zero=false:signed=false",
]
POT = ["pot", "pot:signed=false", "pot:domain=linear", "pot:signed=false:domain=linear"]
APOT = ["apot", "apot:signed=false", "apot:k=1", "apot:k=8", "apot:k=8:signed=false"]
SPECS = [*UNIFORM, *SYMMETRIC, *ASYMMETRIC, *POT, *APOT]


def quantize(x: object, bits: int, spec: str, **axes: str) -> qcore.QuantizedTensor:
    return qcore.quantize(np.asarray(x), qcore.Recipe(spec, bits, **axes))


def scheme_of(spec: str) -> str:
    return spec.partition(":")[0]


def at_every_width(*specs: str) -> list[tuple[str, int]]:
    return [(spec, bits) for spec in specs for bits in BITS[scheme_of(spec)]]


def usual_width(spec: str) -> int:
    """Eight bits, or fewer where that many do not split into terms."""
    return 5 if scheme_of(spec) == "apot" else 8


def ulp(value: float) -> float:
    """From |value| to the next float32."""
    return float(np.ldexp(1.0, max(int(np.frexp(value)[1]) - 24, -149)))


# --- codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "bits"), at_every_width(*UNIFORM, "uniform:signed=false", *ASYMMETRIC)
)
def test_there_are_2_to_the_bits_codes(spec: str, bits: int) -> None:
    signed = spec in ("uniform:offset=none", "asymmetric", "asymmetric:include_zero=false")
    low = -(1 << (bits - 1)) if signed else 0
    scheme = qcore.create("scheme", spec, bits=bits)
    assert scheme.code_range == (low, low + (1 << bits) - 1)
    assert scheme.code_bits == bits


@pytest.mark.parametrize(
    ("spec", "bits"),
    at_every_width(
        "symmetric:signed=false",
        "pot:signed=false",
        "pot:signed=false:domain=linear",
        "apot:signed=false",
    ),
)
def test_unsigned_takes_negative_values_to_zero(spec: str, bits: int) -> None:
    q = quantize(np.array([-3, -0.1, 0, 2], np.float32), bits, spec)
    largest = np.float32(q.recipe.parts.quantizer.grid.units[-1])
    assert q.scale.tolist() == [np.float32(2) / largest]
    assert q.codes.tolist() == [0, 0, 0, 2**bits - 1]
    for negative in ([-3, -0.1], [-1, -2, -3], [-1e-3, 0, -5]):
        q = quantize(np.array(negative, np.float32), bits, spec)
        assert q.scale.tolist() == [1]
        assert q.codes.tolist() == [0] * len(negative)


# --- edges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("scale_format", ["float32", "float16", "bfloat16", "pow2"])
def test_an_all_zero_block_has_scale_one_and_codes_zero(spec: str, scale_format: str) -> None:
    x = np.array([[0, 0, -0.0], [1, -2, 3]], np.float32)
    bits = usual_width(spec)
    q = quantize(x, bits, spec, granularity="channel:0", scale_format=scale_format)
    assert q.scale[0] == 1
    assert q.codes[0].tolist() == [0, 0, 0]
    assert q.dequantize()[0].tolist() == [0, 0, 0]
    assert (q.zero_point is not None) == (spec in ASYMMETRIC)
    if q.zero_point is not None:
        assert q.zero_point.dtype == np.int32
        assert q.zero_point.ravel()[0] == 0


@pytest.mark.parametrize("spec", [*SYMMETRIC, *ASYMMETRIC, *APOT])
@settings(deadline=None, max_examples=50)
@given(st.data(), st.booleans())
def test_a_constant_block_is_exact_to_one_ulp(
    spec: str, data: st.DataObject, negative: bool
) -> None:
    least = 2.0**-100 if spec in APOT else 2.0**-110
    value = data.draw(st.floats(least, LARGEST, width=32))
    bits = data.draw(st.sampled_from(BITS[scheme_of(spec)]))
    can_be_negative = spec in ASYMMETRIC or "signed=false" not in spec
    x = np.full(4, -value if negative and can_be_negative else value, np.float32)
    values = quantize(x, bits, spec).dequantize()
    assert (np.abs(values.astype(np.float64) - x) <= ulp(value)).all()


@pytest.mark.parametrize(("spec", "bits"), at_every_width(*SYMMETRIC, *POT, *APOT))
def test_the_ends_of_float32_stay_finite(spec: str, bits: int) -> None:
    for top in (3e38, LARGEST):
        x = np.array([-top, top, 0, top / 3, 1.0, 1e-45], np.float32)
        q = quantize(x, bits, spec)
        values = q.dequantize()
        assert np.isfinite(q.scale).all()
        assert np.isfinite(values).all()
        ends = [0 if "signed=false" in spec else x[0], x[1]]
        np.testing.assert_allclose(values[:2], ends, rtol=0 if spec in POT else 1e-6)


@pytest.mark.parametrize(("spec", "bits"), at_every_width("uniform", *ASYMMETRIC))
@pytest.mark.parametrize("top", [3e38, LARGEST])
def test_a_range_wider_than_float32_stays_finite(spec: str, bits: int, top: float) -> None:
    x = np.array([-top, top, 0, top / 3, -1.0, 1e30], np.float32)
    q = quantize(x, bits, spec)
    step = 2 * float(x[1]) / ((1 << bits) - 1)
    assert q.scale.item() == pytest.approx(step, rel=1e-6)
    if spec == "uniform":  # with a zero point, a tie may leave the last code unused
        assert q.codes[:2].tolist() == [0, (1 << bits) - 1]
    values = q.dequantize()
    assert np.isfinite(values).all()
    error = np.abs(values.astype(np.float64) - x)
    slack = 4 if spec == "uniform" else 2
    assert error.max() <= step / 2 + slack * ulp(float(x[1]))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("largest", [2e-40, -2e-40])
def test_subnormal_numbers_are_quantized_with_the_smallest_scale(spec: str, largest: float) -> None:
    x = np.array([1e-45, 0, 3e-41, largest], np.float32)
    for bits in (4, usual_width(spec)):
        q = quantize(x, bits, spec)
        assert q.scale.tolist() == [TINY]
        assert np.abs(q.dequantize().astype(np.float64) - x).max() <= TINY / 2


@pytest.mark.parametrize(
    ("scheme", "bits"),
    [
        (scheme, bits)
        for scheme, widths in BITS.items()
        for bits in (-1, 0, 1, 9, 16, 17)
        if bits not in widths and (widths is NARROW or bits != 9)
    ],
)
def test_other_bits_are_refused(scheme: str, bits: int) -> None:
    with pytest.raises(qcore.UsageError) as caught:
        qcore.create("scheme", scheme, bits=bits)
    assert str(caught.value) == f"'{scheme}' has 2 to {BITS[scheme][-1]} bits, not {bits}"


# --- as text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("uniform", "uniform"),
        ("uniform:offset=lo", "uniform"),
        ("uniform:offset=none", "uniform:offset=none"),
        ("uniform:signed=false:offset=none", "uniform:offset=none:signed=false"),
        ("symmetric", "symmetric"),
        ("symmetric:signed=true", "symmetric"),
        ("symmetric:full_range=true:signed=true", "symmetric:full_range=true"),
        ("symmetric:full_range=true:signed=false", "symmetric:signed=false:full_range=true"),
        ("asymmetric", "asymmetric"),
        ("asymmetric:include_zero=true", "asymmetric"),
        ("asymmetric:include_zero=false", "asymmetric:include_zero=false"),
        (
            "asymmetric:include_zero=false:signed=false",
            "asymmetric:signed=false:include_zero=false",
        ),
        ("pot", "pot"),
        ("pot:domain=log", "pot"),
        ("pot:domain=linear", "pot:domain=linear"),
        ("pot:domain=linear:signed=false", "pot:signed=false:domain=linear"),
        ("apot", "apot"),
        ("apot:k=2", "apot"),
        ("apot:signed=false:k=1", "apot:k=1:signed=false"),
        ("apot:k=5", "apot:k=5"),
    ],
)
def test_options_are_written_as_they_are_read(written: str, normal: str) -> None:
    scheme = qcore.create("scheme", written, bits=5)
    assert str(scheme) == normal
    assert qcore.create("scheme", normal, bits=5) == scheme
    assert type(scheme).from_config(json.loads(json.dumps(scheme.config()))) == scheme
    recipe = qcore.Recipe(written, 5)
    assert str(recipe) == f"{normal} bits=5"
    assert qcore.Recipe.parse(str(recipe)) == recipe
    assert qcore.Recipe(scheme_of(written), 5, options=recipe.options) == recipe


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "uniform:offset=non",
            "'uniform': offset=non is not one of lo, none, did you mean 'none'?",
        ),
        (
            "symmetric:sined=false",
            "'symmetric' has no option 'sined', did you mean 'signed'?; it has signed, full_range",
        ),
        ("symmetric:signed=no", "'symmetric': signed=no is not one of true, false"),
        (
            "symmetric:true",
            "'symmetric:true': 'symmetric' takes none in order, so 'true' is one too many",
        ),
        ("pot:domain=line", "'pot': domain=line is not one of log, linear, did you mean 'linear'?"),
        ("apot:k=two", "'apot': k must be a whole number, not 'two'"),
        ("apot:k=2:k=3", "'apot:k=2:k=3' gives 'k' twice"),
        ("apot:2", "'apot:2': 'apot' takes none in order, so '2' is one too many"),
    ],
)
def test_a_wrong_option_says_what_is_right(spec: str, message: str) -> None:
    with pytest.raises(qcore.SpecError) as caught:
        qcore.create("scheme", spec, bits=usual_width(spec))
    assert str(caught.value) == message
