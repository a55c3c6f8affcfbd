"""Commands take addresses where they take paths."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qcore.cli.main import run_command

WEIGHTS = np.random.default_rng(0).normal(size=(90, 70)).astype(np.float32)


def test_compare_reads_an_address_as_it_reads_the_file(
    web: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(web.folder / "m.npz", w=WEIGHTS)
    np.savez(web.folder / "x.npz", w=WEIGHTS[:5])
    found = []
    for place in (web.url, web.folder):
        options = ["--scheme", "symmetric", "--bits", "4", "--format", "json"]
        given = [f"{place}/m.npz", "--activations", f"{place}/x.npz", *options]
        assert run_command(["compare", *given]) == 0
        (row,) = json.loads(capsys.readouterr().out)["results"]
        assert row["source"] == f"{place}/m.npz"
        found.append(row["metrics"])
    assert found[0] == found[1]


def test_calibrate_reads_an_address_and_writes_a_file(
    web: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(web.folder / "x.npy", np.float32([[-1, 3]]))
    output = tmp_path / "ranges.json"
    given = [f"{web.url}/x.npy", "-o", str(output), "--format", "json"]
    assert run_command(["calibrate", *given]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(output.read_text())


def test_inspect_lists_an_address(web: Any, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(web.folder / "x.npy", np.ones((2, 3)))
    assert run_command(["inspect", f"{web.url}/x.npy", "--format", "json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["tensor"], record["shape"]) == ("x", [2, 3])


@pytest.mark.parametrize(
    ("address", "status", "line"),
    [
        ("{web.url}/m.npz", 1, "{web.url}/m.npz: it cannot be opened: no such file"),
        ("qwertz://m.npz", 2, "'qwertz://m.npz': nothing reads 'qwertz://'"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--output", "table.txt")])
def test_what_cannot_be_had_is_one_line(
    web: Any,
    capsys: pytest.CaptureFixture[str],
    address: str,
    status: int,
    line: str,
    more: tuple[str, ...],
) -> None:
    assert run_command(["compare", address.format(web=web), *more]) == status
    assert capsys.readouterr() == ("", f"qcore: {line.format(web=web)}\n")


def test_an_output_that_is_the_input_s_address_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "w.npy", WEIGHTS)
    given = [f"file://{tmp_path}/w.npy", "--output", str(tmp_path / "w.npy")]
    assert run_command(["compare", *given]) == 2
    assert "would write over the input; name another file" in capsys.readouterr().err


def test_a_process_that_read_an_address_ends_without_a_word(web: Any) -> None:
    np.savez(web.folder / "m.npz", w=WEIGHTS)
    given = ["inspect", f"{web.url}/m.npz", "--format", "csv"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "qcore", *given],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith("w,")
