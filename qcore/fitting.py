"""What quantizing and measuring share: chunks of blocks, and the params that fit them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qcore.blame import keep_traceback, told
from qcore.blocking import Layout
from qcore.builtin.scale_formats import Float32
from qcore.chunk import Chunk
from qcore.errors import NonFiniteError, QcoreError, SchemeError
from qcore.interfaces.backend import Backend
from qcore.interfaces.boundary import check_params, check_range, check_stored_scale
from qcore.interfaces.observer import Range
from qcore.interfaces.quantizer import FitContext
from qcore.loading import plugins
from qcore.observing import Ranges, Source, observer_key
from qcore.params import QuantParams
from qcore.recipe import Recipe
from qcore.scheduling import Job

FLOAT32 = Float32()


@dataclass(frozen=True)
class Cut:
    """How a recipe wants a tensor cut; recipes that want the same share its chunks.

    Attributes:
        granularity: the spec.
        elements: the size of a chunk.
        whole: whether blocks must be whole.
        blocks_first: whether few blocks are taken at a time.
    """

    granularity: str
    elements: int
    whole: bool
    blocks_first: bool

    @classmethod
    def of(cls, recipe: Recipe, backend: Backend) -> Self:
        """Small chunks for all that makes many arrays as large, large ones for the kernels."""
        quantizer, _, rounding, observer, _ = recipe.parts
        whole = quantizer.needs_whole_blocks
        many_passes = observer.passes > 1  # and so, perhaps, a large state for every block
        small = whole or rounding.needs_positions or many_passes
        elements = backend.chunk_elements if small else backend.grid_chunk_elements
        return cls(recipe.granularity, elements, whole, many_passes)

    def chunks(self, layout: Layout) -> list[Chunk]:
        """The chunks of a tensor."""
        return layout.chunks(self.elements, whole=self.whole, blocks_first=self.blocks_first)


def fit_chunk(
    source: Source,
    chunk: Chunk,
    blocks: NDArray[np.float32],
    recipe: Recipe,
    ranges: Ranges,
    observed: dict[Hashable, Range],
) -> QuantParams:
    """The params of a chunk; ranges observed here are kept in `observed` for the next recipe."""
    quantizer, _, _, observer, scale_format = recipe.parts
    key = observer_key(recipe)
    before = ranges.blocks.get(key)
    if isinstance(before, Exception):
        raise before
    if before is not None:
        rows = source.layout.rows(chunk)
        lo, hi = before[0][rows], before[1][rows]
    else:
        if key not in observed:
            observed[key] = observer.observe(blocks, source.trial(recipe, chunk, ranges.tensor))
        lo, hi = observed[key]
    check_range(lo, hi, len(blocks))
    params = quantizer.fit(blocks, FitContext(lo, hi, scale_format.snap, ranges.tensor))
    check_params(params, len(blocks))
    if scale_format != FLOAT32:  # which stores every scale as it is
        check_stored_scale(params.scale, scale_format)
    return params


def count_nonfinite(source: Source, chunks: Sequence[Chunk]) -> Job[NonFiniteError]:
    """The error that counts what is not finite in all of the tensor."""
    counts = yield [partial(source.count_nonfinite, chunk) for chunk in chunks]
    return NonFiniteError(sum(counts), source.layout.size)


def as_own(error: Exception, recipe: Recipe) -> QcoreError:
    """A plugin's exception as one of qcore's, which names the plugin and the line."""
    says_so = str(error).startswith(f"'{recipe}' failed: ")
    if isinstance(error, QcoreError) and (says_so or not isinstance(error, SchemeError)):
        return error
    keep_traceback(error)
    blame = plugins().blame(error, recipe.parts.quantizer)
    own = SchemeError(f"'{recipe}' failed: {told(error)}{blame}")
    own.__cause__ = error
    return own
