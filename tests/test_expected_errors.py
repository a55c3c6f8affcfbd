"""A fitted distribution has the statistics of its data, and predicts what compare measures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import qcore
from qcore.distributions import HalfNormal, Normal, StudentT, Uniform, distribution
from qcore.fitted import fitted
from qcore.scheduling import run
from qcore.statistics import TensorStatistics, measure_statistics
from qcore.stats_record import to_record

SPECS = ["normal:location=0.2", "half-normal:scale=3", "uniform:scale=0.1", "student-t:7"]
RECIPES = [
    f"{scheme} granularity={granularity}"
    for scheme in (
        "symmetric bits=4",
        "asymmetric bits=6",
        "uniform bits=3",
        "apot bits=4",
        "pot bits=5",
    )
    for granularity in ("channel:0", "group:64")
]


def drawn(
    spec: str, shape: tuple[int, ...] = (512, 512)
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    shares = np.random.default_rng(0).uniform(size=shape)
    return distribution(spec).quantile(shares).astype(np.float32)


def statistics_of(x: NDArray[np.float32]) -> TensorStatistics:
    return run(measure_statistics(x))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [("normal:location=5", Normal), ("half-normal", HalfNormal), ("uniform", Uniform),
     ("student-t:6", StudentT), ("laplace", StudentT)],
)  # fmt: skip
def test_the_fitted_distribution_is_of_the_kind_and_has_the_moments(
    spec: str, kind: type[object]
) -> None:
    x = drawn(spec)
    law = fitted(statistics_of(x))
    assert type(law) is kind
    assert law.moments[2] == pytest.approx(np.mean(x.astype(np.float64) ** 2), rel=1e-3)


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_expected_is_what_is_measured(spec: str) -> None:
    """Blocks of independent values of the very distribution: within a few tenths of a decibel."""
    found = qcore.compare({"x": drawn(spec)}, RECIPES, metrics=["expected_sqnr_db"])
    for row in found.rows:
        expected = row.metrics["expected_sqnr_db"]
        assert expected == pytest.approx(row.metrics["sqnr_db"], abs=0.35), row.recipe


@pytest.mark.parametrize("size", [16, 32, 128, 1024])
@pytest.mark.parametrize("spec", ["normal", "half-normal", "student-t:7"])
def test_a_few_ranges_stand_for_all(spec: str, size: int) -> None:
    """It is what `qcore.expected_sqnr` says, which takes hundreds, within 0.4 dB."""
    x = drawn(spec, (256, 1024))
    law = fitted(statistics_of(x))
    assert law is not None
    schemes = ["symmetric bits=4", "symmetric:signed=false bits=8", "apot bits=5 scale_format=pow2"]
    recipes = [f"{scheme} granularity=group:{size}" for scheme in schemes]
    found = qcore.compare({"x": x}, recipes, metrics=["expected_sqnr_db"])
    for scheme, row in zip(schemes, found.rows, strict=True):
        exact = qcore.expected_sqnr(scheme, law, size=size)
        assert row.metrics["expected_sqnr_db"] == pytest.approx(exact, abs=0.4), scheme


def test_a_scheme_that_fails_leaves_the_others_alone() -> None:
    @dataclass(frozen=True)
    class Broken(qcore.GridQuantizer):
        """Its params raise."""

        id: ClassVar[str] = "broken"
        bits: ClassVar[int] = 4

        @property
        def grid(self) -> qcore.IntegerGrid:
            return qcore.IntegerGrid(-7, 7)

        def params(self, context: qcore.FitContext) -> qcore.QuantParams:
            raise KeyError("nope")

    recipes = [qcore.Recipe(Broken()), "symmetric bits=4"]
    broken, sound = qcore.compare(
        {"x": drawn("normal")}, recipes, metrics=["expected_sqnr_db"]
    ).rows
    assert "nope" in str(broken.error)
    assert sound.error is None
    assert math.isfinite(sound.metrics["expected_sqnr_db"])


def test_a_fixed_range_clips_as_expected() -> None:
    found = qcore.compare(
        {"x": drawn("normal")}, "symmetric bits=4 observer=fixed:-2:2", metrics=["expected_sqnr_db"]
    )
    (row,) = found.rows
    assert row.metrics["expected_sqnr_db"] == pytest.approx(row.metrics["sqnr_db"], abs=0.1)


@pytest.mark.parametrize(
    "recipe", ["symmetric bits=4 rounding=stochastic:1", "symmetric bits=4 observer=mse"]
)
def test_where_theory_has_no_answer_there_is_none(recipe: str) -> None:
    (row,) = qcore.compare({"x": drawn("normal")}, recipe, metrics=["expected_sqnr_db"]).rows
    assert math.isnan(row.metrics["expected_sqnr_db"])


@pytest.mark.parametrize("scheme", ["symmetric bits=4", "uniform bits=4", "pot bits=3"])
def test_what_becomes_of_a_constant_is_known(scheme: str) -> None:
    tensors = {
        "normal": drawn("normal"), "one": np.full((8, 8), 0.3, np.float32),
        "zeros": np.zeros((8, 8), np.float32), "empty": np.zeros((0, 8), np.float32),
    }  # fmt: skip
    found = qcore.compare(tensors, scheme, metrics=["expected_sqnr_db"])
    assert math.isfinite(found.summary()[0].metrics["expected_sqnr_db"])
    assert found.rows[1].stats.expected_e2 == pytest.approx(found.rows[1].stats.e2, abs=1e-12)


def test_it_is_pooled_written_down_and_the_same_elsewhere(tmp_path: Path) -> None:
    path, journal = tmp_path / "model.safetensors", tmp_path / "run.jsonl"
    save_file({"a": drawn("normal", (300, 192)), "b": drawn("uniform", (64, 64))}, path)
    asked = {"metrics": ["expected_sqnr_db"]}
    here = qcore.compare(path, RECIPES, journal=journal, **asked)
    again = qcore.compare(path, RECIPES, journal=journal, resume=True, **asked)
    elsewhere = qcore.compare(path, RECIPES, executor="processes", workers=2, **asked)
    for other in (again, elsewhere):
        assert [to_record(row.stats) for row in other.rows] == [
            to_record(row.stats) for row in here.rows
        ]
    for line in here.summary():
        rows = [row for row in here.rows if row.recipe == line.recipe]
        noise = sum(row.stats.expected_e2 for row in rows)
        signal = sum(row.stats.x2 for row in rows)
        assert line.metrics["expected_sqnr_db"] == pytest.approx(10 * np.log10(signal / noise))
