"""A journal gives back what was written to it, to the last bit, and never another run's."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import qcore
from qcore import Comparison, ReadError, UsageError, compare
from qcore.stats_record import to_record

RECIPES = [
    "symmetric bits=4",
    "apot bits=4 granularity=channel:0",
    "uniform bits=3 rounding=stochastic:1",
    "symmetric bits=4 granularity=channel:5",  # which no tensor has
]
TENSORS = 5


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tensors = {f"t{i}.weight": normal(8, 16, seed=i) for i in range(TENSORS)}
    tensors["t1.weight"][2, 3] = np.nan
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def facts(comparison: Comparison) -> list[Any]:
    return [
        (row.tensor, str(row.recipe), str(row.activations), row.error,
         to_record(row.stats), repr(row.output), repr(row.metrics), row.seconds)
        for row in comparison.rows
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nonfinite": "clip", "metrics": ["mae", "clipped"]},
        {"nonfinite": "clip", "metrics": ["p95", "decile:10"]},
        {"activations": "synthetic:normal", "activation_recipes": ["float", "asymmetric bits=8"]},
        {"against": {f"t{i}.weight": normal(8, 16, seed=i) for i in range(3)}},
    ],
)
def test_a_finished_run_is_read_back_and_nothing_computed(
    file: Path, journal: Path, options: dict[str, Any]
) -> None:
    first = compare(file, RECIPES, journal=journal, **options)
    content = journal.read_bytes()
    again = compare(file, RECIPES, journal=journal, resume=True, **options)
    assert facts(again) == facts(first)  # the seconds too: those of the first
    assert journal.read_bytes() == content


def test_without_resume_a_journal_that_is_there_is_left_alone(file: Path, journal: Path) -> None:
    journal.write_text("mine")
    with pytest.raises(UsageError, match="is there already; go on with it by --resume"):
        compare(file, RECIPES, journal=journal)
    assert journal.read_text() == "mine"


@pytest.mark.parametrize("text", ["mine", "mine\n", "{}\n", "00000000 {}\n"])
def test_what_is_no_journal_is_never_written_to(file: Path, journal: Path, text: str) -> None:
    journal.write_text(text)
    with pytest.raises(ReadError, match=r"run\.jsonl' is none: its first line is damaged"):
        compare(file, RECIPES, journal=journal, resume=True)
    assert journal.read_text() == text


def test_resume_needs_a_journal(file: Path) -> None:
    with pytest.raises(UsageError, match="there is no journal to resume"):
        compare(file, RECIPES, resume=True)


def test_a_journal_that_cannot_be_written(file: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "run.jsonl", tmp_path):
        with pytest.raises(qcore.QcoreError, match=r"journal '.*' (cannot be|is there)"):
            compare(file, RECIPES, journal=path)


def test_cut_at_any_byte_a_journal_is_gone_on_with(file: Path, journal: Path) -> None:
    expected = facts(compare(file, RECIPES, journal=journal))
    whole = journal.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for end in sorted({0, 1, 40, ends[0] - 1, *ends, *(end - 7 for end in ends), len(whole) - 1}):
        journal.write_bytes(whole[:end])
        found = facts(compare(file, RECIPES, journal=journal, resume=True))
        assert [row[:-1] for row in found] == [row[:-1] for row in expected]
        lines = journal.read_bytes().splitlines()
        done = sum(found[-1] == row[-1] for found, row in zip(found, expected, strict=True))
        kept = max(0, sum(other <= end for other in ends) - 1)
        assert len(lines) == 1 + kept + len(RECIPES) * (TENSORS - kept // len(RECIPES))
        assert done >= kept // len(RECIPES) * len(RECIPES)
        assert journal.read_bytes().endswith(b"\n")


def test_a_damaged_line_ends_what_is_believed(file: Path, journal: Path) -> None:
    expected = facts(compare(file, RECIPES, journal=journal))
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[9] = lines[9].replace(b"0x", b"1x", 1)
    journal.write_bytes(b"".join(lines))
    found = facts(compare(file, RECIPES, journal=journal, resume=True))
    assert [row[:-1] for row in found] == [row[:-1] for row in expected]


def changed_values(file: Path) -> dict[str, Any]:
    before = os.stat(file)
    save_file({f"t{i}.weight": normal(8, 16, seed=9 + i) for i in range(TENSORS)}, file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    return {}


def changed_shape(file: Path) -> dict[str, Any]:
    save_file({f"t{i}.weight": normal(16, 8) for i in range(TENSORS)}, file)
    return {}


CHANGES: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "values": (changed_values, r"inputs .*model\.safetensors mtime_ns: was \d+, is \d+$"),
    "shape": (changed_shape, r"inputs .*model\.safetensors tensors: was"),
    "recipes": (
        lambda _: {"recipes": [*RECIPES[1:], "pot bits=4"]},
        "cases: no longer symmetric bits=4.*; cases: new pot bits=4",
    ),
    "order": (lambda _: {"recipes": RECIPES[::-1]}, "cases: in another order$"),
    "options": (lambda _: {"nonfinite": "clip"}, "options nonfinite: was error, is clip$"),
    "selection": (lambda _: {"include": "t[1-4]"}, "inputs .* tensors: was"),
    "backend": (lambda _: {"backend": "reference"}, "options backend: was numpy, is reference$"),
    "sums": (lambda _: {"metrics": "mae"}, "options sums: new abs_e$"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_is_another_is_refused_and_the_difference_shown(
    file: Path, journal: Path, change: str
) -> None:
    compare(file, RECIPES, journal=journal)
    content = journal.read_bytes()
    make, message = CHANGES[change]
    options = {"recipes": RECIPES, **make(file)}
    with pytest.raises(UsageError, match=message) as caught:
        compare(file, journal=journal, resume=True, **options)
    assert "is of another run" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert journal.read_bytes() == content


def test_so_is_another_version(file: Path, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(file, RECIPES, journal=journal)
    versions = {"version": "9.9", "plugins": {"qcore-quant": "9.9"}}
    monkeypatch.setattr("qcore.run_identity.versions", lambda: versions)
    with pytest.raises(UsageError, match=r"qcore version: was [\d.]+, is 9\.9"):
        compare(file, RECIPES, journal=journal, resume=True)


def test_and_external_data_that_has_changed(tmp_path: Path, journal: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(normal(64, 64), "w")
    graph = onnx.helper.make_graph([], "g", [], [], [weight])
    model, data = tmp_path / "model.onnx", tmp_path / "data.bin"
    onnx.save(onnx.helper.make_model(graph), model, save_as_external_data=True, location=data.name)
    assert compare(model, RECIPES, journal=journal).tensors == 1
    os.utime(data, ns=(0, 0))
    with pytest.raises(UsageError, match=r"inputs .*data\.bin mtime_ns: was \d+, is 0$"):
        compare(model, RECIPES, journal=journal, resume=True)


def test_and_arrays_that_hold_something_else(journal: Path) -> None:
    compare({"a": normal(3, 4)}, RECIPES, journal=journal)
    found = compare({"a": normal(3, 4)}, RECIPES, journal=journal, resume=True)
    assert len(found.rows) == len(RECIPES)
    with pytest.raises(UsageError, match=r"inputs .*tensors: was"):
        compare({"a": 2 * normal(3, 4)}, RECIPES, journal=journal, resume=True)


def test_what_could_not_be_read_is_tried_again(file: Path, journal: Path) -> None:
    content = file.read_bytes()
    status = os.stat(file)

    class Cuts(ThreadPoolExecutor):
        def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            os.truncate(file, len(content) - 512)
            return super().submit(call, *args, **kwargs)

    with Cuts(1) as pool:
        first = compare(file, RECIPES, journal=journal, executor=pool)
    assert all("the file has changed" in (row.error or "") for row in first.rows)
    assert len(journal.read_bytes().splitlines()) == 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = compare(file, RECIPES, journal=journal, resume=True)
    expected = facts(compare(file, RECIPES))
    assert [row[:-1] for row in facts(again)] == [row[:-1] for row in expected]


@pytest.mark.parametrize("twice", ["recipes", "tensors"])
def test_what_is_given_twice_is_given_back_twice(file: Path, journal: Path, twice: str) -> None:
    source = [file, file] if twice == "tensors" else file
    recipes = RECIPES * 2 if twice == "recipes" else RECIPES
    first = compare(source, recipes, journal=journal, threads=1)
    size = journal.stat().st_size
    again = compare(source, recipes, journal=journal, resume=True)
    assert len(again.rows) == len(first.rows)
    assert journal.stat().st_size == size


def test_every_sum_survives_to_the_last_bit(journal: Path) -> None:
    values = {"huge": 1e30 * normal(4, 4), "tiny": 1e-30 * normal(4, 4), "zero": normal(4, 4) * 0}
    first = compare(values, RECIPES, journal=journal, metrics=["mae"])
    again = compare(values, RECIPES, journal=journal, metrics=["mae"], resume=True)
    assert facts(again) == facts(first)
    assert any(math.isnan(row.stats.clipped) for row in first.rows)  # which nobody asked for
