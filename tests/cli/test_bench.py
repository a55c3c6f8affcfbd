"""`qcore bench`: one table on standard output, one line a mistake on standard error.

No test looks at how long anything takes.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rich.cells import cell_len

import qcore
from qcore import benching
from qcore.benching import Lineup, machine, matrices
from qcore.cli.bench import _report
from qcore.cli.bench_tables import ProductTable, QuantizeTable
from qcore.cli.output import render

Command = Callable[..., tuple[int, str, str]]

GEMM = ("bench", "gemm", "--shape", "3x4x5,1x8x2", "--repeat", 2)
QUANTIZE = ("bench", "quantize", "--shape", "6x8", "--scheme", "symmetric,pot", "--repeat", 2)


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's limits are measured with less, as no test looks at them."""
    monkeypatch.setattr(machine, "_COPY_BYTES", 1 << 12)
    monkeypatch.setattr(machine, "_SGEMM_SIZE", 16)


@pytest.fixture
def width() -> int:
    """Wide enough for every column."""
    return 160


@dataclass(frozen=True)
class Wrong(qcore.Backend):
    """Neither its products nor its codes are right."""

    id: ClassVar[str] = "wrong"

    def available(self) -> str | None:
        return None

    def multiply(self, a: Any, b: Any, dtype: np.dtype[Any]) -> Any:
        return super().multiply(a, b, dtype) + 1

    def encode(self, quantizer: Any, blocks: Any, params: Any, rounding: Any) -> Any:
        return super().encode(quantizer, blocks, params, rounding) // 2


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} in JSON")


def body(table: str) -> list[list[str]]:
    """The cells of a drawn table, without its head and caption."""
    lines = table.splitlines()
    assert set(lines[1]) == {"─"}
    last = next(i for i, line in enumerate(lines) if " · " in line or line.startswith("ms: "))
    return [line.split() for line in lines[2:last]]


def spoken(text: str) -> str:
    """Text on one line."""
    return " ".join(text.split())


# Products


def test_products_are_a_table_with_a_caption(run: Command) -> None:
    status, out, err = run(*GEMM, "--backend", "int8-blas,reference", "--dtype", "s8s8,u8u8")
    assert (status, err) == (0, "")
    rows = body(out)
    assert out.splitlines()[0].split() == [
        "shape", "dtypes", "backend", "prepared", "ms", "GOP/s", "÷sgemm", "÷copy", "exact",
        "op/byte", "bound", "by",
    ]  # fmt: skip
    assert len(rows) == 2 * 2 * 3
    assert {row[8] for row in rows} == {"yes"}
    assert {row[-1] for row in rows} <= {"memory", "arithmetic"}
    assert [row[0] for row in rows] == ["3x4x5"] * 6 + ["1x8x2"] * 6
    for part in (
        "median of 2 rounds, in turns",
        "÷sgemm: times as long as NumPy's float32 product of the same shape",
        "÷copy: as a copy that moves as many bytes",
        "GB/s, read and written",
    ):
        assert part in spoken(out)
    assert re.search(r"in this run sgemm did [\d.]+ GOP/s, and a large copy [\d.]+ GB/s", out)


def test_the_fastest_comes_first(run: Command) -> None:
    options = ("--backend", "int8-blas,reference", "--dtype", "s8s8", "--format", "csv")
    _, out, _ = run(*GEMM, *options)
    rows = list(csv.DictReader(io.StringIO(out)))
    for shape in ("[3, 4, 5]", "[1, 8, 2]"):
        seconds = [float(row["seconds"]) for row in rows if row["shape"] == shape]
        assert len(seconds) == 3
        assert seconds == sorted(seconds)


def test_by_default_all_take_part_that_multiply_in_a_way_of_their_own(run: Command) -> None:
    status, out, err = run(*GEMM)
    assert status == 0
    assert {"int8-blas", "reference"} <= {row[2] for row in body(out)}
    assert "numpy, which multiplies as reference does" in spoken(out)
    for id in qcore.ids("backend"):
        reason = qcore.create("backend", id).available()
        if reason is not None:
            assert f"backend '{id}' cannot run here: {reason}\n" in err


@pytest.mark.parametrize(
    ("options", "ways"), [([], {0, 1}), (["--prepared"], {1}), (["--no-prepared"], {0})]
)
def test_b_is_prepared_both_ways_or_as_asked(
    run: Command, options: list[str], ways: set[int]
) -> None:
    _, out, _ = run(*GEMM, "--backend", "int8-blas", "--format", "json", *options)
    assert {row["prepared"] for row in json.loads(out)["results"]} == ways


def test_what_is_the_same_in_every_row_stands_in_the_caption(run: Command) -> None:
    _, out, _ = run(*GEMM, "--shape", "3x4x5", "--backend=reference", "--dtype=u8s8")
    assert out.split()[:3] == ["shape", "backend", "ms"]
    assert "dtypes u8s8 · prepared no · ms: median of 2 rounds" in spoken(out)


def test_a_check_of_some_rows_says_so(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "_CHECKED", 2 * 2 * 4 * 5)
    _, out, _ = run(*GEMM, "--backend", "reference")
    assert "exact: 2 of the 3 rows of 3x4x5 were checked" in out
    assert "1x8x2 were" not in out


def test_what_is_not_exact_says_no() -> None:
    bench = benching.bench_gemm([(3, 4, 5)], backends=[Wrong(), "reference"], repeat=1)
    rows = body(render(ProductTable(bench).draw(None), to_file=True))
    assert {row[0]: row[5] for row in rows} == {"wrong": "no", "reference": "yes"}


def test_what_is_empty_has_no_rates(run: Command) -> None:
    status, out, _ = run("bench", "gemm", "--shape", "0x4x5", "--repeat", 1, "--dtype", "s8s8")
    assert status == 0
    assert {tuple(row[3:]) for row in body(out)} == {("-", "-", "-", "yes", "-", "-")}


# Quantizing


def test_quantizing_is_a_table_with_a_caption(run: Command) -> None:
    status, out, err = run(*QUANTIZE, "--backend", "numpy,reference", "--bits", "8,4")
    assert (status, err) == (0, "")
    head = spoken(out.splitlines()[0])
    assert head == (
        "scheme bits backend quantize quantize GB/s ÷copy measure measure GB/s ÷copy exact"
    )
    rows = body(out)
    assert len({tuple(row[:3]) for row in rows}) == len(rows) == 2 * 2 * 2
    assert {row[-1] for row in rows} == {"yes"}
    for part in (
        "shape 6x8 · dtype float32 · granularity tensor · 1 thread · "
        "quantize, measure in ms: median of 2 rounds, in turns",
        "÷copy: times as long as np.copyto of the input, which in this run took in",
        "exact: the codes are those of the reference",
    ):
        assert part in spoken(out)


def test_codes_that_are_others_say_no() -> None:
    bench = benching.bench_quantize(
        [qcore.Recipe.parse("symmetric")], [(4, 4)], backends=[Wrong(), "numpy"], repeat=1
    )
    rows = body(render(QuantizeTable(bench).draw(None), to_file=True))
    assert {row[0]: row[-1] for row in rows} == {"wrong": "no", "numpy": "yes"}


def test_by_default_all_take_part_that_quantize_in_a_way_of_their_own(run: Command) -> None:
    _, out, _ = run(*QUANTIZE, "--format", "json")
    document = json.loads(out)
    assert {"numpy", "reference"} <= {row["backend"] for row in document["results"]}
    assert "int8-blas" in document["inheriting"]


def test_a_recipe_that_does_not_fit_leaves_the_others(run: Command) -> None:
    options = (*QUANTIZE, "--backend", "numpy", "--scheme", "symmetric")
    status, out, err = run(*options, "--granularity", "tensor,group:3")
    assert status == 3
    assert err.startswith("qcore: symmetric bits=8 granularity=group:3 on numpy: ")
    assert "3 does not divide axis 1 of shape (6, 8)" in err
    assert "tensor" in out
    status, out, err = run(*options, "--granularity", "group:3")
    assert (status, out) == (1, "")


# Formats


@pytest.mark.parametrize("command", [GEMM, QUANTIZE])
def test_json_is_one_strict_object(run: Command, command: tuple[object, ...]) -> None:
    status, out, _ = run(*command, "--shape", "0x8x2", "--format", "json")
    if "gemm" not in command:
        status, out, _ = run(*command, "--shape", "0x8", "--format", "json")
    document = json.loads(out, parse_constant=refuse)
    assert status == 0
    assert {"qcore", "machine", "results"} <= set(document)
    assert {"cpu", "cores", "numpy", "blas"} <= set(document["machine"])
    assert document["results"]


@pytest.mark.parametrize("format", ["csv", "markdown"])
@pytest.mark.parametrize("command", [GEMM, QUANTIZE])
def test_csv_and_markdown_have_every_field(
    run: Command, command: tuple[object, ...], format: str
) -> None:
    status, out, _ = run(*command, "--backend", "numpy", "--format", format)
    assert status == 0
    if format == "csv":
        head, *rows = list(csv.reader(io.StringIO(out)))
    else:
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()]
        head, rows = lines[0], lines[2:]
    records = [dict(zip(head, row, strict=True)) for row in rows]
    for record in records:
        assert record["backend"] == "numpy"
        assert record["exact"] == "True"
        if "gemm" in command:
            rate = float(record["operations"]) / float(record["seconds"]) / 1e9
            assert float(record["gops"]) == pytest.approx(rate)
        else:
            rate = float(record["bytes"]) / float(record["measure_seconds"]) / 1e9
            assert float(record["measure_gb_per_s"]) == pytest.approx(rate)
    assert len(records) == (4 if "gemm" in command else 2)


def test_results_go_to_a_file(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    status, out, _ = run(*GEMM, "--format", "json", "--output", file)
    assert (status, out) == (0, "")
    assert json.loads(file.read_text())["results"]


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize(
    "arguments",
    [
        ("gemm", "--shape", "128x1024x256,1x4096x64", "--dtype", "s8s8,u8u8"),
        (
            "quantize", "--shape", "64x256", "--bits", "8,4", "--granularity", "tensor,group:128",
            "--scheme", "symmetric,apot",
        ),
        (
            "quantize", "--shape", "256x256,8x8", "--dtype", "float16,bfloat16", "--bits", "8,4",
            "--granularity", "tensor,group:4", "--scheme", "asymmetric",
        ),
    ],
)  # fmt: skip
def test_no_line_is_wider_than_the_terminal(
    run: Command, monkeypatch: pytest.MonkeyPatch, columns: int, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, _ = run("bench", *arguments, "--repeat", 1)
    assert status == 0
    assert max(map(cell_len, out.splitlines())) <= columns
    assert ("no room for" in spoken(out)) == (columns == 80)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            "gemm --shape 12x",
            2,
            "--shape: '12x' is no shape; write MxKxN, such as 1024x1024x1024",
        ),
        (
            "gemm --shape 3x4",
            2,
            "--shape: '3x4' is no shape; write MxKxN, such as 1024x1024x1024",
        ),
        (
            "gemm --shape=-1x2x3",
            2,
            "--shape: '-1x2x3' is no shape; write MxKxN, such as 1024x1024x1024",
        ),
        (
            "quantize --shape 4x4x",
            2,
            "--shape: '4x4x' is no shape; write whole numbers joined by x, such as 2048x2048",
        ),
        ("gemm --shape ,", 2, "--shape: no value given"),
        (
            "gemm --dtype s8s9",
            2,
            "unknown dtypes 's8s9', did you mean 's8s8'?; there are s8s8, u8s8, s8u8, u8u8",
        ),
        (
            "quantize --dtype float3",
            2,
            "unknown dtype 'float3', did you mean 'float32'?; there are float16, bfloat16, "
            "float32, float64",
        ),
        ("quantize --bits four", 2, "--bits: 'four' is no whole number"),
        ("gemm --backend int8-blass", 2, "unknown backend 'int8-blass', did you mean 'int8-blas'?"),
        ("gemm --repeat 0", 2, "--repeat"),
        ("quantize --threads 0", 2, "--threads"),
        ("gemm --output /nowhere/x", 2, "--output '/nowhere/x': there is no folder '/nowhere'"),
        (
            "gemm --shape 9999999x9999999x9999999",
            2,
            "a product of 9999999x9999999x9999999 would take about ",
        ),
        ("quantize --shape 99999999999", 2, "quantizing 99999999999 would take about "),
    ],
)
def test_a_mistake_is_one_line(run: Command, arguments: str, status: int, message: str) -> None:
    found, out, err = run("bench", *arguments.split())
    assert (found, out) == (status, "")
    assert err.count("\n") == 1
    assert err.startswith("qcore: ")
    assert message in err


@pytest.mark.parametrize("task", ["gemm", "quantize"])
def test_a_backend_asked_for_that_cannot_run_is_one_line(
    run: Command, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    numpy = type(qcore.create("backend", "numpy"))
    monkeypatch.setattr(numpy, "available", lambda _: "there is none")
    status, out, err = run("bench", task, "--backend", "numpy")
    assert (status, out) == (1, "")
    assert err == "qcore: backend 'numpy' cannot run here: there is none\n"


def test_ctrl_c_is_130(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(benching, "bench_gemm", interrupted)
    assert run(*GEMM) == (130, "", "qcore: interrupted\n")


def test_a_person_at_a_terminal_is_told_what_is_measured(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, _, err = run(*GEMM, "--backend", "reference", "--dtype", "s8s8")
    told = re.sub(r"\x1b\[[0-9;]*m", "", err).splitlines()
    assert told == ["measuring 3x4x5: 1 products", "measuring 1x8x2: 1 products"]


def test_without_a_task_the_help_is_shown(run: Command) -> None:
    status, out, err = run("bench")
    assert (status, err) == (0, "")
    assert "gemm" in out
    assert "quantize" in out


def test_a_kernel_that_is_wrong_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    lineup = Lineup([])
    assert _report(lineup, [], ["mine: its sums are not exact"], 2) == 1
    assert capsys.readouterr().err == "qcore: mine: its sums are not exact\n"
    assert _report(lineup, ["mine: out of memory"], [], 2) == 3
