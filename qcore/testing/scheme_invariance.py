"""Checks of schemes: codes depend on the elements alone, not on how they come."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.builtin.backends import Reference
from qcore.builtin.roundings import Stochastic
from qcore.engine import quantize
from qcore.error_stats import SUMS
from qcore.interfaces.quantizer import FitContext, Quantizer
from qcore.loading import create, ids
from qcore.params import QuantParams
from qcore.testing.blocks import frozen, layouts, ordinary, positions
from qcore.testing.laws import CheckSkipped, given, law, require_close, require_same
from qcore.testing.scheme_runs import HALF_EVEN, context_of, encoded, fitted, recipe_of, run
from qcore.testing.side_by_side import side_by_side

_ROUNDED = 1e-5
"""What sums in float32 may differ by when they are added up in another order."""

_STOCHASTIC = Stochastic(3)


@dataclass(frozen=True)
class _SmallChunks(Reference):
    """The reference, handed a few elements at a time."""

    chunk_elements: ClassVar[int] = 60
    grid_chunk_elements: ClassVar[int] = 60


@law
def check_scheme_ignores_memory_order(scheme: Quantizer) -> None:
    """Blocks in Fortran order, strided or reversed in memory give the same codes and values."""
    for sample in ordinary():
        with sample.tried() as blocks:
            expected = run(scheme, blocks)
            for name, laid_out in layouts(blocks):
                with given(name):
                    _require_same_params(fitted(scheme, laid_out), expected.params)
                    codes = encoded(scheme, laid_out, expected.params)
                    require_same("codes", codes, expected.codes, x=blocks)
            turned = np.asfortranarray(expected.codes)
            values = scheme.decode(turned, expected.params)
            require_same("values of codes in Fortran order", values, expected.values, x=blocks)


@law
def check_scheme_blocks_are_independent(scheme: Quantizer) -> None:
    """A block has the params and codes alone that it has among others."""
    for sample in ordinary():
        with sample.tried() as blocks:
            context, among = context_of(scheme, blocks), fitted(scheme, blocks)
            policy, at = HALF_EVEN, positions(blocks.shape)
            stochastic = encoded(scheme, blocks, among, _STOCHASTIC.at(at))
            codes = encoded(scheme, blocks, among, policy)
            for i in range(min(len(blocks), 6)):
                row, own = slice(i, i + 1), _rows(context, slice(i, i + 1))
                _require_same_params(scheme.fit(blocks[row], own), among.rows(row))
                one = encoded(scheme, blocks[row], among.rows(row), policy)
                require_same(f"codes of block {i}", one, codes[row], x=blocks[row])
                one = encoded(scheme, blocks[row], among.rows(row), _STOCHASTIC.at(at[row]))
                require_same(f"codes of block {i}, {_STOCHASTIC},", one, stochastic[row])


@law
def check_scheme_blocks_may_come_in_pieces(scheme: Quantizer) -> None:
    """A scheme that needs no whole blocks gives each piece of a block its codes; fit goes by range.

    A scheme whose fit or codes depend on the whole block sets `needs_whole_blocks`.
    """
    if scheme.needs_whole_blocks:
        raise CheckSkipped(f"'{scheme}' needs whole blocks")
    for sample in ordinary():
        with sample.tried() as blocks:
            context, params = context_of(scheme, blocks), fitted(scheme, blocks)
            at = positions(blocks.shape)
            for policy in (HALF_EVEN, _STOCHASTIC):
                whole = encoded(scheme, blocks, params, policy.at(at))
                third = -(-blocks.shape[1] // 3)
                for start in range(0, blocks.shape[1], third):
                    part = np.s_[:, start : start + third]
                    piece = frozen(blocks[part].copy())
                    _require_same_params(scheme.fit(piece, context), params)
                    codes = encoded(scheme, piece, params, policy.at(at[part]))
                    require_same(f"codes of {part[1]}, {policy},", codes, whole[part], x=piece)


@law
def check_scheme_chunks_and_threads(scheme: Quantizer) -> None:
    """Whatever the chunks, threads and memory order, qcore.quantize gives the same codes."""
    x = _tensor()
    for granularity in ("tensor", "channel:0", "channel:1", "group:8:tail=short"):
        for rounding in ("half-even", "stochastic:7"):
            recipe = recipe_of(scheme, granularity=granularity, rounding=rounding)
            with given(f"granularity={granularity} rounding={rounding}, shape {x.shape}"):
                expected = quantize(x, recipe, backend=Reference(), threads=1)
                found = quantize(x, recipe, backend=_SmallChunks(), threads=2)
                require_same("codes, small chunks, 2 threads,", found.codes, expected.codes, x=x)
                _require_same_params(found.params, expected.params)
                turned = quantize(np.asfortranarray(x), recipe, backend=Reference(), threads=1)
                require_same("codes in Fortran order", turned.codes, expected.codes, x=x)


@law
def check_scheme_granularity_is_all(scheme: Quantizer) -> None:
    """With a scale a row, a row gets the codes that it gets as a tensor of its own."""
    if scheme.needs_tensor_range:
        raise CheckSkipped(f"'{scheme}' depends on the range of the whole tensor")
    x = _tensor()
    together = quantize(x, recipe_of(scheme, granularity="token"), threads=1)
    for i, row in enumerate(x):
        alone = quantize(row, recipe_of(scheme), threads=1)
        require_same(f"codes of row {i}", alone.codes, together.codes[i], x=row)


@law
def check_scheme_on_every_backend(scheme: Quantizer) -> None:
    """Every backend that is installed gives the scheme's own codes, and its errors."""
    sample = ordinary()[-1]
    for id in ids("backend"):
        backend = create("backend", id)
        if backend.available() is not None:
            continue
        with given(f"backend {id}"), sample.tried() as blocks:
            own = run(scheme, blocks)
            codes = backend.encode(scheme, blocks, own.params, HALF_EVEN)
            require_same("codes", codes, own.codes, x=blocks)
            args = (scheme, blocks, own.params, HALF_EVEN, SUMS)
            found, expected = backend.measure(*args), Reference().measure(*args)
            require_close("Σe²", found.e2, expected.e2, 1e-5)


@law
def check_scheme_in_many_threads(scheme: Quantizer) -> None:
    """Threads that share the object do not disturb one another."""
    many = [frozen(ordinary()[-1].blocks * np.float32(k)) for k in (1, -2, 0.3, 7)]
    expected = [run(scheme, blocks).values for blocks in many]
    found = side_by_side([partial(run, scheme, blocks) for blocks in many])
    for i, (one, wanted) in enumerate(zip(found, expected, strict=True)):
        require_same(f"values in thread {i}", one.values, wanted, x=many[i])


def _tensor() -> NDArray[np.float32]:
    random = np.random.default_rng(7)
    return frozen((random.standard_normal((6, 50)) * 10.0 ** random.integers(-1, 2, (6, 1)))
                  .astype(np.float32))  # fmt: skip


def _rows(context: FitContext, rows: slice) -> FitContext:
    return FitContext(context.lo[rows], context.hi[rows], context.snap, context.tensor_range)


def _require_same_params(found: QuantParams, expected: QuantParams) -> None:
    fields = found.fields()
    for name, array in expected.fields().items():
        if array.dtype.kind == "f":
            require_close(name, fields[name], array, _ROUNDED)
        else:
            require_same(name, fields[name], array)


CHECKS = (
    check_scheme_ignores_memory_order,
    check_scheme_blocks_are_independent,
    check_scheme_blocks_may_come_in_pieces,
    check_scheme_chunks_and_threads,
    check_scheme_granularity_is_all,
    check_scheme_on_every_backend,
    check_scheme_in_many_threads,
)
