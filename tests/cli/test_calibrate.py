"""`qcore calibrate`: ranges on standard output and in a file, mistakes on standard error."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

import qcore
from qcore import Calibration, samples

Command = Callable[..., tuple[int, str, str]]
SAMPLE_NOTE = "no FILE given: calibrating the activations of the bundled digits network\n"
RECIPE = "asymmetric bits=8"


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def batches(tmp_path: Path) -> list[Path]:
    """Three batches of two activations, with what is left out beside them."""
    paths = [tmp_path / f"{i}.npz" for i in range(3)]
    for i, path in enumerate(paths):
        x, y = normal(4 + i, 16, seed=i), normal(8, seed=i + 9) ** 2
        np.savez(path, **{"fc1.input": x, "fc2.input": y, "ids": np.arange(4), "t": np.float32(1)})
    return paths


def lines_of(table: str) -> list[list[str]]:
    """The cells of a drawn table, without its head and caption."""
    lines = table.splitlines()
    (rule,) = [i for i, line in enumerate(lines) if line.startswith("─")]
    rows = lines[rule + 1 :]
    return [
        row.split() for row in rows[: next(i for i, r in enumerate(rows) if r.startswith("scheme"))]
    ]


def caption(table: str) -> str:
    return " ".join(table[table.index("\nscheme ") :].split())


def assert_one_line(result: tuple[int, str, str], status: int, *parts: object) -> None:
    found, out, err = result
    assert out == ""
    assert err.startswith("qcore: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    for part in parts:
        assert str(part) in err
    assert found == status


# Data


def test_the_table_has_a_row_an_activation(run: Command, batches: list[Path]) -> None:
    status, out, err = run("calibrate", *batches)
    assert (status, err) == (0, "")
    found = qcore.calibrate(batches, RECIPE)
    assert out.split()[:5] == ["tensor", "lo", "hi", "batches", "elements"]
    assert lines_of(out) == [
        ["fc1.input", str(found["fc1.input"].lo), str(found["fc1.input"].hi), "3", "240"],
        ["fc2.input", str(found["fc2.input"].lo), str(found["fc2.input"].hi), "3", "24"],
    ]
    for fact in (
        "scheme asymmetric · bits 8 · granularity tensor · rounding half-even · observer minmax",
        "2 tensors", "left out: 1 not floating point, 1 of fewer than 1 dimensions",
    ):  # fmt: skip
        assert fact in caption(out)


def test_without_a_file_the_sample_activations_are_calibrated_and_it_is_said(run: Command) -> None:
    status, out, err = run("calibrate")
    assert (status, err) == (0, SAMPLE_NOTE)
    assert lines_of(out) == [
        ["fc1.input", "0", "6.2900205", "1", "32,768"],
        ["fc2.input", "0", "15.216288", "1", "8,192"],
    ]
    assert lines_of(run("calibrate", "--include", "weight")[1])[0][0] == "conv1.weight"


def test_a_folder_is_its_files(run: Command, batches: list[Path]) -> None:
    assert run("calibrate", batches[0].parent) == run("calibrate", *batches)


def test_json_is_the_file(run: Command, batches: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "ranges.json"
    for format in ("table", "json", "csv", "markdown"):
        status, out, err = run("calibrate", *batches, "-o", file, "--format", format)
        assert (status, err) == (0, "")
        assert Calibration.load(file) == qcore.calibrate(batches, RECIPE)
        if format == "json":
            assert out == file.read_text()
    assert run("calibrate", *batches, "--output", file)[:2] == run("calibrate", *batches)[:2]


def test_csv_and_markdown_parse_back_to_the_numbers(run: Command, batches: list[Path]) -> None:
    expected = {
        name: {"nonfinite": "0"} | {key: str(value) for key, value in known.to_dict().items()}
        for name, known in qcore.calibrate(batches, RECIPE).ranges.items()
    }
    _, out, _ = run("calibrate", *batches, "--format", "csv")
    found = list(csv.DictReader(io.StringIO(out)))
    assert {record.pop("tensor"): record for record in found} == expected
    _, out, _ = run("calibrate", *batches, "--format", "markdown")
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()]
    assert {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows} == expected


@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        (["--observer", "percentile:99"], "asymmetric bits=8 observer=percentile:99"),
        (["--scheme", "apot:k=3", "--bits", "4"], "apot:k=3 bits=4"),
        (["--bits=4", "--observer=mse", "--rounding=floor", "--scale-format=pow2"],
         "asymmetric bits=4 observer=mse rounding=floor scale_format=pow2"),
        (["--threads", "2"], RECIPE),
    ],
)  # fmt: skip
def test_every_axis_is_an_option(
    run: Command, batches: list[Path], tmp_path: Path, options: list[str], recipe: str
) -> None:
    file = tmp_path / "ranges.json"
    assert run("calibrate", *batches, *options, "-o", file)[0] == 0
    found = Calibration.load(file)
    assert found == qcore.calibrate(batches, recipe)
    assert found.template == qcore.Recipe.parse(recipe)


def test_which_tensors_are_taken(run: Command, batches: list[Path]) -> None:
    def names(*options: str) -> list[str]:
        _, out, _ = run("calibrate", *batches, "--format", "json", *options)
        return list(json.loads(out)["ranges"])

    assert names("--include", "1") == ["fc1.input"]
    assert names("--exclude", "1") == ["fc2.input"]
    assert names("--integers") == ["fc1.input", "fc2.input", "ids"]


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_the_table_fits_the_terminal(
    run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = [f"model.layers.{i}.self_attention.output_projection.input" for i in range(50)]
    np.savez(tmp_path / "x.npz", **{name: -1e-30 * normal(3) for name in names})
    status, out, _ = run("calibrate", tmp_path / "x.npz")
    assert status == 0
    assert max(map(cell_len, out.splitlines())) <= columns
    assert "50 tensors · 40 of 50 rows shown; --format csv has all" in caption(out)
    assert len(run("calibrate", tmp_path / "x.npz", "--format", "csv")[1].splitlines()) == 51


def test_a_saved_range_quantizes_as_it_says(run: Command, tmp_path: Path) -> None:
    run("calibrate", "-o", tmp_path / "ranges.json", "--observer", "percentile:99.9")
    recipe = Calibration.load(tmp_path / "ranges.json").recipe("fc1.input")
    assert str(recipe) == "asymmetric bits=8 observer=fixed:0:4.755347"
    status, out, _ = run(
        "compare", samples.path(), "--include", "fc1.input", "--scheme", "asymmetric",
        "--bits", "8", "--observer", "fixed:0:4.755347,percentile:99.9", "--format", "json",
    )  # fmt: skip
    static, dynamic = json.loads(out)["summary"]
    assert status == 0
    assert static["metrics"] == dynamic["metrics"]


# Mistakes


def test_a_file_that_cannot_be_read_leaves_the_others(run: Command, batches: list[Path]) -> None:
    batches[1].write_bytes(batches[1].read_bytes()[:100])
    status, out, err = run("calibrate", *batches, "--format", "json")
    assert status == 3
    assert json.loads(out)["ranges"]["fc1.input"]["batches"] == 2
    assert err.startswith(f"qcore: {batches[1]}: ")
    assert err.count("\n") == 1


def test_what_is_not_finite_is_left_out_and_named_or_clipped(
    run: Command, batches: list[Path], tmp_path: Path
) -> None:
    np.savez(batches[1], **{"fc1.input": np.float32([np.nan, np.inf, 1])})
    status, out, err = run("calibrate", *batches, "-o", tmp_path / "ranges.json")
    assert status == 3
    assert [row[0] for row in lines_of(out)] == ["fc2.input"]
    assert err.startswith(f"qcore: {batches[1]}: 'fc1.input': 2 of 3 values are NaN")
    assert err.count("\n") == 1
    assert list(Calibration.load(tmp_path / "ranges.json")) == ["fc2.input"]
    status, out, err = run("calibrate", *batches, "--nonfinite", "clip")
    assert (status, err) == (0, "")
    assert lines_of(out)[0][2] == "3.4028235e+38"
    assert "2 not finite: taken as 0 or ±3.4e38" in caption(out)
    assert_one_line(run("calibrate", batches[1]), 1, batches[1], "'fc1.input': 2 of 3 values")


def test_only_the_first_failures_are_listed(run: Command, tmp_path: Path) -> None:
    bad = {f"x{i}": np.float32([np.nan]) for i in range(13)}
    np.savez(tmp_path / "x.npz", good=normal(3), **bad)
    status, _, err = run("calibrate", tmp_path / "x.npz")
    assert (status, err.count("\n")) == (3, 11)
    assert err.endswith("qcore: and 3 more\n")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["0.npz", "-o", "0.npz"], 2, "--output '0.npz' would write over the input"),
        ([".", "-o", "r.json"], 2, "--output 'r.json' would write over the input"),
        (["0.npz", "-o", "nowhere/r.json"], 2, "there is no folder 'nowhere'"),
        (["0.npz", "-o", "folder"], 2, "--output 'folder' is a folder"),
        (["0.npz", "--scheme", "asymetric"], 2, "unknown scheme 'asymetric', did you mean 'asym"),
        (["0.npz", "--observer", "minmx"], 2, "unknown observer 'minmx', did you mean 'minmax'"),
        (["0.npz", "--observer", "fixed:1:0"], 2, "the lower one first"),
        (["0.npz", "--bits", "99"], 2, "'asymmetric' has 2 to 16 bits, not 99"),
        (["0.npz", "--bits", "x"], 2, "--bits"),
        (["0.npz", "--granularity", "token"], 2, "--granularity"),
        (["0.npz", "--include", "("], 2, "include: '(' is no regular expression"),
        (["0.npz", "--include", "ids"], 2, "nothing to calibrate: 3 not included, 1 not floating"),
        (["0.npz", "--nonfinite", "ignore"], 2, "ignore"),
        (["0.npz", "--format", "yaml"], 2, "yaml"),
        (["0.npz", "--threads", "0"], 2, "--threads"),
        (["1.npy"], 1, "no such file: '1.npy', did you mean '1.npz'?"),
        (["notes.txt"], 1, "'notes.txt' is in no format that a reader knows"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    run: Command, batches: list[Path], monkeypatch: pytest.MonkeyPatch, arguments: list[str],
    status: int, says: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(batches[0].parent)
    Path("folder").mkdir()
    Path("notes.txt").write_text("Dear diary")
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert_one_line(run("calibrate", *arguments), status, says)
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_the_file_is_replaced_whole_or_not_at_all(
    run: Command, batches: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ranges.json"
    file.write_text("the old one")

    def no_space(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", no_space)
        failed = run("calibrate", *batches, "-o", file)
    assert_one_line(failed, 1, f"cannot write '{file}': No space left on device")
    assert file.read_text() == "the old one"
    assert sorted(tmp_path.iterdir()) == [*batches, file]


def test_the_help_names_every_option(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    status, out, err = run("calibrate", "--help")
    assert (status, err) == (0, "")
    for option in (
        "--output", "-o", "--scheme", "--bits", "--rounding", "--observer", "--scale-format",
        "--include", "--exclude", "--integers", "--nonfinite", "--threads", "--format", "FILE",
        "Example: qcore calibrate batches/ --observer percentile:99.9 -o ranges.json",
    ):  # fmt: skip
        assert option in out
    assert "calibrate" in run("--help")[1]


def test_help_loads_neither_numpy_nor_a_plugin() -> None:
    code = (
        "import sys, qcore.cli.main as m; m.run_command(['calibrate', '--help']); "
        "print({'numpy', 'pluggy'} & {name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_pipe_may_be_written_to(batches: list[Path]) -> None:
    command = [sys.executable, "-m", "qcore", "calibrate", batches[0], "-o", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
