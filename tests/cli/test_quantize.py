"""`qcore quantize` and `qcore dequantize`: what they write, what they say, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

import qcore

Command = Callable[..., tuple[int, str, str]]
RECIPE = ("symmetric", "bits=4", "granularity=channel:0")


@pytest.fixture
def width() -> int:
    return 100


def matrix(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {
        "layers.0.weight": matrix(64, 32),
        "layers.1.weight": matrix(64, 32),
        "lm_head.weight": matrix(10, 32),
        "norm": matrix(32),
    }
    save_file(tensors, path, {"format": "pt"})
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "small.safetensors"


def recipes(path: Path) -> dict[str, str]:
    return {name: str(q.recipe) for name, q in qcore.QuantizedFile(path).quantized.items()}


# --- what is written ------------------------------------------------------------------------------


def test_it_writes_a_file_and_says_what_became_of_the_tensors(
    run: Command, model: Path, output: Path
) -> None:
    status, out, err = run("quantize", model, *RECIPE, "-o", output)
    assert (status, err) == (0, "")
    assert out == (
        "recipe                                  tensors  elements   before    after  bits/w\n"
        "────────────────────────────────────────────────────────────────────────────────────\n"
        "symmetric bits=4 granularity=channel:0        3     4,416  17.7 kB  2.76 kB    5.00\n"
        "kept                                          1        32    128 B    128 B   32.00\n"
        "4 tensors · 17.8 kB → 2.89 kB, 6.16 times smaller\n"
    )
    assert set(recipes(output).values()) == {" ".join(RECIPE)}
    with safe_open(output, "np") as opened:
        assert opened.metadata()["format"] == "pt"


def test_rules_go_before_the_recipe_and_those_given_before_those_of_a_file(
    run: Command, tmp_path: Path, model: Path, output: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[rules]\n'layers' = 'symmetric bits=2'\nlm_head = 'keep'\n")
    command = ("quantize", model, "symmetric", "bits=8", "-o", output, "--rules", rules)
    status, _, err = run(*command, "--rule", "layers.0=asymmetric bits=3")
    assert (status, err) == (0, "")
    assert recipes(output) == {
        "layers.0.weight": "asymmetric bits=3",
        "layers.1.weight": "symmetric bits=2",
    }
    status, _, err = run("quantize", model, "-o", output, "--rule", "lm_head=symmetric bits=8")
    assert (status, err) == (0, "")
    assert recipes(output) == {"lm_head.weight": "symmetric bits=8"}


def test_a_rule_that_matches_nothing_is_warned_of(run: Command, model: Path, output: Path) -> None:
    rules = ("--rule", "lm_haed=keep", "--rule", "norm=keep", "--rule", "=symmetric bits=4")
    status, out, err = run("quantize", model, "-o", output, *rules)
    assert status == 0
    assert out
    assert err == "qcore: rule 'lm_haed' matches no tensor\n"


def test_as_data_each_tensor_has_a_record(run: Command, model: Path, output: Path) -> None:
    command = ("quantize", model, *RECIPE, "-o", output, "--exclude", "head", "--format")
    status, out, err = run(*command, "json")
    assert (status, err) == (0, "")
    records = json.loads(out)
    assert records[0] == {
        "tensor": "layers.0.weight",
        "how": " ".join(RECIPE),
        "elements": 2048,
        "bytes_before": 8192,
        "bytes": 1024 + 256,
    }
    assert [record["how"] for record in records[2:]] == ["kept", "kept"]
    rows = list(csv.DictReader(io.StringIO(run(*command, "csv")[1])))
    assert [row["tensor"] for row in rows] == [record["tensor"] for record in records]


def test_dequantize_gives_the_values_back(run: Command, model: Path, output: Path) -> None:
    run("quantize", model, *RECIPE, "-o", output)
    large = output.with_name("large.safetensors")
    status, out, err = run("dequantize", output, "-o", large)
    assert (status, err) == (0, "")
    assert out.splitlines()[2].split() == [
        "float32",
        "3",
        "4,416",
        "2.76",
        "kB",
        "17.7",
        "kB",
        "32.00",
    ]
    with safe_open(large, "np") as opened:
        found = opened.get_tensor("lm_head.weight")
    expected = qcore.fake_quantize(matrix(10, 32), " ".join(RECIPE))
    assert found.tobytes() == expected.tobytes()
    status, _, _ = run("dequantize", output, "-o", large, "--dtype", "bfloat16")
    assert status == 0
    (head,) = (i for i in json.loads(run("inspect", large, "--format", "json")[1])
               if i["tensor"] == "lm_head.weight")  # fmt: skip
    assert head["dtype"] == "bfloat16"


def test_what_was_quantized_is_compared_like_any_other_file(
    run: Command, model: Path, output: Path
) -> None:
    run("quantize", model, *RECIPE, "-o", output)
    command = (
        "compare",
        output,
        "--scheme",
        "symmetric",
        "--bits",
        4,
        "--granularity",
        "channel:0",
    )
    results = json.loads(run(*command, "--format", "json")[1])["results"]
    assert [result["tensor"] for result in results] == [*recipes(output)]
    for result in results:  # it is on the grid already
        assert result["metrics"]["max_abs"] < 1e-6


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "give a RECIPE for all, or --rule PATTERN=RECIPE"),
        (["symetric"], 2, "unknown scheme 'symetric', did you mean 'symmetric'?; installed: "),
        (["symmetric", "bit=4"], 2, "'bit=4' in recipe 'symmetric bit=4' is no axis, did you mean"),
        (["--rule", "lm_head"], 2, "'lm_head' is no rule; write it as PATTERN=RECIPE"),
        (["--rule", "(=keep"], 2, "rule '(': '(' is no regular expression: missing )"),
        (["--rule", "a=symetric"], 2, "rule 'a': unknown scheme 'symetric'"),
        (["--rule", "nothing=symmetric"], 2, "no rule matches any floating tensor; see qcore insp"),
        (["symmetric", "--include", "["], 2, "include: '[' is no regular expression"),
        (["symmetric", "--min-ndim", "-1"], 2, "Invalid value for '--min-ndim'"),
        (["--rules", "absent.toml"], 1, "'absent.toml' cannot be read: No such file or directory"),
        (["--rules", "broken.toml"], 1, "'broken.toml' is no TOML: "),
        (["--rules", "other.toml"], 2, "'other.toml' must hold a table [rules] and nothing else"),
        (["--rules", "wrong.toml"], 2, "'wrong.toml': rule 'a': unknown scheme 'symetric'"),
        (["symmetric", "granularity=group:5"], 1,
         "model.safetensors: tensor 'layers.0.weight': 'group:5': 5 does not divide axis 1"),
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_one_line_and_no_file(
    run: Command,
    model: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    says: str,
) -> None:
    monkeypatch.chdir(model.parent)
    Path("broken.toml").write_text("[rules")
    Path("other.toml").write_text("rule = 'keep'")
    Path("wrong.toml").write_text("[rules]\na = 'symetric'")
    found, out, err = run("quantize", model.name, *arguments, "-o", output)
    assert (found, out) == (status, "")
    assert err.startswith(f"qcore: {says}")
    assert err.count("\n") == 1
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize("command", [("quantize", *RECIPE), ("dequantize",)])
def test_the_input_and_what_is_no_place_for_a_file_are_refused(
    run: Command, tmp_path: Path, model: Path, command: tuple[str, ...]
) -> None:
    name, *recipe = command
    before = model.read_bytes()
    link, folder = tmp_path / "link", tmp_path / "folder"
    link.symlink_to(model)
    folder.symlink_to(tmp_path)
    for given, output, says in [
        (model, model, "would write over the input; name another file"),
        (model, link, "would write over the input; name another file"),
        (link, model, "would write over the input; name another file"),
        (tmp_path, model, "would write over the input; name another file"),
        (tmp_path, tmp_path / "new", "would write over the input; name another file"),
        (folder, tmp_path / "new", "would write over the input; name another file"),
        (model, folder, "is a folder; name a file in it"),
        (model, tmp_path / "absent" / "new", "there is no folder"),
        (model, model / "new", "would write over the input"),
    ]:
        status, out, err = run(name, given, *recipe, "-o", output)
        assert (status, out) == (2, "")
        assert err.startswith(f"qcore: --output '{output}'")
        assert says in err
    assert model.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"link", "folder", "model.safetensors"}


def test_a_device_is_never_replaced(run: Command, model: Path) -> None:
    status, _, err = run("quantize", model, *RECIPE, "-o", "/dev/null")
    assert (status, err) == (2, "qcore: cannot write '/dev/null': it is no regular file\n")
    assert Path("/dev/null").is_char_device()


def test_an_input_that_cannot_be_read_is_one_line(
    run: Command, tmp_path: Path, output: Path
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\xff" * 40)
    for name in ("quantize", "dequantize"):
        recipe = RECIPE if name == "quantize" else ()
        for path, says in [(tmp_path / "absent", "no such file"), (damaged, str(damaged))]:
            status, out, err = run(name, path, *recipe, "-o", output)
            assert (status, out) == (1, "")
            assert says in err
            assert err.count("\n") == 1
    assert list(output.parent.iterdir()) == []


# --- a process that ends --------------------------------------------------------------------------


def sparse(path: Path, rows: int) -> Path:
    """A matrix of zeros that takes no room on the disk, and a while to quantize."""
    header = {"w": {"dtype": "F32", "shape": [rows, 1024], "data_offsets": [0, rows * 4096]}}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + rows * 4096)
    return path


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_interrupt_leaves_the_old_file(
    tmp_path: Path, output: Path, number: signal.Signals, status: int
) -> None:
    source = sparse(tmp_path / "large.safetensors", 1 << 18)  # 1 GB
    output.write_text("old")
    command = ["quantize", str(source), "symmetric", "bits=2", "observer=mse", "-o", str(output)]
    with subprocess.Popen(
        [sys.executable, "-m", "qcore", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        give_up = time.monotonic() + 30
        while len(list(output.parent.iterdir())) < 2:
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (status, "")
    assert output.read_text() == "old"
    beside = [path.name for path in output.parent.iterdir() if path != output]
    if number == signal.SIGINT:
        assert (err, beside) == ("qcore: interrupted\n", [])
    else:
        (part,) = beside
        assert re.fullmatch(r"\.small\.safetensors\.[0-9a-f]{8}\.part", part)


def test_a_full_disk_is_one_line_and_the_old_file_stays(model: Path, output: Path) -> None:
    output.write_text("old")
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "quantize", str(model), *RECIPE, "-o", str(output)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"qcore: cannot write '{output}': File too large\n"
    assert list(output.parent.iterdir()) == [output]
    assert output.read_text() == "old"


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("quantize", ["--output", "--rule", "--rules", "--include", "--exclude", "--min-ndim",
                      "--nonfinite", "--format", "--threads", "MODEL", "RECIPE"]),
        ("dequantize", ["--output", "--dtype", "--format", "MODEL"]),
    ],
)  # fmt: skip
def test_the_help_names_every_option_and_an_example(
    run: Command, name: str, options: list[str]
) -> None:
    status, out, err = run(name, "--help")
    assert (status, err) == (0, "")
    for part in (*options, f"Example: qcore {name}"):
        assert part.lower() in " ".join(out.lower().replace("│", " ").split()).replace("- ", "-")
