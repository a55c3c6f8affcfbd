"""Golden bytes: what is stored for fixed tensors is, to the bit, what it was.

`tests/golden/<scheme>.json` has, for each recipe and input, the packed codes and the params in
hexadecimal, and a digest of the values that they decode to. A difference is a change of format:
if it is meant, `pytest tests/test_golden.py --update-golden` rewrites the files, for review.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qcore
from qcore.loading import OWN, plugins
from qcore.recipe import DEFAULTS

FOLDER = Path(__file__).parent / "golden"
FLAG = "pytest tests/test_golden.py --update-golden"

Fields = dict[str, str]


# --- inputs ---------------------------------------------------------------------------------------


def noise(count: int, seed: int) -> NDArray[np.float64]:
    """Multiples of 2⁻¹⁵ in [−1, 1): the upper halves of a linear congruential sequence."""
    state, found = seed, []
    for _ in range(count):
        state = (1664525 * state + 1013904223) % 2**32  # Numerical Recipes, 7.1
        found.append((state >> 16) - 2**15)
    return np.array(found) / 2.0**15


def ordinary() -> NDArray[np.float32]:
    """(8, 24): rows of one kind each, all exact in float32."""
    halves = np.arange(24) / 2.0
    rows = [
        noise(24, 1),
        noise(24, 2) * noise(24, 4) * noise(24, 2),  # a heavy tail, rounded to float32 once
        1 + noise(24, 3) / 4,  # far from zero, above
        -2 + noise(24, 4) / 8,  # and below
        np.where(np.arange(24) % 3, 0.0, -0.0),
        np.full(24, 0.75),
        np.concatenate([halves[:15], -halves[:8], [-7.0]]),  # ties of 4 bits around zero
        np.concatenate([halves[:16], 7.5 - halves[:7], [-7.5]]),  # and of 15 steps
    ]
    return np.array(rows).astype(np.float32)


def extreme() -> NDArray[np.float32]:
    """(4, 8): near the ends of float32, and subnormal."""
    largest = float(np.finfo(np.float32).max)
    rows = [
        noise(8, 5) * 2.0**127,
        [largest, -largest, 1.0, 0.0, 2.0**-149, largest / 2, 3e37, -1e-30],
        noise(8, 6) * 2.0**-130,
        [2.0**-149, -(2.0**-149), 2.0**-126, -(2.0**-127), 0.0, 2.0**-140, 2.0**-130, -0.0],
    ]
    return np.array(rows).astype(np.float32)


INPUTS = {"ordinary": ordinary(), "extreme": extreme()}


# --- recipes --------------------------------------------------------------------------------------

NARROW = (2, 3, 4, 5, 6, 7, 8)
WIDE = (*NARROW, 16)
OPTIONS: dict[str, tuple[int, ...]] = {
    "uniform": WIDE,
    "uniform:offset=none": (2, 4, 8, 16),
    "uniform:offset=none:signed=false": (2, 4, 8, 16),
    "uniform:signed=false": (4, 8),
    "symmetric": WIDE,
    "symmetric:full_range=true": (2, 4, 8, 16),
    "symmetric:signed=false": (2, 4, 8, 16),
    "symmetric:signed=false:full_range=true": (4,),
    "asymmetric": WIDE,
    "asymmetric:signed=false": (2, 4, 8, 16),
    "asymmetric:include_zero=false": (2, 4, 8),
    "asymmetric:signed=false:include_zero=false": (4, 8),
    "pot": NARROW,
    "pot:domain=linear": (2, 4, 8),
    "pot:signed=false": (2, 4, 8),
    "pot:signed=false:domain=linear": (4, 8),
    "apot": NARROW,
    "apot:signed=false": NARROW,
    "apot:k=1": (2, 4, 8),
    "apot:k=3": (4, 7),
    "apot:k=8": (3, 8),
    "apot:k=4:signed=false": (4, 8),
}  # fmt: skip
"""Every option of every scheme, and the widths at which it is kept."""

AXES = {
    "granularity": [
        "tensor", "channel:1", "channel:0:groups=2", "group:8", "group:3:0:tail=short",
        "block:2:8", "block:3:7:tail=short", "token",
    ],
    "rounding": [
        "half-up", "half-down", "half-toward-zero", "half-away", "dpu", "floor", "ceil",
        "toward-zero", "stochastic", "stochastic:7",
    ],
    "observer": ["percentile:90", "fixed:-0.5:2"],
    "scale_format": ["float16", "bfloat16", "pow2", "pow2:nearest", "pow2:floor"],
}  # fmt: skip
"""Members of the other axes, each with every scheme's defaults at 4 bits."""


def cases(scheme: str) -> list[str]:
    """The recipes of a scheme, each with its input: `apot bits=4 granularity=token | ordinary`."""
    found = []
    for spec, widths in OPTIONS.items():
        if spec.partition(":")[0] == scheme:
            found += [f"{spec} bits={b} granularity=channel:0 | ordinary" for b in widths]
            found += [f"{spec} bits={b} granularity=channel:0 | extreme" for b in widths[-1:]]
    for axis, members in AXES.items():
        rows = "" if axis == "granularity" else "granularity=channel:0 "
        found += [f"{scheme} bits=4 {rows}{axis}={member} | ordinary" for member in members]
    return found


SCHEMES = list(dict.fromkeys(spec.partition(":")[0] for spec in OPTIONS))


# --- bytes ----------------------------------------------------------------------------------------


def stored(case: str) -> Fields:
    """What is stored, by the public names alone."""
    recipe, _, name = case.partition(" | ")
    q = qcore.quantize(INPUTS[name], qcore.Recipe.parse(recipe))
    found = {"codes": q.pack().tobytes().hex()}
    for field, array in q.params.fields().items():
        found[field] = array.astype(array.dtype.newbyteorder("<")).tobytes().hex()
    values = q.dequantize().astype("<f4").tobytes()
    return found | {"values": hashlib.sha256(values).hexdigest()[:16]}


def differences(kept: dict[str, Fields], found: dict[str, Fields]) -> list[str]:
    """A line for each recipe whose bytes are not those that are kept."""
    lines = [f"{case}: is no longer made" for case in kept if case not in found]
    for case, new in found.items():
        if case not in kept:
            lines.append(f"{case}: is not kept yet")
            continue
        old = kept[case]
        names = dict.fromkeys([*old, *new])
        changed = [name for name in names if old.get(name) != new.get(name)]
        lines += [f"{case}: {', '.join(changed)}"] if changed else []
    return lines


def read(path: Path) -> dict[str, Fields]:
    if not path.exists():
        pytest.fail(f"tests/golden/{path.name} is missing; write it with: {FLAG}", pytrace=False)
    kept: dict[str, Fields] = json.loads(path.read_text(encoding="utf-8"))
    return kept


@pytest.mark.parametrize("scheme", SCHEMES)
def test_stored_bytes_are_what_they_were(scheme: str, pytestconfig: pytest.Config) -> None:
    path = FOLDER / f"{scheme}.json"
    found = {case: stored(case) for case in cases(scheme)}
    if pytestconfig.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        before: dict[str, Fields] = {}
        with contextlib.suppress(OSError, ValueError):  # missing, or left in conflict by a merge
            before = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        changed = differences(before, found)
        message = f"rewrote tests/golden/{path.name}; {len(changed)} of {len(found)} changed"
        pytest.fail("\n  ".join([message, *changed]), pytrace=False)
    changed = differences(read(path), found)
    message = f"{len(changed)} of {len(found)} changed; if that is meant: {FLAG}"
    assert not changed, "\n  ".join([message, *changed])


# --- whether they are all there, and the flag -----------------------------------------------------


def shipped(kind: str) -> dict[str, type[Any]]:
    """What comes with qcore, by id."""
    own = {record.name for record in plugins().records if record.distribution in OWN}
    entries = plugins().registry.entries[kind].items()
    return {id: entry.cls for id, entry in entries if entry.plugin in {*own, "builtin"}}


def test_every_scheme_and_option_is_kept() -> None:
    assert sorted(SCHEMES) == sorted(shipped("scheme"))
    for id, cls in shipped("scheme").items():
        specs = [spec for spec in OPTIONS if spec.partition(":")[0] == id]
        assert id in specs
        for option in (field.name for field in fields(cls) if field.name != "bits"):
            assert any(f":{option}=" in spec for spec in specs), f"{id}:{option}"


@pytest.mark.parametrize("axis", ["granularity", "rounding", "scale_format"])
def test_every_member_of_the_other_axes_is_kept(axis: str) -> None:
    kept = {member.partition(":")[0] for member in [*AXES[axis], DEFAULTS[axis]]}
    assert kept == set(shipped(axis))


def test_a_missing_file_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(
        pytest.fail.Exception, match=r"golden/new\.json is missing.*--update-golden"
    ):
        read(tmp_path / "new.json")


def test_a_difference_names_the_recipe_and_what_changed() -> None:
    kept = {"a": {"codes": "00", "scale": "01"}, "b": {"codes": "00"}}
    found = {"a": {"codes": "0f", "scale": "01", "offset": "02"}, "c": {"codes": "00"}}
    assert differences(kept, kept) == []
    assert differences(kept, found) == [
        "b: is no longer made", "a: codes, offset", "c: is not kept yet",
    ]  # fmt: skip


@pytest.mark.parametrize("before", [None, "<<<<<<< ours", '{"gone": {"codes": "00"}}'])
def test_the_flag_rewrites_and_never_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str | None
) -> None:
    monkeypatch.setitem(globals(), "FOLDER", tmp_path / "golden")
    file = tmp_path / "golden" / "pot.json"
    if before is not None:
        file.parent.mkdir()
        file.write_text(before)
    config: Any = SimpleNamespace(getoption=lambda name: name == "--update-golden")
    with pytest.raises(pytest.fail.Exception, match=r"rewrote tests/golden/pot\.json; \d+ of"):
        test_stored_bytes_are_what_they_were("pot", config)
    monkeypatch.undo()
    assert file.read_bytes() == (FOLDER / "pot.json").read_bytes()
