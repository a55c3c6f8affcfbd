"""`qcore compare` with activations: weight × activation recipes, and the outputs of layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    path = tmp_path / "model.npz"
    np.savez(path, **{"fc.weight": generator.standard_normal((8, 16)).astype(np.float32)})
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    path = tmp_path / "inputs.npz"
    np.savez(path, **{"fc.input": generator.standard_normal((5, 16)).astype(np.float32)})
    return path


def test_weight_recipes_meet_activation_recipes_in_one_table(run: Command) -> None:
    status, out, err = run(
        "compare", "--scheme", "symmetric", "--bits", "8,4", "--granularity", "channel:0",
        "--activation-scheme", "float,asymmetric", "--activation-bits", "8",
    )  # fmt: skip
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].split("  ")[0] == "scheme"
    assert "out SQNR dB" in lines[0]
    rows = [line.split() for line in lines[2:6]]
    assert sorted((row[1], row[2]) for row in rows) == [
        ("4", "asymmetric"), ("4", "float"), ("8", "asymmetric"), ("8", "float"),
    ]  # fmt: skip
    assert "out: the output of 2 layers" in out
    assert all(len(line) <= 80 for line in lines)


def test_the_best_output_comes_first(run: Command, model: Path, inputs: Path) -> None:
    status, out, _ = run(
        "compare", model, "--activations", inputs, "--scheme", "symmetric", "--bits", "4,8",
        "--activation-scheme", "symmetric", "--activation-bits", "3,8", "--format", "json",
    )  # fmt: skip
    assert status == 0
    document = json.loads(out)
    assert {(r["recipe"]["bits"], r["activations"]["bits"]) for r in document["results"]} == {
        (4, 3), (4, 8), (8, 3), (8, 8),
    }  # fmt: skip
    assert all(result["output"]["path"] == "int8" for result in document["results"])
    _, table, _ = run(
        "compare", model, "--activations", inputs, "--scheme", "symmetric", "--bits", "4,8",
        "--activation-scheme", "symmetric", "--activation-bits", "3,8", "--format", "csv",
    )  # fmt: skip
    head, *rows = (line.split(",") for line in table.splitlines())
    column = head.index("output_sqnr_db")
    values = [float(row[column]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert rows[0][head.index("activations")] == "symmetric bits=8 granularity=token"


def test_activations_alone_stay_floating(run: Command, model: Path, inputs: Path) -> None:
    status, out, _ = run(
        "compare", model, "--activations", inputs, "--scheme", "symmetric", "--format", "json"
    )
    assert status == 0
    assert {result["activations"] for result in json.loads(out)["results"]} == {"float"}


def test_bits_alone_mean_asymmetric_codes_a_token(run: Command, model: Path) -> None:
    status, out, _ = run(
        "compare", model, "--activations", "synthetic:normal", "--scheme", "symmetric",
        "--activation-bits", "8", "--format", "json",
    )  # fmt: skip
    assert status == 0
    applied = json.loads(out)["results"][0]["activations"]
    assert (applied["scheme"], applied["bits"], applied["granularity"]) == (
        "asymmetric",
        8,
        "token",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--activation-bits", "8"], "give --activations too: a FILE, or synthetic:normal"),
        (["--activations", "none.npz"], "no such file: 'none.npz'"),
        (["--activations", "synthetic:cauchy"], "activations 'synthetic:cauchy' are not known"),
        (["--activations", "synthetic:normal", "--activation-bits", "x"], "--activation-bits: 'x'"),
        (
            ["--activations", "synthetic:normal", "--activation-scheme", "symetric"],
            "unknown scheme 'symetric', did you mean 'symmetric'?",
        ),
        (
            [
                "--activations",
                "synthetic:normal",
                "--activation-scheme",
                "float",
                "--activation-bits",
                "4",
            ],
            "activations that stay float have neither bits nor granularity",
        ),
        (["--metric", "output_sqnr_db"], "'output_sqnr_db' measures a layer's output"),
    ],
)
def test_a_mistake_is_one_line(
    run: Command, model: Path, arguments: list[str], message: str
) -> None:
    status, out, err = run("compare", model, *arguments)
    assert status in (1, 2)
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_the_activations_are_never_written_over(run: Command, model: Path, inputs: Path) -> None:
    before = inputs.read_bytes()
    status, _, err = run("compare", model, "--activations", inputs, "--output", inputs)
    assert status == 2
    assert "would write over the input" in err
    assert inputs.read_bytes() == before
