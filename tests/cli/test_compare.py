"""`qcore compare`: one table on standard output, one line a mistake on standard error."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

import qcore

Command = Callable[..., tuple[int, str, str]]
SAMPLE_NOTE = "no PATH given: comparing the weights of the bundled digits network"
METRICS = [
    "sqnr_db", "mse", "rmse", "rel_l2", "nsr", "cosine", "max_abs", "bits_per_weight",
]  # fmt: skip


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "qcore", *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, **environment}, timeout=60,
    )  # fmt: skip


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two tensors that can be compared and two that are left out."""
    path = tmp_path / "model.npz"
    np.savez(path, a=normal(8, 16), b=100 * normal(4, 16, seed=1), bias=normal(8), ids=np.arange(4))
    return path


def body(table: str) -> list[list[str]]:
    """The cells of a drawn table, without its head and caption."""
    lines = table.splitlines()
    (rule,) = [i for i, line in enumerate(lines) if line.startswith("─")]
    rows = []
    for line in lines[rule + 1 :]:
        if re.match(r"(bits|granularity|rounding|backend) ", line) or "·" in line:
            break
        rows.append(line.split())
    return rows


def caption(table: str) -> str:
    """What stands under a drawn table, on one line."""
    lines = table.splitlines()
    return " ".join(" ".join(lines[lines.index(lines[0]) + 2 + len(body(table)) :]).split())


def assert_one_line(result: tuple[int, str, str], status: int, *parts: object) -> None:
    found, out, err = result
    assert out == ""
    assert err.startswith("qcore: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    for part in parts:
        assert str(part) in err
    assert found == status


# Data


def test_without_a_path_the_samples_are_compared_and_it_is_said(run: Command) -> None:
    status, out, err = run("compare")
    assert status == 0
    assert err == f"{SAMPLE_NOTE}\n"
    assert len(body(out)) == 2 * len(qcore.ids("scheme"))
    assert {row[0] for row in body(out)} == set(qcore.ids("scheme"))
    assert "4 tensors" in caption(out)


def test_the_table_is_the_comparison_best_first(run: Command, file: Path) -> None:
    status, out, err = run("compare", file, "--scheme", "symmetric,apot", "--bits", "4,8")
    assert (status, err) == (0, "")
    found = qcore.compare(file, qcore.recipe_product(scheme=["symmetric", "apot"], bits=[4, 8]))
    best = sorted(found.summary(), key=lambda s: -s.metrics["sqnr_db"])
    assert [(row[0], int(row[1])) for row in body(out)] == [
        (s.recipe.scheme, s.recipe.bits) for s in best
    ]
    assert [float(row[3]) for row in body(out)] == [round(s.metrics["sqnr_db"], 2) for s in best]


def test_several_values_come_by_commas_or_by_repeating(run: Command, file: Path) -> None:
    def recipes(*arguments: str) -> list[dict[str, Any]]:
        status, out, _ = run("compare", file, *arguments, "--format", "json")
        assert status == 0
        return [summary["recipe"] for summary in json.loads(out)["summary"]]

    by_comma = recipes("--scheme", "symmetric, pot", "--bits=4,8", "--granularity", "tensor,token")
    repeated = recipes(
        "--scheme=symmetric", "--scheme", "pot", "--bits", "4", "--bits", "8",
        "--granularity", "tensor", "--granularity", "token",
    )  # fmt: skip
    assert by_comma == repeated
    assert len(by_comma) == 8


def test_a_comparison_is_the_product_of_every_axis(run: Command, file: Path) -> None:
    axes = {
        "--scheme": "symmetric,apot:k=1",
        "--bits": "4,6",
        "--granularity": "channel:0,group:8",
        "--rounding": "half-even,stochastic:1",
        "--observer": "minmax,percentile:99.5",
        "--scale-format": "float32,pow2:nearest",
    }
    arguments = [part for pair in axes.items() for part in pair]
    status, out, _ = run("compare", file, *arguments, "--format", "json", "--threads", 2)
    document = json.loads(out)
    assert status == 0
    assert len(document["summary"]) == 2**6
    assert len(document["results"]) == 2 * 2**6
    assert document["results"][0]["recipe"] == {
        "scheme": "symmetric", "options": {}, "bits": 4, "granularity": "channel:0",
        "rounding": "half-even", "observer": "minmax", "scale_format": "float32",
    }  # fmt: skip


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} in JSON")


def test_json_is_the_document_of_the_comparison_and_strict(run: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", zeros=np.zeros((2, 2)), exact=np.array([[-1.0, 1.0]]))
    status, out, _ = run("compare", tmp_path / "x.npz", "--scheme", "symmetric", "--format", "json")
    document = json.loads(out, parse_constant=refuse)
    expected = qcore.compare(
        tmp_path / "x.npz", qcore.recipe_product(scheme=["symmetric"])
    ).to_dict()
    assert status == 0
    for part in ("results", "summary"):
        for ours, theirs in zip(document[part], expected[part], strict=True):
            assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    assert document["qcore"] == expected["qcore"]


def records(text: str, format: str) -> list[dict[str, str]]:
    """What a machine makes of a document."""
    if format == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    lines = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines()
    ]
    assert set(lines[1]) == {"---"}
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


@pytest.mark.parametrize("format", ["csv", "markdown"])
@pytest.mark.parametrize("per_tensor", [False, True])
def test_csv_and_markdown_parse_back_to_the_numbers(
    run: Command, file: Path, format: str, per_tensor: bool
) -> None:
    options = ["--per-tensor"] if per_tensor else []
    status, out, err = run(
        "compare",
        file,
        "--scheme",
        "symmetric,pot",
        "--metric",
        "mae",
        "--format",
        format,
        *options,
    )
    assert (status, err) == (0, "")
    found = records(out, format)
    comparison = qcore.compare(
        file, qcore.recipe_product(scheme=["symmetric", "pot"]), metrics=["mae"]
    )
    expected: list[Any] = list(comparison.rows if per_tensor else comparison.summary())
    expected.sort(key=lambda e: e.metrics["sqnr_db"], reverse=not per_tensor)
    assert len(found) == len(expected)
    for record, entry in zip(found, expected, strict=True):
        assert (record["scheme"], int(record["bits"])) == (entry.recipe.scheme, entry.recipe.bits)
        assert {id: float(record[id]) for id in (*METRICS, "mae")} == dict(entry.metrics)
        assert record["granularity"] == "tensor"
        if per_tensor:
            assert (record["tensor"], record["source"]) == (entry.tensor, str(file))
            assert json.loads(record["shape"]) == list(entry.shape)
            assert record["error"] == ""


def test_per_tensor_is_worst_first(run: Command, file: Path) -> None:
    status, out, _ = run("compare", file, "--per-tensor", "--scheme", "symmetric,pot")
    ratios = [float(row[4]) for row in body(out)]
    assert status == 0
    assert len(ratios) == 8
    assert ratios == sorted(ratios)
    assert {row[0] for row in body(out)} == {"a", "b"}


@pytest.mark.parametrize(
    ("metric", "high"),
    [("mse", False), ("cosine", True), ("bits_per_weight", False), ("mae", False)],
)
@pytest.mark.parametrize("per_tensor", [False, True])
def test_the_table_is_sorted_by_what_is_asked(
    run: Command, file: Path, metric: str, high: bool, per_tensor: bool
) -> None:
    options = ["--per-tensor"] if per_tensor else []
    status, out, _ = run("compare", file, "--sort", metric, "--format", "csv", *options)
    assert status == 0
    values = [float(record[metric]) for record in records(out, "csv")]
    assert values == sorted(values, reverse=high != per_tensor)


def test_metrics_asked_for_are_columns(run: Command, file: Path) -> None:
    status, out, _ = run("compare", file, "--metric", "mae,clipped", "--scheme", "symmetric")
    assert status == 0
    assert "MAE" in out.splitlines()[0]
    assert "clipped" in out.splitlines()[0]


def test_percentiles_of_the_error_are_columns_and_a_histogram_in_json(
    run: Command, file: Path
) -> None:
    asked = ["compare", file, "--scheme", "symmetric", "--bits", 8, "--metric", "p50,p99"]
    _, out, _ = run(*asked)
    assert "p50 error" in out.splitlines()[0]
    _, out, _ = run(*asked, "--format", "json")
    for result in json.loads(out)["results"]:
        assert result["metrics"]["p50"] < result["metrics"]["p99"]
        assert sum(result["error_histogram"]["counts"]) == math.prod(result["shape"])
    for format in ("csv", "markdown"):
        _, out, _ = run(*asked, "--format", format)
        assert "histogram" not in out


@pytest.mark.parametrize("per_tensor", [[], ["--per-tensor"]])
def test_ten_deciles_stand_side_by_side(run: Command, file: Path, per_tensor: list[str]) -> None:
    asked = ["compare", file, "--scheme", "symmetric,pot", "--bits", 4, "--deciles", *per_tensor]
    _, out, _ = run(*asked)
    _, csv, _ = run(*asked, "--format", "csv")
    assert "SQNR dB by decile of |x|" in out.splitlines()[0]
    for row, record in zip(body(out), records(csv, "csv"), strict=True):
        profile = [float(record[f"decile:{number}"]) for number in range(1, 11)]
        assert row[-10:] == [f"{value:.0f}" for value in profile]
    _, out, _ = run(*asked, "--format", "json")
    assert {f"decile:{n}" for n in range(1, 11)} < json.loads(out)["results"][0]["metrics"].keys()


def test_a_single_decile_is_a_column_and_can_be_sorted_by(run: Command, file: Path) -> None:
    asked = ["compare", file, "--metric", "decile:number=2", "--bits", 4, "--sort", "decile:10"]
    _, out, _ = run(*asked, "--format", "csv")
    values = [float(record["decile:10"]) for record in records(out, "csv")]
    assert values == sorted(values, reverse=True)
    status, out, _ = run(*asked[:-2])
    assert status == 0
    assert "decile:2" in out.splitlines()[0]


def test_what_is_the_same_in_every_row_stands_in_the_caption(run: Command, file: Path) -> None:
    _, out, _ = run("compare", file, "--scheme", "symmetric,pot", "--bits", "4")
    head = out.splitlines()[0].split()
    assert head[:2] == ["scheme", "bits/w"]
    for fact in (
        "bits 4", "granularity tensor", "rounding half-even", "observer minmax",
        "scale format float32", "backend numpy", "2 tensors", "192 elements",
        "left out: ", "1 not floating point", "1 of fewer than 2 dimensions",
    ):  # fmt: skip
        assert fact in caption(out)
    _, out, _ = run(
        "compare", file, "--scheme", "symmetric", "--granularity", "tensor,token", "--bits", "4,8"
    )
    assert out.splitlines()[0].split()[:3] == ["scheme", "bits", "granularity"]
    assert "granularity" not in caption(out)


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("per_tensor", [[], ["--per-tensor"], ["--per-tensor", "--deciles"]])
def test_no_line_is_wider_than_the_terminal(
    run: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    per_tensor: list[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    name = "model.decoder.layers.17.self_attn.query_key_value_projection.weight"
    np.savez(tmp_path / "long.npz", **{name: normal(8, 128), f"{name}2": normal(8, 128)})
    status, out, _ = run(
        "compare", tmp_path / "long.npz", "--granularity", "group:32,channel:0,tensor", *per_tensor
    )
    assert status == 0
    assert max(map(cell_len, out.splitlines())) <= columns
    assert "group:32" in out, "a word is never cut"


def test_numbers_are_never_cut_however_narrow(
    run: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, wide, _ = run("compare", file, "--scheme", "symmetric", "--bits", "8")
    (row,) = body(wide)
    assert "…" not in " ".join(row)


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, {}]
)
def test_no_escape_code_reaches_a_pipe_or_a_person_who_wants_none(
    file: Path, environment: dict[str, str]
) -> None:
    without = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "NO_COLOR")}
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "compare", "--scheme", "symmetric"],
        capture_output=True, text=True, env={**without, **environment},
    )  # fmt: skip
    assert done.returncode == 0
    colours = re.compile(r"\x1b\[[0-9;]*(3|4|9)[0-9]m")
    assert not colours.search(done.stdout + done.stderr)
    if "FORCE_COLOR" not in environment:
        assert "\x1b" not in done.stdout + done.stderr


# Which tensors


def test_rules_say_which_tensors_are_taken(run: Command, file: Path) -> None:
    def taken(*arguments: object) -> set[str]:
        status, out, _ = run("compare", file, "--scheme=symmetric", "--format=json", *arguments)
        assert status == 0
        return {result["tensor"] for result in json.loads(out)["results"]}

    assert taken() == {"a", "b"}
    assert taken("--min-ndim", 1) == {"a", "b", "bias"}
    assert taken("--min-ndim", 1, "--integers") == {"a", "b", "bias", "ids"}
    assert taken("--min-ndim", 1, "--include", "^b") == {"b", "bias"}
    assert taken("--min-ndim", 1, "--exclude", "^b") == {"a"}


def test_rules_apply_to_the_samples_too(run: Command) -> None:
    status, out, _ = run("compare", "--include", "fc", "--scheme", "symmetric", "--format", "json")
    assert status == 0
    assert {result["tensor"] for result in json.loads(out)["results"]} == {
        "fc1.weight", "fc2.weight", "fc1.input", "fc2.input",
    }  # fmt: skip


def test_values_that_are_not_finite_fail_or_are_clipped(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([[1.0, np.nan, np.inf]]))
    assert_one_line(
        run("compare", path),
        1,
        path,
        "2 of 3 values are NaN, infinite or beyond float32",
        "--nonfinite clip",
    )
    assert run("compare", path, "--nonfinite", "clip")[0] == 0


# Failures


def test_a_damaged_file_beside_a_good_one_gives_the_good_one_s_table(
    run: Command, file: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.npy"
    bad.write_bytes(b"\x93NUMPY\x01")
    status, out, err = run("compare", bad, file, "--scheme", "symmetric")
    assert status == 3
    assert len(body(out)) == 2
    assert err.count("\n") == 1
    assert err.startswith(f"qcore: {bad}: truncated")


def test_a_tensor_that_fails_leaves_the_others(run: Command, file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.npy"
    np.save(broken, np.full((2, 2), np.nan))
    status, out, err = run("compare", file, broken, "--scheme", "symmetric", "--bits", "8,4")
    assert status == 3
    assert err.count("\n") == 1, "the same error of two recipes is one line"
    assert "'broken': 4 of 4 values are NaN, infinite or beyond float32" in err
    assert "2 of 3 tensors, those on which every recipe succeeded" in caption(out)
    status, out, _ = run("compare", file, broken, "--format", "json")
    assert status == 3
    assert sum(r["error"] is not None for r in json.loads(out)["results"]) == 10


@pytest.mark.parametrize("format", ["csv", "markdown", "json"])
def test_rows_that_failed_are_in_the_formats_for_machines(
    run: Command, file: Path, format: str
) -> None:
    status, out, err = run(
        "compare", file, "--scheme", "symmetric", "--bits", "8", "--granularity", "tensor,group:3",
        "--per-tensor", "--format", format,
    )  # fmt: skip
    assert status == 3
    assert err.count("\n") == 2
    rows = json.loads(out)["results"] if format == "json" else records(out, format)
    errors = [row["error"] for row in rows if row["error"]]
    assert len(errors) == 2
    assert all("3 does not divide axis 1 of shape" in error for error in errors)


def test_many_errors_end_after_ten_lines(run: Command, tmp_path: Path, file: Path) -> None:
    missing = [tmp_path / f"{i}.npy" for i in range(13)]
    status, _, err = run("compare", file, *missing, "--scheme", "symmetric")
    assert status == 3
    assert len(err.splitlines()) == 11
    assert err.splitlines()[-1] == "qcore: and 3 more; --format json has them all"


@pytest.fixture
def wrong(tmp_path: Path, file: Path) -> dict[str, Path]:
    """Files with which something is wrong."""
    paths = {
        name: tmp_path / name
        for name in (
            "model.npy", "object.npy", "strings.npy", "integers.npy", "line.npy", "cut.safetensors",
            "notes.txt", "empty.npy", "folder",
        )
    }  # fmt: skip
    np.save(paths["model.npy"], normal(4, 6))
    np.save(paths["object.npy"], np.array([[{}, None]]), allow_pickle=True)
    np.save(paths["strings.npy"], np.array([["one", "two"]]))
    np.save(paths["integers.npy"], np.arange(4).reshape(2, 2))
    np.save(paths["line.npy"], normal(4))
    header = b'{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
    paths["cut.safetensors"].write_bytes(len(header).to_bytes(8, "little") + header + bytes(9))
    paths["notes.txt"].write_text("Dear diary")
    paths["empty.npy"].touch()
    paths["folder"].mkdir()
    return {**paths, "missing": tmp_path / "modle.npy"}


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("missing", 1, ["no such file", "did you mean 'model.npy'?"]),
        ("notes.txt", 1, ["is in no format that a reader knows; readers are npy, npz"]),
        ("folder", 1, ["holds no file that a reader knows"]),
        ("empty.npy", 1, ["truncated", "copy it again"]),
        ("cut.safetensors", 1, ["tensor 'w'", "truncated", "download it again"]),
        ("object.npy", 1, ["holds Python objects", "save it as numbers"]),
        ("strings.npy", 1, ["holds strings", "save it as numbers"]),
        ("integers.npy", 2, ["nothing to compare", "--integers"]),
        ("line.npy", 2, ["nothing to compare", "--min-ndim 1"]),
    ],
)
def test_a_file_that_gives_nothing_is_named_with_the_cause_and_the_way_out(
    run: Command, wrong: dict[str, Path], name: str, status: int, says: list[str]
) -> None:
    assert_one_line(run("compare", wrong[name]), status, *says)


@pytest.mark.parametrize("name", ["integers.npy", "line.npy"])
def test_a_file_of_which_nothing_is_compared_is_one_line_that_counts(
    run: Command, wrong: dict[str, Path], name: str
) -> None:
    assert_one_line(run("compare", wrong[name]), 2, "nothing to compare: 1 ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--scheme", "symetric"], ["unknown scheme 'symetric', did you mean 'symmetric'?"]),
        (["--metric", "maee"], ["unknown metric 'maee', did you mean 'mae'?"]),
        (["--sort", "sqnr"], ["unknown metric 'sqnr', did you mean 'sqnr_db'?"]),
        (["--rounding", "halfeven"], ["unknown rounding 'halfeven', did you mean 'half-even'?"]),
        (["--granularity", "chanel:0"], ["granularity 'chanel', did you mean 'channel'?"]),
        (["--observer", "minmx"], ["unknown observer 'minmx', did you mean 'minmax'?"]),
        (["--scale-format", "flaot32"], ["unknown scale format 'flaot32', did you mean 'float32'"]),
        (["--backend", "nunpy"], ["unknown backend 'nunpy', did you mean 'numpy'?"]),
        (["--bits", "eight"], ["--bits: 'eight' is no whole number"]),
        (["--bits", "4.5"], ["--bits: '4.5' is no whole number"]),
        (["--bits", "-4"], ["--bits", "-4"]),
        (["--bits", "99", "--scheme", "symmetric"], ["'symmetric' has 2 to 16 bits, not 99"]),
        (["--bits", ","], ["--bits"]),
        (["--scheme", ","], ["--scheme"]),
        (["--scheme", "apot:kk=2"], ["'apot' has no option 'kk', did you mean 'k'?"]),
        (["--scheme", "apot:k=two"], ["'apot': k must be a whole number, not 'two'"]),
        (["--scheme", "apot:bits=4"], ["'apot' has no option 'bits'"]),
        (["--granularity", "group"], ["'group' needs 'size'; write group:SIZE"]),
        (["--granularity", "group:0"], ["a size is at least 1, not 0"]),
        (["--observer", "fixed:1:0"], ["'fixed:1:0' needs two float32 numbers"]),
        (["--include", "layer("], ["include: 'layer(' is no regular expression"]),
        (["--exclude", "["], ["exclude: '[' is no regular expression"]),
        (["--include", "zzz"], ["nothing to compare", "not included"]),
        (["--formt", "json"], ["--formt", "--format"]),
        (["--format", "xml"], ["xml", "json", "csv", "markdown"]),
        (["--nonfinite", "ignore"], ["ignore", "clip"]),
        (["--min-ndim", "two"], ["--min-ndim", "integer"]),
        (["--min-ndim", "-1"], ["--min-ndim"]),
        (["--threads", "0"], ["--threads"]),
        (["--scheme"], ["--scheme"]),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_one_line_with_what_and_the_nearest(
    run: Command, wrong: dict[str, Path], options: list[str], says: list[str]
) -> None:
    assert_one_line(run("compare", wrong["model.npy"], *options), 2, *says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--granularity", "group:4"],
            ["4 does not divide axis 1 of shape (4, 6); sizes that do: 1, 2, 3, 6; or add tail"],
        ),
        (["--granularity", "channel:5"], ["axis 5 is out of range for shape (4, 6)"]),
        (["--granularity", "channel:0:groups=3"], ["groups that do: 1, 2, 4"]),
    ],
    ids=" ".join,
)
def test_a_recipe_that_fits_no_tensor_fails_in_one_line(
    run: Command, wrong: dict[str, Path], options: list[str], says: list[str]
) -> None:
    path = wrong["model.npy"]
    assert_one_line(run("compare", path, *options), 1, f"{path}: 'model': ", *says)


def test_debug_gives_the_traceback(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_one_line(run("compare", "nowhere.npy"), 1, "no such file: 'nowhere.npy'")
    monkeypatch.setenv("QCORE_DEBUG", "1")
    with pytest.raises(qcore.ReadError):
        run("compare", "nowhere.npy")
    done = command("compare", "nowhere.npy", QCORE_DEBUG="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


# Output


@pytest.mark.parametrize("format", ["table", "json", "csv", "markdown"])
def test_output_goes_to_a_file_and_is_what_the_screen_would_show(
    run: Command, file: Path, tmp_path: Path, format: str
) -> None:
    target = tmp_path / "out" / "table.txt"
    target.parent.mkdir()
    target.write_text("old")
    arguments = ["compare", file, "--scheme", "symmetric,pot", "--format", format]
    written = run(*arguments, "--output", target)
    assert written == (0, "", "")
    assert [path.name for path in target.parent.iterdir()] == ["table.txt"]
    text = target.read_text(encoding="utf-8")
    assert "\x1b" not in text
    shown = run(*arguments)[1]

    def timeless(text: str) -> str:
        return re.sub(r"[\d.]+ +m?s$|[\d.e-]+(?=,?$)|[\d.e-]+(?= \|$)|─+", "", text, flags=re.M)

    assert len(text.splitlines()) == len(shown.splitlines())
    if format == "table":
        assert [r[:4] for r in body(text)] == [r[:4] for r in body(shown)]
    else:
        assert timeless(text) == timeless(shown)


@pytest.mark.parametrize("where", ["nowhere/out.json", "folder", "file.txt/out.json"])
def test_output_that_cannot_be_written_is_one_line_and_leaves_nothing(
    run: Command, wrong: dict[str, Path], where: str
) -> None:
    (wrong["folder"].parent / "file.txt").touch()
    target = wrong["folder"].parent / where
    before = sorted(wrong["folder"].parent.rglob("*"))
    result = run("compare", wrong["model.npy"], "--output", target, "--format", "json")
    assert_one_line(result, 2, f"--output '{target}'", "folder")
    assert sorted(wrong["folder"].parent.rglob("*")) == before


@pytest.mark.parametrize("output", ["model.npy", "folder/../model.npy"])
def test_output_never_goes_over_the_input(
    run: Command, wrong: dict[str, Path], output: str
) -> None:
    model = wrong["model.npy"]
    before = model.read_bytes()
    result = run("compare", model, "--output", model.parent / output)
    assert_one_line(result, 2, "would write over the input; name another file")
    assert model.read_bytes() == before


def test_output_keeps_what_was_there_when_the_comparison_fails(
    run: Command, wrong: dict[str, Path], tmp_path: Path
) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    run("compare", wrong["missing"], "--output", target)
    assert target.read_text() == "old"


@pytest.mark.parametrize("format", ["csv", "json"], ids=["little", "more than a buffer holds"])
def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path, format: str) -> None:
    np.savez(tmp_path / "x.npz", **{f"x{i}": normal(2, 2) for i in range(30)})
    running = subprocess.Popen(
        [sys.executable, "-m", "qcore", "compare", tmp_path / "x.npz", "--format", format],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    with running.stderr as errors:
        assert errors.read() == ""
    assert running.wait(60) == 0


def test_the_program_keeps_data_and_notes_apart() -> None:
    done = command("compare", "--scheme", "symmetric", "--format", "csv")
    assert done.returncode == 0
    assert len(records(done.stdout, "csv")) == 2
    assert done.stderr == f"{SAMPLE_NOTE}\n"


def test_the_program_says_its_status(file: Path, tmp_path: Path) -> None:
    assert command("compare", tmp_path / "missing").returncode == 1
    assert command("compare", file, "--bits", "x").returncode == 2
    assert command("compare", file, tmp_path / "missing").returncode == 3
