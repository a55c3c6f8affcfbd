"""`qcore plugins`: every plugin found, healthy or not, and why."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from qcore.loading import OWN

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def broken(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that cannot be imported, and would have given a scheme."""
    info = tmp_path / "acme_ternary-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-ternary\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text("[qcore]\nternary = acme_ternary_of_the_cli\n")
    (tmp_path / "acme_ternary_of_the_cli.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("QCORE_PLUGINS", "symmetric,numpy,ternary")


def test_every_plugin_is_shown_with_its_version_and_what_it_provides(run: Command) -> None:
    status, out, err = run("plugins", "--format", "json")
    assert (status, err) == (0, "")
    found = {record["distribution"]: record for record in json.loads(out)}
    assert list(found)[: 1 + len(OWN)] == ["qcore-quant", *OWN]
    assert found["qcore-apot"] == {
        "name": "apot", "distribution": "qcore-apot", "version": "0.1.0",
        "provides": {"scheme": ["apot"]}, "error": None,
    }  # fmt: skip
    assert "half-even" in found["qcore-quant"]["provides"]["rounding"]


@pytest.mark.parametrize("columns", [80, 160])
def test_the_table_fits_the_terminal(
    run: Command, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, _ = run("plugins")
    assert status == 0
    assert max(map(cell_len, out.splitlines())) <= columns
    for name in ("builtin", *OWN):
        assert name in out


@pytest.mark.usefixtures("broken")
def test_a_broken_plugin_is_shown_with_its_error_and_is_no_failure(run: Command) -> None:
    status, out, err = run("plugins", "--format", "json")
    assert (status, err) == (0, "")
    assert json.loads(out)[-1] == {
        "name": "ternary", "distribution": "acme-ternary", "version": "2.5", "provides": {},
        "error": "ModuleNotFoundError: No module named 'no_such_library' "
        "(acme_ternary_of_the_cli.py:1)",
    }  # fmt: skip
    _, table, _ = run("plugins")
    (line,) = [line for line in table.splitlines() if "acme-ternary" in line]
    assert line.split()[:4] == ["ternary", "acme-ternary", "2.5", "failed"]
    assert [line.split()[3] for line in table.splitlines() if "qcore-numpy" in line] == ["ok"]


@pytest.mark.usefixtures("broken")
def test_a_broken_plugin_does_not_stop_a_comparison(run: Command) -> None:
    status, out, _ = run("compare", "--format", "json")
    assert status == 0
    assert "acme-ternary" not in json.loads(out)["qcore"]["plugins"]


@pytest.mark.usefixtures("broken")
def test_a_broken_plugin_is_named_to_who_asks_for_its_scheme(run: Command) -> None:
    status, out, err = run("compare", "--scheme", "ternary")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "unknown scheme 'ternary'" in err
    assert "plugin 'ternary' (acme-ternary 2.5) failed to load: ModuleNotFoundError" in err


@pytest.mark.parametrize("environment", [False, True])
def test_without_plugins_there_is_what_is_built_in(
    run: Command, monkeypatch: pytest.MonkeyPatch, environment: bool
) -> None:
    if environment:
        monkeypatch.setenv("QCORE_PLUGINS", "")
        status, out, _ = run("plugins", "--format", "csv")
    else:
        status, out, _ = run("--no-plugins", "plugins", "--format", "csv")
    assert status == 0
    (record,) = csv.DictReader(io.StringIO(out))
    assert (record["name"], record["distribution"], record["error"]) == (
        "builtin", "qcore-quant", "",
    )  # fmt: skip
    assert "half-even" in json.loads(record["provides"])["rounding"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no scheme is installed; install one, such as qcore-symmetric"),
        (["--scheme", "symmetric"], "unknown scheme 'symmetric'; no scheme is installed"),
    ],
)
def test_without_plugins_there_is_nothing_to_compare_with(
    run: Command, arguments: list[str], says: str
) -> None:
    status, out, err = run("--no-plugins", "compare", *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert len([line for line in err.splitlines() if line.startswith("qcore: ")]) == 1
