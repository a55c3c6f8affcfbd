"""`qcore inspect`: what a file holds, told from its header; names are shown and not obeyed."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import qcore

Command = Callable[..., tuple[int, str, str]]


def matrix(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    q = qcore.quantize(matrix(16, 64), "apot bits=4 granularity=channel:0 scale_format=float16")
    qcore.save(path, {"fc.weight": q, "norm": matrix(64), "step": np.int64(3)[...]})
    return path


def test_it_lists_names_shapes_how_they_are_stored_and_what_they_take(
    run: Command, file: Path
) -> None:
    status, out, err = run("inspect", file)
    assert (status, err) == (0, "")
    assert out == (
        "tensor     shape    stored as                                      size  bits/w\n"
        "────────────────────────────────────────────────────────────────────────────────\n"
        "fc.weight  16 × 64  apot bits=4 granularity=channel:0             544 B    4.25\n"
        "                    scale_format=float16\n"
        "norm       64       float32                                       256 B   32.00\n"
        "step       scalar   int64                                           8 B   64.00\n"
        "3 tensors · 1,089 elements · 808 B\n"
    )


def test_as_data_each_tensor_has_a_record(run: Command, file: Path) -> None:
    weight, norm, step = json.loads(run("inspect", file, "--format", "json")[1])
    assert weight == {
        "tensor": "fc.weight",
        "source": str(file),
        "shape": [16, 64],
        "dtype": "float32",
        "encoding": "apot bits=4 granularity=channel:0 scale_format=float16",
        "elements": 1024,
        "bytes": 544,
    }
    assert (norm["dtype"], norm["encoding"], norm["bytes"]) == ("float32", None, 256)
    assert (step["shape"], step["elements"], step["dtype"]) == ([], 1, "int64")
    rows = list(csv.DictReader(io.StringIO(run("inspect", file, "--format", "csv")[1])))
    assert [row["bytes"] for row in rows] == ["544", "256", "8"]


def test_names_are_chosen_and_the_rest_is_counted(run: Command, file: Path) -> None:
    status, out, _ = run("inspect", file, "--include", "norm|step", "--exclude", "step")
    assert status == 0
    assert out.splitlines()[2:] == [
        "norm    64     float32    256 B   32.00",
        "1 tensor · 64 elements · 256 B · 2 left out",
    ]


def test_of_several_files_each_tensor_says_its_own(run: Command, file: Path) -> None:
    save_file({"w": matrix(2, 2)}, file.with_name("other.safetensors"))
    both = (file.with_name("other.safetensors"), file)
    status, out, err = run("inspect", *both)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].split() == [
        "tensor",
        "file",
        "shape",
        "stored",
        "as",
        "size",
        "bits/w",
    ]
    records = json.loads(run("inspect", *both, "--format", "json")[1])
    assert [Path(record["source"]).name for record in records] == [
        "other.safetensors", *["model.safetensors"] * 3,
    ]  # fmt: skip


def test_no_data_is_read(run: Command, tmp_path: Path) -> None:
    text = json.dumps({"w": {"dtype": "F32", "shape": [1 << 28, 1], "data_offsets": [0, 1 << 30]}})
    with (tmp_path / "large.safetensors").open("wb") as large:
        large.write(len(text).to_bytes(8, "little") + text.encode())
        large.truncate(8 + len(text) + (1 << 30))
    run("inspect", tmp_path / "large.safetensors")
    tracemalloc.start()
    _, out, _ = run("inspect", tmp_path / "large.safetensors")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "268435456 × 1" in out
    assert peak < 2_000_000


def test_more_rows_than_a_screen_holds_are_counted(run: Command, tmp_path: Path) -> None:
    save_file({f"w{i:03}": np.zeros(1, np.int8) for i in range(403)}, tmp_path / "many")
    out = run("inspect", tmp_path / "many")[1]
    assert out.splitlines()[-1] == (
        "403 tensors · 403 elements · 403 B · 400 of 403 rows shown; --format csv has all"
    )
    assert len(out.splitlines()) == 2 + 400 + 1


def test_a_damaged_file_among_others_is_one_line_and_the_others_are_listed(
    run: Command, file: Path
) -> None:
    damaged = file.with_name("cut.safetensors")
    damaged.write_bytes(file.read_bytes()[:-1])
    status, out, err = run("inspect", file, damaged)
    assert status == 3
    assert "fc.weight" in out
    assert err.startswith(f"qcore: {damaged}: ")
    assert "truncated" in err
    status, out, err = run("inspect", damaged)
    assert (status, out) == (1, "")
    assert err.startswith(f"qcore: {damaged}: ")


# --- hostile names --------------------------------------------------------------------------------

HOSTILE = {
    "\x1b[31mred\x1b]0;title\x07": r"\x1b[31mred\x1b]0;title\x07",
    "[bold]markup[/]": "[bold]markup[/]",
    "nul\0line\nreturn\rtab\t": r"nul\x00line\nreturn\rtab\t",
    "<script>&amp;": "<script>&amp;",
    "right\u202eleft\u200b": r"right\u202eleft\u200b",
    "\x9b31m\x85\u2028": r"\x9b31m\x85\u2028",
}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "hostile.safetensors"
    save_file({name: matrix(2, 2) for name in HOSTILE}, path)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["inspect"],
        ["compare", "--scheme", "symmetric", "--bits", "4", "--per-tensor"],
    ],
    ids=lambda command: command[0],
)
def test_names_are_shown_and_not_obeyed(run: Command, hostile: Path, command: list[str]) -> None:
    name, *rest = command
    status, out, err = run(name, hostile, *rest)
    assert (status, err) == (0, "")
    together = "".join(line.partition("  ")[0].strip() for line in out.splitlines())
    for shown in HOSTILE.values():
        assert shown in together
    assert out.replace("\n", "").isprintable()


def test_data_have_the_names_as_they_are(run: Command, hostile: Path) -> None:
    records = json.loads(run("inspect", hostile, "--format", "json")[1])
    assert {record["tensor"] for record in records} == HOSTILE.keys()


def test_errors_show_names_and_do_not_obey_them(run: Command, tmp_path: Path) -> None:
    for name, shown in HOSTILE.items():
        path = tmp_path / "model.safetensors"
        save_file({name: np.full((2, 2), np.nan, np.float32)}, path)
        status, out, err = run("quantize", path, "symmetric", "-o", tmp_path / "out.safetensors")
        assert (status, out) == (1, "")
        assert err.startswith(f"qcore: {path}: tensor '{shown}': 4 of 4 values are NaN")
        assert err.removesuffix("\n").isprintable()
