"""`qcore inspect`: what a file holds, in full or by its headers; names are shown and not obeyed."""

from __future__ import annotations

import csv
import io
import json
import re
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
    status, out, err = run("inspect", file, "--headers")
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
    weight, norm, step = json.loads(run("inspect", file, "--headers", "--format", "json")[1])
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
    status, out, _ = run(
        "inspect", file, "--headers", "--include", "norm|step", "--exclude", "step"
    )
    assert status == 0
    assert out.splitlines()[2:] == [
        "norm    64     float32    256 B   32.00",
        "1 tensor · 64 elements · 256 B · 2 left out",
    ]


def test_of_several_files_each_tensor_says_its_own(run: Command, file: Path) -> None:
    save_file({"w": matrix(2, 2)}, file.with_name("other.safetensors"))
    both = (file.with_name("other.safetensors"), file)
    status, out, err = run("inspect", *both, "--headers")
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


def test_for_headers_no_data_are_read(run: Command, tmp_path: Path) -> None:
    text = json.dumps({"w": {"dtype": "F32", "shape": [1 << 28, 1], "data_offsets": [0, 1 << 30]}})
    with (tmp_path / "large.safetensors").open("wb") as large:
        large.write(len(text).to_bytes(8, "little") + text.encode())
        large.truncate(8 + len(text) + (1 << 30))
    run("inspect", tmp_path / "large.safetensors", "--headers")
    tracemalloc.start()
    _, out, _ = run("inspect", tmp_path / "large.safetensors", "--headers")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "268435456 × 1" in out
    assert peak < 2_000_000


def test_more_rows_than_a_screen_holds_are_counted(run: Command, tmp_path: Path) -> None:
    save_file({f"w{i:03}": np.zeros(1, np.int8) for i in range(403)}, tmp_path / "many")
    out = run("inspect", tmp_path / "many", "--headers")[1]
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


# --- what the tensors hold ------------------------------------------------------------------------


@pytest.fixture
def varied(tmp_path: Path) -> Path:
    """A plain tensor, one with outliers, two that are shifted, and some of which little is said."""
    path = tmp_path / "varied.safetensors"
    outlier = matrix(32, 256)
    outlier[3, 5] = 1000
    tensors = {
        "plain": matrix(32, 256),
        "outlier": outlier,
        "relu.one": np.maximum(matrix(32, 256), 0),
        "relu.two": np.maximum(matrix(16, 256), 0) * 3,
        "bias": matrix(64),
        "step": np.arange(3000),
        "nothing": np.zeros((0, 4), np.float32),
    }
    save_file(tensors, path)
    return path


def test_it_says_what_tensors_hold_and_what_is_worth_trying(run: Command, varied: Path) -> None:
    status, out, err = run("inspect", varied)
    assert (status, err) == (0, "")
    assert out == (
        "tensor     min   max   std    kurt  max/p99.9  histogram    hint\n"
        "───────────────────────────────────────────────────────────────────────────────\n"
        "step         0  2999   866    -1.2          1  ███████████\n"
        "bias      -2.3     2  0.91   -0.44             ▁ ▅▂█▇█▅▃▅▃\n"
        "nothing\n"
        "outlier   -3.9  1000    11    8054        311  █         ▁  outliers, channels\n"
        "plain     -3.9   3.3     1  -0.064        1.2  ▁▁▁▃▆██▆▃▁▁  plain\n"
        "relu.one     0   3.3  0.58       2        1.1  █▂▂▁▁▁▁▁▁▁▁  shifted, tails\n"
        "relu.two     0   9.8   1.7     2.1        1.1  █▂▂▁▁▁▁▁▁▁▁  shifted, tails\n"
        "7 tensors · 31,736 elements · 139 kB\n"
        "no room for bits/w, size, stored as, skew, mean, zeros, shape; a wider screen\n"
        "has them\n"
        "\n"
        "hint      tensors  what is found                          worth trying\n"
        "────────────────────────────────────────────────────────────────────────────────\n"
        "shifted         2  the values take 50 % of an even range  asymmetric\n"
        "tails           2  they are heavy: excess kurtosis 2 to   apot bits=4\n"
        "                   2.1                                    observer=mse bits=4\n"
        "outliers        1  max |x| is 311 times its 99.9th        granularity=group:128\n"
        "                   percentile\n"
        "channels        1  the largest is 334 times the median    granularity=channel:0\n"
        "                   one                                    granularity=group:128\n"
        "plain           1  nothing that calls for another recipe  symmetric\n"
    )


def test_a_wide_screen_has_every_column(
    run: Command, varied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    head, _, *rows = run("inspect", varied)[1].splitlines()
    assert re.split("  +", head) == [
        "tensor", "shape", "stored as", "size", "bits/w", "min", "max", "mean", "std", "skew",
        "kurt", "zeros", "max/p99.9", "histogram", "hint",
    ]  # fmt: skip
    assert all("no room" not in row for row in rows)


def test_long_names_get_room_before_other_columns_do(run: Command, tmp_path: Path) -> None:
    name = "encoder.layer.0.attention.output.dense.weight"
    save_file({name: matrix(40, 40)}, tmp_path / "m.safetensors")
    rows = run("inspect", tmp_path / "m.safetensors")[1].splitlines()
    assert (rows[2].split()[0], rows[3]) == (name.removesuffix("weight"), "weight")


def test_a_terminal_of_ascii_gets_ascii(
    run: Command, varied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    out = run("inspect", varied)[1]
    assert out.isascii()
    assert "plain" in out
    assert "@" in next(line for line in out.splitlines() if line.startswith("plain"))


def test_as_data_there_is_every_number(run: Command, varied: Path) -> None:
    records = {r["tensor"]: r for r in json.loads(run("inspect", varied, "--format", "json")[1])}
    plain = records["plain"]
    assert plain["shape"] == [32, 256]
    assert plain["mean"] == pytest.approx(matrix(32, 256).astype(np.float64).mean())
    assert (plain["count"], plain["nonfinite"], sum(plain["cells"])) == (8192, 0, 8192)
    assert plain["hints"] == ["plain: nothing that calls for another recipe: symmetric"]
    assert records["step"]["hints"] == []
    assert (records["step"]["max"], records["nothing"]["max"]) == (2999, None)
    assert any("granularity=group:128" in hint for hint in records["outlier"]["hints"])
    rows = list(csv.DictReader(io.StringIO(run("inspect", varied, "--format", "csv")[1])))
    assert {row["tensor"]: row["max"] for row in rows}["plain"] == repr(plain["max"])
    assert rows[0].keys() == plain.keys()


def test_without_a_path_it_shows_the_samples_and_says_so(run: Command) -> None:
    status, out, err = run("inspect")
    assert status == 0
    assert "fc1.weight" in out
    assert err == ("no PATH given: inspecting the bundled digits network and what it is fed\n")


def test_threads_change_nothing(run: Command, varied: Path) -> None:
    alone = run("inspect", varied, "--threads", "1", "--format", "json")
    assert alone == run("inspect", varied, "--threads", "3", "--format", "json")


def test_quantized_tensors_are_inspected_decoded(run: Command, file: Path) -> None:
    (weight,) = json.loads(run("inspect", file, "--include", "fc", "--format", "json")[1])
    decoded = qcore.load(file)["fc.weight"].dequantize()
    assert (weight["min"], weight["max"]) == (decoded.min(), decoded.max())


def test_a_tensor_that_fails_is_one_line_and_the_others_go_on(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, good=matrix(4, 4), complex=np.ones(3, np.complex64))
    status, out, err = run("inspect", path)
    assert status == 3
    assert "good" in out
    assert err.startswith(f"qcore: {path}: 'complex': 'complex' holds complex64; qcore quantizes")
    assert err.count("\n") == 1
    good, bad = json.loads(run("inspect", path, "--format", "json")[1])
    assert (good["error"], bad["max"]) == (None, None)
    assert "complex64" in bad["error"]
    status, out, _ = run("inspect", path, "--include", "complex")
    assert (status, out) == (1, "")


def test_nan_and_infinities_are_counted_and_left_out(run: Command, tmp_path: Path) -> None:
    x = matrix(30, 40)
    x[0, :3] = np.nan, np.inf, -np.inf
    np.save(tmp_path / "x.npy", x)
    status, out, _ = run("inspect", tmp_path / "x.npy")
    assert status == 0
    assert "3 values are NaN or infinite, and left out" in " ".join(out.split())


def test_python_gets_the_same(varied: Path) -> None:
    found = {inspection.ref.name: inspection for inspection in qcore.inspect(varied)}
    assert found["plain"].statistics is not None
    assert found["plain"].statistics.count == 8192
    assert [hint.word for hint in found["relu.one"].hints] == ["shifted", "tails"]
    (array,) = qcore.inspect({"x": matrix(3, 3)}, threads=1)
    assert array.to_dict()["elements"] == 9
    with pytest.raises(qcore.ReadError, match=r"no such file"):
        qcore.inspect(varied.with_name("none.safetensors"))


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
        ["inspect", "--headers"],
        ["compare", "--scheme", "symmetric", "--bits", "4", "--per-tensor"],
    ],
    ids=lambda command: " ".join(command[:2]),
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
