"""How the common axis of a product is cut, and how factors are laid out for it.

Matrix units take int8 on both sides, in rows whose length and place are multiples of 16 bytes, and
add up in int32. So unsigned bytes are recentred, u = s + 128; every span of K that has scales of
its own begins at a multiple of 16, filled up with zeros; and spans whose sums int32 may not hold
are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from qcore_cupy.device import Device

ALIGNED = 16

LONGEST = (2**31 - 1) // (128 * 128) // ALIGNED * ALIGNED
"""So many products of int8 never overflow int32."""

CENTRE = 128


@dataclass(frozen=True)
class Piece:
    """Some of K, multiplied at once.

    Attributes:
        start: where it begins in K.
        stop: where it ends.
        at: where it begins in the rows of a factor.
        size: its length there, a multiple of 16.
        span: which span it is of.
    """

    start: int
    stop: int
    at: int
    size: int
    span: int


def padded(length: int) -> int:
    """The next multiple of 16."""
    return -(-length // ALIGNED) * ALIGNED


def pieces_of(spans: Sequence[slice]) -> tuple[Piece, ...]:
    """Spans of K as pieces, one or more each, in order."""
    pieces: list[Piece] = []
    at = 0
    for number, span in enumerate(spans):
        for start in range(span.start, span.stop, LONGEST):
            stop = min(start + LONGEST, span.stop)
            pieces.append(Piece(start, stop, at, padded(stop - start), number))
            at += padded(stop - start)
    return tuple(pieces)


@dataclass(frozen=True, eq=False)
class Factor:
    """A matrix of int8 or uint8, (R, K), laid out to be multiplied along K.

    Attributes:
        matrix: (≥ R, padded K) int8 of the device, C-contiguous; the integers less `centre`.
        rows: R.
        spans: the spans of K.
        pieces: the same as they are multiplied.
        centre: 128 for what was uint8, otherwise 0.
        xp: the device's array module.
    """

    matrix: Any
    rows: int
    spans: tuple[slice, ...]
    pieces: tuple[Piece, ...]
    centre: int
    xp: Any

    @classmethod
    def of(
        cls, device: Device, array: Any, spans: Sequence[slice], *, pad_rows: bool = False
    ) -> Self:
        """Lay out a matrix.

        Args:
            device: where.
            array: (R, K) int8 or uint8, any strides, of the host or of the device.
            spans: of K.
            pad_rows: whether to fill up the rows to a multiple of 16 too, as for a right factor.
        """
        pieces = pieces_of(spans)
        signed, rows = array.dtype == np.int8, array.shape[0]
        height = padded(rows) if pad_rows else rows
        width = sum(piece.size for piece in pieces)
        matrix = device.upload(array)
        fits = (height, width) == matrix.shape and device.address(matrix) % ALIGNED == 0
        if not (fits and signed):
            centred = matrix if signed else (matrix ^ np.uint8(CENTRE)).view(np.int8)
            matrix = device.xp.zeros((height, width), np.int8)
            for source, target in _copies(pieces):
                matrix[:rows, target] = centred[:, source]
        return cls(matrix, rows, tuple(spans), pieces, 0 if signed else CENTRE, device.xp)

    @classmethod
    def right(cls, device: Device, matrix: Any) -> Self:
        """The right operand of a plain product, (K, N) int8 or uint8, laid out."""
        return cls.of(device, matrix.T, [slice(0, matrix.shape[0])], pad_rows=True)

    @cached_property
    def sums(self) -> Any:
        """Σ of the integers less `centre` over each span, (R, spans) int64."""
        body = self.matrix[: self.rows]
        if len({piece.size for piece in self.pieces}) == 1:
            each = body.reshape(self.rows, len(self.pieces), -1).sum(axis=2, dtype=np.int64)
        else:
            ends = [(piece.at, piece.at + piece.size) for piece in self.pieces]
            sums = [body[:, at:end].sum(axis=1, dtype=np.int64) for at, end in ends]
            each = self.xp.stack(sums, axis=1)
        if len(self.pieces) == len(self.spans):
            return each
        of = [[i for i, p in enumerate(self.pieces) if p.span == n] for n in range(len(self.spans))]
        return self.xp.stack([each[:, own].sum(axis=1) for own in of], axis=1)

    @property
    def totals(self) -> Any:
        """Σ of the integers themselves over each span, (R, spans) int64."""
        if not self.centre:
            return self.sums
        columns = range(len(self.spans))
        return self.xp.stack(
            [self.sums[:, n] + self.centre * self.length(n) for n in columns], axis=1
        )

    def length(self, span: int) -> int:
        """How many integers of a row are in a span."""
        taken = self.spans[span]
        return int(taken.stop) - int(taken.start)


def _copies(pieces: Sequence[Piece]) -> list[tuple[slice, slice]]:
    """Runs of K, and where they go; pieces that stay neighbours go together."""
    runs: list[tuple[slice, slice]] = []
    for piece in pieces:
        length = piece.stop - piece.start
        source, target = slice(piece.start, piece.stop), slice(piece.at, piece.at + length)
        if runs and runs[-1][1].stop == target.start:
            source = slice(runs[-1][0].start, source.stop)
            target = slice(runs.pop()[1].start, target.stop)
        runs.append((source, target))
    return runs
