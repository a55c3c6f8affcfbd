"""Checks of schemes: what fit, encode and decode give, and what they leave alone."""

from __future__ import annotations

import dataclasses

import numpy as np

from qcore.builtin.roundings import Ceil, Floor
from qcore.builtin.scale_formats import BFloat16, Float16, Pow2
from qcore.errors import UsageError
from qcore.interfaces.grid_quantizer import GridQuantizer
from qcore.interfaces.quantizer import Quantizer
from qcore.spec import has_field
from qcore.testing.blocks import frozen, ordinary
from qcore.testing.laws import (
    CheckSkipped,
    given,
    law,
    require,
    require_same,
    require_unchanged,
)
from qcore.testing.scheme_runs import HALF_EVEN, context_of, decoded, encoded, fitted, run, squares

_MOST_CODES = 4096


@law
def check_scheme_widths(scheme: Quantizer) -> None:
    """There are 1 to 16 code_bits, and code_range fits them and code_dtype; bits is at least 1."""
    require(isinstance(scheme.bits, int) and scheme.bits >= 1, f"bits is {scheme.bits!r}")
    width, (low, high) = scheme.code_bits, scheme.code_range
    require(isinstance(width, int) and 1 <= width <= 16, f"code_bits is {width!r}")
    least, most = (
        (-(1 << (width - 1)), (1 << (width - 1)) - 1) if low < 0 else (0, (1 << width) - 1)
    )
    require(low < high, f"code_range is {low} … {high}")
    require(
        least <= low and high <= most,
        f"{width} bits hold {least} … {most}, but code_range is {low} … {high}",
    )
    held = np.iinfo(scheme.code_dtype)
    require(
        held.min <= low and high <= held.max,
        f"code_dtype {scheme.code_dtype} does not hold {low} … {high}",
    )


@law
def check_scheme_refuses_widths(scheme: Quantizer) -> None:
    """A width that no scheme has, 0 or 99 bits, is refused when the object is made."""
    if not has_field(type(scheme), "bits"):
        raise CheckSkipped("its width is fixed")
    for bits in (0, 99):
        try:
            dataclasses.replace(scheme, bits=bits)  # type: ignore[type-var]  # a dataclass it is
        except UsageError:
            continue
        require(False, f"bits={bits} is accepted; refuse widths with qcore.check_bits")


@law
def check_scheme_params(scheme: Quantizer) -> None:
    """Params have a row a block: the scale is (n, 1) float32, positive and finite."""
    for sample in ordinary():
        with sample.tried() as blocks:
            fitted(scheme, blocks)


@law
def check_scheme_scale_is_stored(scheme: Quantizer) -> None:
    """The scale is one that the scale format stores: context.snap gave it, and would again."""
    for scale_format in (Float16(), BFloat16(), Pow2()):
        for sample in ordinary():
            with sample.tried() as blocks:
                scale = fitted(scheme, blocks, scale_format).scale
                what = f"the scale that {scale_format} stores; give context.snap(scale)"
                require_same(what, scale, scale_format.snap(scale))


@law
def check_scheme_codes(scheme: Quantizer) -> None:
    """Codes are integers in the shape of the blocks, all of them in code_range."""
    for sample in ordinary():
        with sample.tried() as blocks:
            params = fitted(scheme, blocks)
            encoded(scheme, blocks, params)
            # With a scale too small for the blocks, most of them must be clipped.
            narrow = fitted(scheme, frozen(blocks * np.float32(0.01)))
            encoded(scheme, blocks, narrow)


@law
def check_scheme_values(scheme: Quantizer) -> None:
    """Values are finite floats in the shape of the codes."""
    for sample in ordinary():
        with sample.tried() as blocks:
            run(scheme, blocks)


@law
def check_scheme_every_code_has_a_value(scheme: Quantizer) -> None:
    """Every code in code_range has a finite value, whether encode gives it or not."""
    low, high = scheme.code_range
    every = np.unique(np.linspace(low, high, min(high - low + 1, _MOST_CODES)).astype(np.int64))
    codes = np.stack([every, every[::-1]]).astype(scheme.code_dtype)
    blocks = ordinary()[-1].blocks[:2]
    with given(f"each code from {low} to {high}"):
        decoded(scheme, codes, fitted(scheme, blocks))


@law
def check_scheme_leaves_its_input_alone(scheme: Quantizer) -> None:
    """Blocks, params and codes are not written to, and may be read-only."""
    for sample in ordinary():
        with sample.tried() as blocks:
            own, context = blocks.copy(), context_of(scheme, blocks)
            ends = context.lo.copy(), context.hi.copy()
            params = scheme.fit(own, context)
            require_unchanged("blocks, by fit,", blocks, own)
            require_unchanged("context.lo", ends[0], context.lo)
            require_unchanged("context.hi", ends[1], context.hi)
            before = {name: array.copy() for name, array in params.fields().items()}
            codes = encoded(scheme, own, params)
            require_unchanged("blocks, by encode,", blocks, own)
            stored = codes.copy()
            scheme.decode(codes, params)
            require_unchanged("codes, by decode,", stored, codes)
            for name, array in params.fields().items():
                require_unchanged(f"params.{name}", before[name], array)
                array.flags.writeable = False
            decoded(scheme, frozen(codes), params)
            run(scheme, blocks)


@law
def check_scheme_results_are_its_own(scheme: Quantizer) -> None:
    """What one call gave is not written over by the next, nor a view of what it was given."""
    first, second = ordinary()[-1].blocks, frozen(ordinary()[-1].blocks[:, ::-1] * np.float32(3))
    with ordinary()[-1].tried():
        params = scheme.fit(first, context_of(scheme, first))
        codes = scheme.encode(first, params, HALF_EVEN)
        values = scheme.decode(codes, params)
        kept = [array.copy() for array in (*params.fields().values(), codes, values)]
        run(scheme, second)
        for old, now in zip(kept, (*params.fields().values(), codes, values), strict=True):
            require_unchanged("a result of the first call, by the second,", old, now)
        require(not np.shares_memory(values, codes), "decode gave a view of the codes")
        require(not np.shares_memory(codes, first), "encode gave a view of the blocks")


@law
def check_scheme_is_deterministic(scheme: Quantizer) -> None:
    """The same blocks give the same params, codes and values, however often."""
    for sample in ordinary():
        with sample.tried() as blocks:
            first, second = run(scheme, blocks), run(scheme, blocks)
            require_same("codes", second.codes, first.codes, x=blocks)
            require_same("values", second.values, first.values, x=blocks)
            for name, array in first.params.fields().items():
                require_same(name, second.params.fields()[name], array)


@law
def check_scheme_keeps_what_it_gave(scheme: Quantizer) -> None:
    """Its own values stay: decode(encode(x̂)) is x̂ with the same params, rounding to nearest."""
    for sample in ordinary():
        with sample.tried() as blocks:
            first = run(scheme, blocks)
            again = encoded(scheme, first.values, first.params)
            values = decoded(scheme, again, first.params)
            require_same("values of values", values, first.values, x=blocks)


@law
def check_scheme_nearest_is_best(scheme: Quantizer) -> None:
    """Rounding half-even leaves no larger Σe² than rounding everything down or up does."""
    for sample in ordinary():
        with sample.tried() as blocks:
            best = squares(run(scheme, blocks).values - blocks.astype(np.float64))
            for policy in (Floor(), Ceil()):
                other = squares(run(scheme, blocks, policy).values - blocks.astype(np.float64))
                require(
                    best <= other * (1 + 1e-6),
                    f"Σe² is {best:.6g} with half-even, and {other:.6g} with {policy}",
                )


@law
def check_scheme_obeys_the_policy(scheme: Quantizer) -> None:
    """No value is higher when rounding down than half-even, nor that one than rounding up."""
    for sample in ordinary():
        with sample.tried() as blocks:
            down, near, up = (run(scheme, blocks, p).values for p in (Floor(), HALF_EVEN, Ceil()))
            require_same("the lower of floor and half-even", np.minimum(down, near), down, x=blocks)
            require_same("the lower of half-even and ceil", np.minimum(near, up), near, x=blocks)


@law
def check_scheme_is_its_grid(scheme: Quantizer) -> None:
    """A grid scheme codes as its grid says, since every fast kernel does; its units are finite."""
    if not isinstance(scheme, GridQuantizer):
        raise CheckSkipped(f"'{scheme}' is no GridQuantizer")
    grid = scheme.grid
    require(grid == scheme.grid, "grid gives another grid each time; it is a value")
    require(scheme.code_bits == grid.code_bits, f"code_bits is not the grid's {grid.code_bits}")
    require(scheme.code_range == grid.code_range, f"code_range is not the grid's {grid.code_range}")
    require(
        np.isfinite(grid.units).all() and (np.diff(grid.units) > 0).all(), "units not ascending"
    )
    for sample in ordinary():
        with sample.tried() as blocks:
            found = run(scheme, blocks)
            codes = GridQuantizer.encode(scheme, blocks, found.params, HALF_EVEN)
            require_same("codes beside the grid's", found.codes, codes, x=blocks)
            values = GridQuantizer.decode(scheme, codes, found.params)
            require_same("values beside the grid's", found.values, values, x=blocks)


CHECKS = (
    check_scheme_widths,
    check_scheme_refuses_widths,
    check_scheme_params,
    check_scheme_scale_is_stored,
    check_scheme_codes,
    check_scheme_values,
    check_scheme_every_code_has_a_value,
    check_scheme_leaves_its_input_alone,
    check_scheme_results_are_its_own,
    check_scheme_is_deterministic,
    check_scheme_keeps_what_it_gave,
    check_scheme_nearest_is_best,
    check_scheme_obeys_the_policy,
    check_scheme_is_its_grid,
)
