"""Moments of tails, quantiles and specs of the distributions, against scipy.stats."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import qcore
from qcore.distributions import DISTRIBUTIONS, distribution

SMOOTH = {
    "normal": stats.norm(),
    "normal:location=1.5:scale=2": stats.norm(1.5, 2),
    "uniform": stats.uniform(-1, 2),
    "uniform:location=-3": stats.uniform(-4, 2),
    "laplace": stats.laplace(),
    "laplace:scale=0.5": stats.laplace(0, 0.5),
    "student-t:5": stats.t(5),
    "student-t:2.5:location=1": stats.t(2.5, 1),
}


@pytest.mark.parametrize(("spec", "oracle"), SMOOTH.items())
def test_moments_density_and_quantiles_are_scipy_s(spec: str, oracle: Any) -> None:
    law = distribution(spec)
    assert law.deviation == pytest.approx(oracle.std(), rel=1e-12)
    np.testing.assert_allclose(law.moments[1], oracle.mean(), atol=1e-12)
    x = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(law.density(x), oracle.pdf(x), rtol=1e-10)
    np.testing.assert_allclose(law.above(x)[0], oracle.sf(x), rtol=1e-10)
    np.testing.assert_allclose(law.below(x)[0], oracle.cdf(x), rtol=1e-10)
    shares = np.array([1e-9, 1e-4, 0.2, 0.5, 0.9])
    np.testing.assert_allclose(law.quantile(shares), oracle.ppf(shares), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(law.upper_quantile(shares), oracle.isf(shares), rtol=1e-7, atol=1e-9)
    ends = [end for end in oracle.support() if np.isfinite(end)]
    knots = np.sort([-0.7, 1.75, law.location, *ends])  # where a density may have a corner
    for a, b in itertools.pairwise(knots):
        for k in range(3):
            area = integrate.quad(lambda t, k=k: t**k * oracle.pdf(t), a, b)[0]
            for far, sign in ((law.above, -1), (law.below, 1)):
                low, high = far(np.array([a, b]))[k]
                assert sign * (high - low) == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize("spec", [*SMOOTH, "half-normal", "half-normal:location=2"])
def test_above_and_below_make_up_the_whole_where_no_value_has_a_probability(spec: str) -> None:
    law = distribution(spec)
    x = np.array([-np.inf, -3.3, -0.1, 0.2, 1.9, 30.0, np.inf])
    np.testing.assert_allclose((law.above(x) + law.below(x)).T, [law.moments] * x.size, atol=1e-12)


@pytest.mark.parametrize("spec", ["normal", "laplace", "student-t:5", "half-normal"])
def test_far_tails_keep_their_digits(spec: str) -> None:
    law = distribution(spec)
    shares = np.array([1e-12, 1e-30, 1e-100])
    ends = law.upper_quantile(shares)
    np.testing.assert_allclose(law.above(ends)[0], shares, rtol=1e-8)


@pytest.mark.parametrize("df", [1e6, 1e12, 1e300])
def test_student_s_t_becomes_the_normal(df: float) -> None:
    law, normal = distribution(f"student-t:{df}"), distribution("normal")
    x = np.array([-1e150, -8, -1, 0, 0.3, 3, 8, 1e150])
    np.testing.assert_allclose(law.density(x), normal.density(x), atol=1e-6)
    np.testing.assert_allclose(law.above(x), normal.above(x), atol=3e-6)
    assert law.deviation == pytest.approx(1, rel=3e-6)


def test_half_of_the_half_normal_is_its_location_and_in_neither_tail() -> None:
    law = distribution("half-normal")
    np.testing.assert_allclose(law.moments, [1, stats.norm.pdf(0), 0.5])
    zero = np.zeros(1)
    np.testing.assert_array_equal(law.below(zero), 0)
    np.testing.assert_allclose(law.above(zero)[:, 0], [0.5, stats.norm.pdf(0), 0.5])
    np.testing.assert_array_equal(law.quantile(np.array([0.1, 0.5])), 0)
    np.testing.assert_allclose(law.quantile(np.array([0.9])), stats.norm.ppf(0.9))


def test_specs_go_there_and_back() -> None:
    for spec in ("normal", "student-t:5", "laplace:location=1:scale=2"):
        assert str(distribution(spec)) == spec
        assert distribution(str(distribution(spec))) == distribution(spec)
    assert distribution("student-t:df=5") == distribution("student-t:5")
    assert {cls.id for cls in DISTRIBUTIONS.values()} == set(DISTRIBUTIONS)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gauss", "unknown distribution 'gauss'"),
        ("student-t", "needs 'df'; write student-t:DF"),
        ("student-t:2", "needs df above 2"),
        ("normal:scale=0", "a finite scale above 0"),
        ("normal:location=inf", "a finite location"),
        ("normal:0", "one too many"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(spec: str, message: str) -> None:
    with pytest.raises(qcore.UsageError, match=message):
        distribution(spec)


def test_without_scipy_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(qcore.UsageError, match=r"pip install 'qcore-quant\[theory\]'"):
        qcore.expected_sqnr("symmetric bits=8")
