"""What theory expects is what simulation finds, and what the closed forms say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, optimize, stats

import qcore
from qcore.distributions import distribution
from qcore.expectation import expect
from qcore.extremes import extremes

DISTRIBUTIONS = ["normal", "half-normal", "uniform", "laplace", "student-t:5"]
SCHEMES = ["apot", "asymmetric", "pot", "symmetric", "uniform"]


def draws(spec: str, count: int) -> NDArray[np.float32]:
    """Random values, one in each of `count` equally likely parts of the distribution."""
    places = (np.arange(count) + np.random.default_rng(0).random(count)) / count
    law = distribution(spec)
    upper = places > 0.5
    x = np.where(upper, law.upper_quantile(1 - places), law.quantile(places))
    return x.astype(np.float32)


@pytest.mark.parametrize("spec", DISTRIBUTIONS)
def test_a_simulation_of_a_million_values_agrees_for_every_scheme_and_width(spec: str) -> None:
    x = draws(spec, 1_000_000)
    lo = 0 if spec == "half-normal" else -4
    recipes = [
        f"{scheme} bits={bits} observer=fixed:{lo}:4" for scheme in SCHEMES for bits in range(2, 9)
    ]
    assert set(SCHEMES) <= set(qcore.ids("scheme"))
    for row in qcore.compare({"x": x}, recipes).rows:
        theory = qcore.expected_sqnr(f"{row.recipe.scheme} bits={row.recipe.bits}", spec, alpha=4)
        assert theory == pytest.approx(row.metrics["sqnr_db"], abs=0.1), row.recipe


@pytest.mark.parametrize("rest", ["rounding=floor", "rounding=ceil", "scale_format=pow2"])
@pytest.mark.parametrize("spec", ["half-normal", "laplace:location=0.5"])
def test_so_it_does_for_other_roundings_and_scale_formats(spec: str, rest: str) -> None:
    x = draws(spec, 200_000)
    location = distribution(spec).location
    lo = 0 if spec == "half-normal" else location - 3
    recipes = [f"{scheme} bits=4 {rest}" for scheme in [*SCHEMES, "symmetric:signed=false"]]
    observer = f"observer=fixed:{lo}:{location + 3}"
    for row in qcore.compare({"x": x}, [f"{recipe} {observer}" for recipe in recipes]).rows:
        recipe = f"{row.recipe.scheme_spec} bits=4 {rest}"
        theory = qcore.expected_sqnr(recipe, spec, alpha=3)
        assert theory == pytest.approx(row.metrics["sqnr_db"], abs=0.05), row.recipe


BLOCKS = [
    "symmetric bits=4 granularity=token",
    "asymmetric bits=3 granularity=token rounding=floor",
    "uniform bits=8 granularity=token",
    "apot bits=4 granularity=token scale_format=pow2",
]


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ("normal", 16),
        ("half-normal:scale=3", 16),
        ("uniform", 256),
        ("laplace", 256),
        ("student-t:5", 256),
        ("normal:location=1", 16),
    ],
)
def test_over_blocks_of_a_size_it_agrees_too(spec: str, size: int) -> None:
    """The noise of random blocks with the range of minmax, against the mean and what chance allows.

    The signal is known, so that its chance is left out.
    """
    law = distribution(spec)
    places = np.random.default_rng(size).random(1 << 18)
    x = law.quantile(places).astype(np.float32).reshape(-1, size)
    for recipe in BLOCKS:
        noise = np.square(qcore.fake_quantize(x, recipe).astype(np.float64) - x).mean(axis=1)
        chance = 3.5 * noise.std() / math.sqrt(len(noise))
        expected = expect(recipe, law, size=size).noise
        assert expected == pytest.approx(noise.mean(), abs=chance + 0.02 * noise.mean()), recipe


def test_so_it_does_over_the_smallest_blocks() -> None:
    """Where most values are an end of their block's range."""
    x = draws("normal", 300_000)
    np.random.default_rng(1).shuffle(x)
    for size in (2, 3):
        [row] = qcore.compare(
            {"x": x.reshape(-1, size)}, ["symmetric bits=4 granularity=token"]
        ).rows
        theory = qcore.expected_sqnr("symmetric bits=4", size=size)
        assert theory == pytest.approx(row.metrics["sqnr_db"], abs=0.1)


def largest_square(n: int, outside: int) -> float:
    """E[max²] of n standard normal values, of their magnitudes if `outside` is 2; by quadrature."""

    def beyond(m: float) -> float:
        return -math.expm1(n * math.log1p(-outside * stats.norm.sf(m)))

    return float(integrate.quad(lambda m: 2 * m * beyond(m), 1e-9, 15, limit=500, epsabs=1e-12)[0])


@pytest.mark.parametrize(("n", "ratio"), [(16, 0.866), (64, 0.911), (256, 0.933)])
def test_the_largest_of_a_matrix_of_normal_values(n: int, ratio: float) -> None:
    both, cut = (extremes(distribution(spec), n * n) for spec in ("normal", "half-normal"))
    square = np.sum(both.weight * np.maximum(-both.lo, both.hi) ** 2)
    assert square == pytest.approx(largest_square(n * n, 2), rel=1e-5)
    positive = np.sum(cut.weight * cut.hi**2)
    assert positive == pytest.approx(largest_square(n * n, 1), rel=1e-5)
    assert positive / square == pytest.approx(ratio, abs=1e-3)


@dataclass(frozen=True)
class Over128(qcore.GridQuantizer):
    """The seeds' question: s = max|x| / 128, on the codes −128 … 127."""

    id: ClassVar[str] = "over-128"
    bits: ClassVar[int] = 8

    @property
    def grid(self) -> qcore.IntegerGrid:
        return qcore.IntegerGrid(-128, 127)

    def params(self, context: qcore.FitContext) -> qcore.QuantParams:
        return qcore.QuantParams(context.snap(context.largest(signed=True) / 128))


@pytest.mark.parametrize(("spec", "outside"), [("normal", 2), ("half-normal", 1)])
def test_the_seeds_questions_have_their_closed_form(spec: str, outside: int) -> None:
    for n in (16, 64, 256):
        closed = largest_square(n * n, outside) / 12
        found = expect("symmetric bits=8", spec, size=n * n)
        share = 1 / (n * n * found.signal)  # of the largest value, in the noise of all
        assert found.nsr == pytest.approx(closed / 127**2 * (1 - share), rel=2e-3)
        # Where the largest value is above 0, its 128 steps become 127: an error of one step.
        clipped = 1 if spec == "half-normal" else 0.5
        of_the_seed = expect(qcore.Recipe(Over128()), spec, size=n * n)
        exact = closed / 128**2 * (1 + (12 * clipped - 1) * share)
        assert of_the_seed.nsr == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize("bits", [6, 7, 8])
def test_a_fine_uniform_step_gives_a_twelfth_of_its_square(bits: int) -> None:
    step = 5 / (2 ** (bits - 1) - 1)
    found = expect(f"symmetric bits={bits}", "normal", alpha=5)
    assert found.granular == pytest.approx(step**2 / 12, rel=0.02)


def test_six_decibels_a_bit_hold_for_fine_steps_alone() -> None:
    db = {bits: qcore.expected_sqnr(f"symmetric bits={bits}", size=256) for bits in (2, 3, 9, 10)}
    assert db[3] - db[2] > 8.5
    assert db[10] - db[9] == pytest.approx(6.02, abs=0.02)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_optimal_alpha_is_that_of_a_search_by_quadrature(bits: int) -> None:
    levels = 2**bits - 1

    def error(step: float) -> float:
        values = (np.arange(levels) - (levels - 1) / 2) * step
        cuts = np.concatenate([[-9], (values[1:] + values[:-1]) / 2, [9]])
        steps = zip(values, cuts[:-1], cuts[1:], strict=True)
        return float(
            sum(
                integrate.quad(lambda x, v=v: (x - v) ** 2 * stats.norm.pdf(x), low, high)[0]
                for v, low, high in steps
            )
        )

    best = optimize.minimize_scalar(error, bounds=(0.1, 2), method="bounded")
    found = expect(f"symmetric bits={bits}", alpha="optimal")
    assert found.nsr == pytest.approx(best.fun, rel=1e-6)
    assert found.alpha == pytest.approx(best.x * (levels - 1) / 2, rel=1e-3)


@pytest.mark.parametrize("spec", DISTRIBUTIONS)
@pytest.mark.parametrize("scheme", ["pot", "apot", "uniform"])
def test_no_alpha_is_better_than_the_optimal_one(scheme: str, spec: str) -> None:
    best = expect(f"{scheme} bits=4", spec, alpha="optimal")
    others = np.geomspace(0.1, 20, 25)
    assert best.nsr <= min(expect(f"{scheme} bits=4", spec, alpha=a).nsr for a in others) * 1.0001


def test_noise_is_granular_or_clipping() -> None:
    wide, narrow = (expect("symmetric bits=8", alpha=alpha) for alpha in (8, 1))
    assert wide.clipping == pytest.approx(0, abs=1e-12)
    tail = integrate.quad(lambda x: (x - 1) ** 2 * stats.norm.pdf(x), 1, 20)[0]
    assert narrow.clipping == pytest.approx(2 * tail, rel=1e-6)
    assert narrow.noise == narrow.granular + narrow.clipping
    assert narrow.nsr == narrow.noise / narrow.signal == pytest.approx(10 ** (-narrow.sqnr_db / 10))


@pytest.mark.parametrize("spec", ["normal", "student-t:5"])
def test_the_scale_of_the_data_makes_no_difference(spec: str) -> None:
    for taken in ({"size": 64}, {"alpha": 3}, {"alpha": "optimal"}):
        one, other = (expect("apot bits=4", f"{spec}{s}", **taken) for s in ("", ":scale=0.3"))
        assert other.nsr == pytest.approx(one.nsr, rel=1e-4)
        assert other.alpha == pytest.approx(one.alpha, rel=1e-2)


def test_alpha_is_told_in_standard_deviations_too() -> None:
    found = expect("symmetric bits=4", "laplace:scale=5", alpha=3)
    assert (found.alpha, found.sigmas) == pytest.approx((3, 3 / math.sqrt(2)))


def test_the_largest_of_a_heavy_tail_is_computed_or_refused() -> None:
    for df in (2.01, 2.29):
        with pytest.raises(qcore.UsageError, match=f"'student-t:{df}': .* such as --alpha optimal"):
            qcore.expected_sqnr("symmetric bits=4", f"student-t:{df}")
        assert qcore.expected_sqnr("symmetric bits=4", f"student-t:{df}", alpha="optimal") > 0
    law, size = stats.t(2.3), 4096
    found = extremes(distribution("student-t:2.3"), size)

    def beyond(log: float) -> float:
        m = math.exp(log)
        return -2 * m * m * math.expm1(size * math.log1p(-2 * law.sf(m)))

    square = integrate.quad(beyond, -5, 250, limit=500)[0]
    largest = np.sum(found.weight * np.maximum(-found.lo, found.hi) ** 2)
    assert 10 * math.log10(largest / square) == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("normal:location=1e14", "too few values so far from 0 .* within 2.20 scales"),
        ("laplace:location=-3:scale=1e-9", "too few values so far from 0"),
        ("student-t:5:scale=1e40", "float32 has no such values; choose a scale nearer to 1"),
        ("half-normal:scale=1e-60", "float32 has no such values"),
        ("normal:scale=1e38", "a range from .* is beyond float32"),
    ],
)
def test_what_float32_cannot_hold_is_told_in_a_line(spec: str, message: str) -> None:
    for taken in ({}, {"alpha": 9}, {"alpha": "optimal"}):
        with pytest.raises(qcore.UsageError, match=message):
            qcore.expected_sqnr("symmetric bits=4", spec, **taken)


def test_far_values_are_expected_as_long_as_float32_has_them() -> None:
    far = expect("symmetric bits=8", "normal:location=1e6", size=64)
    assert math.isfinite(far.sqnr_db)
    assert far.alpha < 4
    ranges = extremes(distribution("normal:location=1e9"), 64)  # as of a tensor nearly constant
    assert (ranges.at_lo == 1).all()
    assert (ranges.hi > ranges.lo).all()


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("symmetric bits=4", {"size": 1}, "at least 2"),
        ("symmetric bits=4", {"size": math.nan}, "at least 2"),
        ("symmetric bits=4", {"size": math.inf}, "at least 2"),
        ("symmetric bits=4", {"size": [3]}, "at least 2"),
        ("symmetric bits=4", {"size": "9"}, "at least 2"),
        ("symmetric bits=4", {"size": 10**400}, "under 2.63"),
        ("symmetric bits=4", {"alpha": [3]}, "neither a number above 0 nor 'optimal'"),
        ("symmetric bits=4", {"alpha": True}, "neither a number above 0 nor 'optimal'"),
        ("symmetric bits=4", {"alpha": 10**400}, "neither a number above 0 nor 'optimal'"),
        ("symmetric bits=4", {"alpha": 1e300}, "is beyond float32"),
        ("symmetric bits=4", {"alpha": 0}, "neither a number above 0 nor 'optimal'"),
        ("symmetric bits=4", {"alpha": "best"}, "neither a number above 0 nor 'optimal'"),
        ("symmetric bits=4", {"alpha": 3, "size": 9}, "not both"),
        ("symmetric bits=4 observer=mse", {}, "observer=mse has no expected range"),
        ("symmetric bits=4 rounding=stochastic:1", {}, "choose one that does not"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    recipe: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(qcore.UsageError, match=message):
        qcore.expected_sqnr(recipe, **options)  # type: ignore[arg-type]
