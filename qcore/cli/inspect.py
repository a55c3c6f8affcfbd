"""`qcore inspect`: what a file holds, told from its header alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.options import Exclude, Include
from qcore.cli.output import Format, OutputFormat, note_errors, write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcore.sources import TensorRef

_MOST_ROWS = 400


def inspect(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files or folders.", show_default=False),
    ],
    include: Include = None,
    exclude: Exclude = None,
    format: OutputFormat = Format.table,
) -> int:
    """List the tensors of files: names, shapes, dtypes, how they are stored, and what they take.

    Example: qcore inspect model.gguf --include attn
    """
    import qcore
    from qcore.sources import Selection, from_paths

    refs, unreadable = from_paths(paths)
    if not refs and unreadable:
        raise qcore.ReadError(unreadable[0].error)
    kept, left = Selection(include, exclude, integers=True).apply(refs)
    records = [_record(ref) for ref in kept]
    write(format, lambda _: _table(records, sum(left.values())), records)
    note_errors(each.error for each in unreadable)
    return 3 if unreadable else 0


def _record(ref: TensorRef) -> dict[str, Any]:
    from qcore.builtin.readers.dtypes import BITS, stored_bytes

    nbytes = None if ref.info is None else ref.info.nbytes
    if nbytes is None and ref.dtype in BITS:
        nbytes = stored_bytes(ref.dtype, ref.shape)
    return {
        "tensor": ref.name,
        "source": ref.source,
        "shape": list(ref.shape),
        "dtype": ref.dtype,
        "encoding": ref.encoding or None,
        "elements": math.prod(ref.shape),
        "bytes": nbytes,
    }


def _table(records: list[dict[str, Any]], left: int) -> RenderableType:
    from qcore.cli.columns import Column, Fitted, Kind
    from qcore.cli.sizes import shown_bits, shown_bytes

    columns = [
        Column("tensor", lambda record: record["tensor"], Kind.dotted),
        Column("shape", lambda record: " × ".join(map(str, record["shape"])) or "scalar"),
        Column("stored as", lambda record: record["encoding"] or record["dtype"], Kind.text),
        Column("size", lambda record: shown_bytes(record["bytes"]), Kind.number),
        Column("bits/w", lambda r: shown_bits(r["bytes"], r["elements"]), Kind.number),
    ]
    if len({record["source"] for record in records}) > 1:
        columns.insert(1, Column("file", lambda record: record["source"], Kind.dotted))
    elements = sum(record["elements"] for record in records)
    total = sum(record["bytes"] or 0 for record in records)
    count = f"{len(records)} tensor{'s' * (len(records) != 1)}"
    lines = [f"{count} · {elements:,} elements · {shown_bytes(total)}"]
    if left:
        lines.append(f"{left} left out")
    if len(records) > _MOST_ROWS:
        lines.append(f"{_MOST_ROWS} of {len(records)} rows shown; --format csv has all")
    return Fitted(columns, records[:_MOST_ROWS], " · ".join(lines))
