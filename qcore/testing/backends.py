"""Checks of backends: codes, values and sums are the reference's, whatever the scheme."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.builtin.backends import Reference
from qcore.error_detail import HISTOGRAMS
from qcore.error_stats import MEASURED, SUMS, ErrorStats
from qcore.interfaces.backend import Backend
from qcore.interfaces.grid_quantizer import GridQuantizer
from qcore.interfaces.quantizer import Quantizer
from qcore.interfaces.rounding import RoundingPolicy
from qcore.loading import ids, plugins
from qcore.params import QuantParams
from qcore.testing.blocks import LARGEST, Floats, frozen, layouts, ordinary, positions
from qcore.testing.examples import examples, label
from qcore.testing.laws import (
    CheckSkipped,
    given,
    law,
    require,
    require_close,
    require_same,
    require_unchanged,
)
from qcore.testing.scheme_runs import HALF_EVEN, fitted
from qcore.testing.side_by_side import side_by_side
from qcore.testing.stand_ins import Levels, Signs, Steps

_REFERENCE = Reference()
_DIGITS = 1e-5
_MOST_POINTS = 160


@dataclass(frozen=True, eq=False)
class Case:
    """A scheme, and blocks that lie where its codes change."""

    scheme: Quantizer
    blocks: Floats
    params: QuantParams


def require_available(backend: Backend) -> None:
    """Skip what cannot be tried on this machine.

    Raises:
        CheckSkipped: the backend says that it cannot run here.
    """
    reason = backend.available()
    if reason is not None:
        raise CheckSkipped(f"'{backend}' cannot run here: {reason}")


@functools.cache
def cases() -> tuple[Case, ...]:
    """Every scheme that is installed, and some of each kind that need not be."""
    own = [Steps(4), Steps(8, zero_point=True), Steps(3, offset=True), Levels(), Levels(False)]
    installed = [s for id in ids("scheme") for s in examples(plugins().get("scheme", id))]
    return tuple(_case(scheme) for scheme in (*own, Signs(), *installed))


@functools.cache
def policies() -> tuple[RoundingPolicy, ...]:
    """Every rounding policy that is installed."""
    return tuple(p for id in ids("rounding") for p in examples(plugins().get("rounding", id)))


def _case(scheme: Quantizer) -> Case:
    """Blocks of three sizes, of elements at, beside and between what codes stand for."""
    normal = ordinary()[-1].blocks[:, :40]
    sized = normal * np.array([[1], [1e-30], [1e30]], np.float32)
    with np.errstate(all="ignore"):
        params = fitted(scheme, frozen(sized))
        if not isinstance(scheme, GridQuantizer):
            return Case(scheme, frozen(sized), params)
        units = scheme.grid.units
        points = np.sort(np.concatenate([units, (units[1:] + units[:-1]) / 2, 1.3 * units]))
        points = points[np.linspace(0, points.size - 1, min(points.size, _MOST_POINTS)).astype(int)]
        z: Any = 0 if params.zero_point is None else params.zero_point
        offset: Any = 0 if params.offset is None else params.offset.astype(np.float64)
        exact = (points - z) * params.scale.astype(np.float64) + offset
        x = np.clip(exact, -LARGEST, LARGEST).astype(np.float32)
        beside = [np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))]
        blocks = np.clip(np.hstack([x, *beside, sized]), -LARGEST, LARGEST)
    return Case(scheme, frozen(blocks.astype(np.float32)), params)


def _tried(case: Case, policy: RoundingPolicy) -> Any:
    return given(f"scheme {label(case.scheme)}, rounding {policy}")


def _given(blocks: Floats) -> Iterator[tuple[str, Floats]]:
    for name, laid_out in layouts(blocks):
        yield name, frozen(laid_out)


@law
def check_backend_available(backend: Backend) -> None:
    """available() is None, or says in one line why the backend cannot run here."""
    reason = backend.available()
    if reason is not None:
        require(isinstance(reason, str) and reason.strip(), f"gave {reason!r}")
        require("\n" not in reason, f"gave more than one line: {reason!r}")
    require(backend.available() == reason, "said something else when asked again")
    for name in ("chunk_elements", "grid_chunk_elements"):
        size = getattr(backend, name)
        require(isinstance(size, int) and size >= 1, f"{name} is {size!r}")


@law
def check_backend_encodes_as_the_reference(backend: Backend) -> None:
    """Codes are the reference's, to the bit: for every scheme and rounding, in any memory order."""
    require_available(backend)
    for case in cases():
        for policy in policies():
            with _tried(case, policy):
                placed = policy.at(positions(case.blocks.shape))
                expected = _REFERENCE.encode(case.scheme, case.blocks, case.params, placed)
                orders = _given(case.blocks) if policy == HALF_EVEN else [("", case.blocks)]
                for name, blocks in orders:
                    codes = backend.encode(case.scheme, blocks, case.params, placed)
                    require_same(f"codes {name}", codes, expected, x=case.blocks)
                    dtype = case.scheme.code_dtype
                    require(codes.dtype == dtype, f"codes are {codes.dtype}, not {dtype}")


@law
def check_backend_decodes_as_the_reference(backend: Backend) -> None:
    """Values of codes are the reference's, to the bit, in float32 and any memory order."""
    require_available(backend)
    for case in cases():
        with _tried(case, HALF_EVEN):
            codes = _REFERENCE.encode(case.scheme, case.blocks, case.params, HALF_EVEN)
            expected = _REFERENCE.decode(case.scheme, codes, case.params)
            for turned in (codes, np.asfortranarray(codes)):
                values = backend.decode(case.scheme, frozen(turned), case.params)
                require_same("values", values, expected, code=codes)
                require(values.dtype == np.float32, f"values are {values.dtype}")


@law
def check_backend_measures_as_the_reference(backend: Backend) -> None:
    """Error sums are the reference's to five digits; those not asked for are NaN or empty."""
    require_available(backend)
    for case in cases():
        row = slice(0, 1)  # sums of blocks of one size
        blocks, params = frozen(case.blocks[row]), case.params.rows(row)
        with _tried(case, HALF_EVEN):
            args = (case.scheme, blocks, params, HALF_EVEN)
            expected = _REFERENCE.measure(*args, MEASURED)
            for sums in (MEASURED, ("x2", "e2"), ("clipped",), ("errors",), ()):
                found = backend.measure(*args, sums)
                require(found.count == blocks.size, f"counted {found.count} of {blocks.size}")
                for name in SUMS:
                    value, wanted = getattr(found, name), getattr(expected, name)
                    if name not in sums:
                        require(math.isnan(value), f"{name} is {value}, though not asked for")
                        continue
                    size = math.sqrt(expected.x2 * expected.y2) if name == "xy" else abs(wanted)
                    close = math.isnan(wanted) or abs(value - wanted) <= _DIGITS * size
                    require(close, f"{name}: expected {wanted!r}, got {value!r}")
                _require_same_histograms(found, expected, sums)


def _require_same_histograms(
    found: ErrorStats, expected: ErrorStats, sums: Collection[str]
) -> None:
    """Fail unless the bins and their counts are the reference's, and sums of a bin close."""
    for name in HISTOGRAMS:
        own, wanted = getattr(found, name), getattr(expected, name)
        if name not in sums:
            require(not own.count, f"{name} has {own.count} elements, though not asked for")
            continue
        require_same(f"the bins of {name}", own.bins, wanted.bins)
        require_same(f"the counts of {name}", own.counts, wanted.counts)
        for key, total in wanted.sums.items():
            require(key in own.sums, f"{name} has no {key}")
            require_close(f"the {key} of {name}", own.sums[key], total, _DIGITS)


@law
def check_backend_leaves_its_input_alone(backend: Backend) -> None:
    """Blocks, params and codes are not written to; what one call gave, the next leaves as it is."""
    require_available(backend)
    for case in cases()[:6]:
        with _tried(case, HALF_EVEN):
            blocks, params = case.blocks.copy(), case.params
            fields = {name: array.copy() for name, array in params.fields().items()}
            codes = backend.encode(case.scheme, blocks, params, HALF_EVEN)
            values = backend.decode(case.scheme, codes, params)
            backend.measure(case.scheme, blocks, params, HALF_EVEN, MEASURED)
            require_unchanged("blocks", case.blocks, blocks)
            kept = codes.copy(), values.copy()
            other = frozen(-blocks[:, ::-1])
            backend.decode(
                case.scheme, backend.encode(case.scheme, other, params, HALF_EVEN), params
            )
            backend.measure(case.scheme, other, params, HALF_EVEN, MEASURED)
            require_unchanged("the codes of the first call, by the second,", kept[0], codes)
            require_unchanged("the values of the first call, by the second,", kept[1], values)
            for name, array in params.fields().items():
                require_unchanged(f"params.{name}", fields[name], array)


@law
def check_backend_in_many_threads(backend: Backend) -> None:
    """Threads that share the backend do not disturb one another."""
    require_available(backend)
    some = cases()[:6]

    def codes(case: Case) -> NDArray[Any]:
        return backend.encode(case.scheme, case.blocks, case.params, HALF_EVEN)

    expected = [codes(case) for case in some]
    found = side_by_side([partial(codes, case) for case in some])
    for case, own, wanted in zip(some, found, expected, strict=True):
        with _tried(case, HALF_EVEN):
            require_same("codes", own, wanted, x=case.blocks)


CHECKS = (
    check_backend_available,
    check_backend_encodes_as_the_reference,
    check_backend_decodes_as_the_reference,
    check_backend_measures_as_the_reference,
    check_backend_leaves_its_input_alone,
    check_backend_in_many_threads,
)
