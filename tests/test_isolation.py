"""However a plugin is broken, it harms nobody else: neither when it is loaded nor when it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HEALTHY = '''
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
import qcore
from qcore import Quantizer, QuantParams

@dataclass(frozen=True)
class Scheme(Quantizer):
    """The scale is the block's mean magnitude."""
    id: ClassVar[str] = "ID"
    bits: ClassVar[int] = 2

    def fit(self, blocks, context):
        scale = np.abs(blocks).mean(axis=1, keepdims=True)
        return QuantParams(scale=context.snap(np.where(scale > 0, scale, 1)))

    def encode(self, blocks, params, rounding):
        return np.clip(rounding.round(blocks / params.scale), -1, 1).astype(np.int8)

    def decode(self, codes, params):
        return codes * params.scale

@qcore.hookimpl
def qcore_schemes():
    return [Scheme]
'''

HOOK = "import qcore\n\n@qcore.hookimpl\n"

BROKEN_AT_LOADING = {
    "import-error": ("import a_module_that_nobody_has", "ModuleNotFoundError: No module named"),
    "syntax-error": ("def (", "SyntaxError: "),
    "exits": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "raises": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "unknown-hook": (HOOK + "def qcore_schemas():\n    return []", "unknown hook qcore_schemas"),
    "unmarked-hook": ("def qcore_schemes():\n    return []", "qcore_schemes is no hook yet"),
    "hook-raises": (HOOK + "def qcore_schemes():\n    raise KeyError('x')", "KeyError: 'x'"),
    "hook-takes": (HOOK + "def qcore_schemes(config):\n    return []", "PluginValidationError"),
    "no-list": (HOOK + "def qcore_schemes():\n    return 3", "qcore_schemes returned 3"),
    "no-class": (HOOK + "def qcore_schemes():\n    return ['ternary']", "which is no class"),
    "no-scheme": (HOOK + "def qcore_schemes():\n    return [dict]", "which is no Quantizer"),
    "abstract": (HEALTHY.replace("def decode", "def decodes"), "Scheme lacks decode"),
    "not-frozen": (HEALTHY.replace("(frozen=True)", ""), "Scheme is no frozen dataclass"),
    "bad-id": (HEALTHY.replace('"ID"', '"My Scheme"'), "Scheme has id 'My Scheme'"),
    "taken-id": (HEALTHY.replace('"ID"', '"symmetric"'), "scheme 'symmetric' is already given by"),
    "too-new": (HEALTHY, "needs qcore-quant>=9, but"),
    "no-hook": ("import qcore", "names 'acme_no_hook', which implements no hook"),
    "odd-option": (
        HEALTHY.replace("    def fit(", "    levels: tuple = (1, 2)\n\n    def fit("),
        "Scheme.levels is of type tuple; options are int, float, bool, str or Literal",
    ),
}  # fmt: skip
"""What is broken, how, and what is said of it."""

BROKEN_AT_RUN_TIME = {
    "mutates": ("encode", "blocks /= params.scale; return blocks.astype(np.int8)", "read-only"),
    "bad-shape": ("encode", "return np.zeros(3, np.int8)", "gave codes of shape (3,)"),
    "float-codes": ("encode", "return blocks / params.scale", "gave codes of dtype float32"),
    "out-of-range": ("encode", "return np.full(blocks.shape, 9)", "gave codes from 9 to 9"),
    "no-array": ("encode", "return [1, 2]", "gave codes as list; give a NumPy array"),
    "not-finite": ("decode", "return np.full(codes.shape, np.nan)", "its values are not finite"),
    "bad-values": ("decode", "return codes[:, :1] * params.scale", "gave values of shape"),
    "integer-values": ("decode", "return codes", "gave values of dtype int8; they are floats"),
    "decode-raises": ("decode", "raise ZeroDivisionError('oops')", "ZeroDivisionError: oops"),
    "no-params": ("fit", "return 1.0", "gave float from fit; give QuantParams"),
    "few-scales": ("fit", "return QuantParams(np.ones((1, 1), np.float32))", "gave scale of shape"),
    "wide-scale": ("fit", "return QuantParams(np.ones((len(blocks), 1)))", "gave a float64 scale"),
    "zero-scale": (
        "fit", "return QuantParams(np.zeros((len(blocks), 1), np.float32))",
        "a scale is positive and finite",
    ),
    "exhausted": ("fit", "raise MemoryError", "MemoryError"),
    "exits-in-fit": ("fit", "raise SystemExit(3)", "SystemExit: 3"),
    "exits-in-encode": ("encode", "exit()", "SystemExit: None"),
    "gives-up": ("decode", "raise BaseException('enough')", "BaseException: enough"),
}  # fmt: skip


def broken_scheme(id: str, method: str, body: str) -> str:
    """The source of a scheme with another body for one of its methods."""
    arguments = {
        "fit": "self, blocks, context",
        "encode": "self, blocks, params, rounding",
        "decode": "self, codes, params",
    }[method]
    lines = HEALTHY.replace("ID", id).split("\n")
    start = next(i for i, line in enumerate(lines) if f"def {method}(" in line)
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith("        "))
    lines[start:end] = [f"    def {method}({arguments}):", f"        {body}"]
    return "\n".join(lines)


class Site:
    """A folder of installed plugins, as pip leaves them, for a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, source: str, requires: str = "qcore-quant>=0.1") -> None:
        module = f"acme_{name.replace('-', '_')}"
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (self.folder / f"{module}.py").write_text(textwrap.dedent(source))
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.0\nRequires-Dist: {requires}\n"
        )
        (info / "entry_points.txt").write_text(f"[qcore]\n{name} = {module}\n")

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "NO_COLOR": "1", **more}
        return subprocess.run(
            [sys.executable, "-m", "qcore", *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def broken_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One healthy plugin among one of each kind that cannot be loaded."""
    site = Site(tmp_path_factory.mktemp("broken"))
    site.install("healthy", HEALTHY.replace("ID", "healthy"))
    for name, (source, _) in BROKEN_AT_LOADING.items():
        requires = "qcore-quant>=9" if name == "too-new" else "qcore-quant>=0.1"
        site.install(name, source.replace('"ID"', f'"{name}"'), requires)
    return site


@pytest.fixture(scope="module")
def unruly_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Plugins that load, and misbehave once they run."""
    site = Site(tmp_path_factory.mktemp("unruly"))
    site.install("healthy", HEALTHY.replace("ID", "healthy"))
    for name, (method, body, _) in BROKEN_AT_RUN_TIME.items():
        site.install(name, broken_scheme(name, method, body))
    np.savez(site.folder / "x.npz", x=np.random.default_rng(0).standard_normal((8, 32), np.float32))
    return site


def test_broken_plugins_leave_the_healthy_ones_alone(broken_site: Site) -> None:
    done = broken_site.run("compare", "--scheme", "healthy,symmetric", "--format", "json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert {result["recipe"]["scheme"] for result in results} == {"healthy", "symmetric"}
    assert all(result["error"] is None for result in results)
    for name, (_, reason) in BROKEN_AT_LOADING.items():
        (line,) = [line for line in done.stderr.splitlines() if f"plugin '{name}'" in line]
        assert line.startswith(f"qcore: plugin '{name}' (acme-{name} 1.0) was left out: ")
        assert reason in line
    assert "Traceback" not in done.stderr


def test_strictly_a_broken_plugin_fails_the_run(broken_site: Site) -> None:
    done = broken_site.run("compare", "--scheme", "healthy", "--format", "json", "--strict")
    assert done.returncode == 1
    assert json.loads(done.stdout)["results"]
    assert broken_site.run("plugins").returncode == 0
    assert broken_site.run("plugins", "--strict").returncode == 1


def test_the_health_of_every_plugin_is_shown(broken_site: Site) -> None:
    records = json.loads(broken_site.run("plugins", "--format", "json").stdout)
    found = {record["name"]: record for record in records}
    for name, (_, reason) in BROKEN_AT_LOADING.items():
        assert reason in found[name]["error"]
        assert (found[name]["distribution"], found[name]["version"]) == (f"acme-{name}", "1.0")
    assert found["healthy"]["error"] is None


def test_asking_for_what_a_broken_plugin_would_give_says_why(broken_site: Site) -> None:
    done = broken_site.run("compare", "--scheme", "import-error")
    assert done.returncode == 2
    assert "unknown scheme 'import-error'" in done.stderr
    assert "plugin 'import-error' (acme-import-error 1.0) failed to load" in done.stderr


def test_help_and_version_load_no_plugin(broken_site: Site) -> None:
    for arguments in (["--help"], ["--version"], ["compare", "--help"]):
        done = broken_site.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")


def test_plugins_that_misbehave_lose_their_own_rows(unruly_site: Site) -> None:
    names = ["healthy", "symmetric", *BROKEN_AT_RUN_TIME]
    arguments = ["--scheme", ",".join(names), "--granularity", "channel:0", "--format", "json"]
    done = unruly_site.run("compare", "x.npz", "--bits", "2", *arguments)
    assert done.returncode == 3, done.stderr
    errors: dict[str, Any] = {
        result["recipe"]["scheme"]: result["error"] for result in json.loads(done.stdout)["results"]
    }
    assert errors["healthy"] is None
    assert errors["symmetric"] is None
    for name, (_, _, reason) in BROKEN_AT_RUN_TIME.items():
        assert reason in errors[name], name
        assert f"(plugin '{name}'" in errors[name], name
    assert "(blocks are read-only; make a copy)" in errors["mutates"]
    line = 1 + broken_scheme("", "decode", "raise").split("\n").index("        raise")
    place = f"(plugin 'decode-raises', acme_decode_raises.py:{line}, in decode)"
    assert errors["decode-raises"].endswith(f"ZeroDivisionError: oops {place}")
    assert "Traceback" not in done.stderr


def test_a_scale_that_is_not_stored_fails_where_another_would_be(tmp_path: Path) -> None:
    site = Site(tmp_path)
    body = "return QuantParams(np.float32(3) * np.abs(blocks).max(axis=1, keepdims=True))"
    site.install("unsnapped", broken_scheme("unsnapped", "fit", body))
    np.save(tmp_path / "x.npy", np.float32([[0.3, -0.2], [0.7, 0.1]]))
    formats = "float32,float16,bfloat16,pow2:floor"
    done = site.run(
        "compare", "x.npy", "--scheme", "unsnapped,symmetric", "--scale-format", formats,
        "--granularity", "tensor,channel:0", "--format", "json",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    for result in json.loads(done.stdout)["results"]:
        scheme, stored = result["recipe"]["scheme"], result["recipe"]["scale_format"]
        if scheme == "symmetric" or stored == "float32":
            assert result["error"] is None
        else:
            says = f"gave a scale that {stored} does not store; give context.snap(scale)"
            assert result["error"].endswith(f"failed: {says} (plugin 'unsnapped')")


@pytest.mark.parametrize("error", ["ValueError('mu must be positive')", "SystemExit(3)"])
def test_a_class_that_cannot_be_made_stops_only_who_asks_for_it(tmp_path: Path, error: str) -> None:
    site = Site(tmp_path)
    init = f"    def __post_init__(self):\n        raise {error}\n\n    def fit("
    site.install("mu-law", HEALTHY.replace("ID", "mu-law").replace("    def fit(", init))
    done = site.run("compare", "--bits", "4", "--format", "json")
    assert done.returncode == 0, done.stderr
    schemes = {result["recipe"]["scheme"] for result in json.loads(done.stdout)["results"]}
    assert "symmetric" in schemes
    assert "mu-law" not in schemes
    done = site.run("compare", "--scheme", "symmetric,mu-law")
    assert (done.returncode, done.stdout) == (2, "")
    shown = error.replace("('", ": ").replace("(", ": ").rstrip("')")
    assert done.stderr.startswith(f"qcore: 'mu-law' failed: {shown} (plugin 'mu-law', acme_mu_law")
    assert done.stderr.count("\n") == 1


def test_tracebacks_are_shown_to_who_asks_for_them_each_once(unruly_site: Site) -> None:
    arguments = ["x.npz", "--scheme", "decode-raises,exits-in-fit", "--granularity", "group:16"]
    done = unruly_site.run("compare", *arguments, "--threads", "1", QCORE_DEBUG="1")
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last)") == 3  # that of the exit is two
    assert done.stderr.count("raise ZeroDivisionError('oops')\n") == 1
    assert done.stderr.count("raise SystemExit(3)\n") == 1
    assert "Traceback" not in unruly_site.run("compare", *arguments).stderr


def test_the_traceback_of_a_plugin_that_fails_to_load_is_shown_too(broken_site: Site) -> None:
    done = broken_site.run("plugins", QCORE_DEBUG="1")
    assert done.returncode == 0
    assert "raise RuntimeError('no licence')\n" in done.stderr


@pytest.mark.parametrize("name", ["bad-shape", "float-codes", "out-of-range", "zero-scale"])
def test_nothing_misbehaved_is_stored(unruly_site: Site, name: str) -> None:
    code = (
        "import numpy, qcore\n"
        "try:\n"
        f"    qcore.quantize(numpy.ones((4, 8), 'f'), scheme='{name}', granularity='channel:0')\n"
        "except qcore.SchemeError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(unruly_site.folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert BROKEN_AT_RUN_TIME[name][2] in done.stdout
