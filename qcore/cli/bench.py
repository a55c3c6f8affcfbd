"""`qcore bench`: kernels side by side on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.options import items, many, widths
from qcore.cli.output import Format, OutputFormat, check_output, note, note_errors, warn, write

if TYPE_CHECKING:
    from qcore.benching import Lineup

bench = typer.Typer(
    name="bench", help="Time kernels side by side on this machine.", no_args_is_help=True
)


_CONTESTANTS = "What is timed"


Backends = Annotated[
    list[str] | None,
    many("--backend", "(default: all that run here, with kernels of their own)", _CONTESTANTS),
]
Repeat = Annotated[int, typer.Option(min=1, help="Timed rounds.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the data, and of the order in each round.")]
Output = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write there, not to the screen.")
]


@bench.command()
def gemm(
    shape: Annotated[
        list[str] | None,
        many(
            "--shape",
            "MxKxN of (M, K) @ (K, N). (default: a square one, one of a row)",
            _CONTESTANTS,
        ),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        many("--dtype", "Of A and B: s8s8, u8s8, s8u8, u8u8. (default: s8s8,u8s8)", _CONTESTANTS),
    ] = None,
    prepared: Annotated[
        bool | None,
        typer.Option(
            "--prepared/--no-prepared",
            help="B readied before the clock starts. (default: both ways)",
            show_default=False,
            metavar="",
        ),
    ] = None,
    backend: Backends = None,
    repeat: Repeat = 7,
    seed: Seed = 0,
    format: OutputFormat = Format.table,
    output: Output = None,
) -> int:
    """Multiply int8 matrices: the time beside sgemm and a plain copy, and whether sums are exact.

    Without options: 1024x1024x1024 and 1x4096x4096, s8s8 and u8s8.

    Example: qcore bench gemm --shape 64x768x3072 --dtype u8s8 --prepared
    """
    from qcore.benching import bench_gemm
    from qcore.cli.bench_tables import ProductTable

    shapes = _shapes(shape, "1024x1024x1024,1x4096x4096", "MxKxN", axes=3)
    _check(output)
    found = bench_gemm(
        [(m, k, n) for m, k, n in shapes],
        items("--dtype", dtype) or ("s8s8", "u8s8"),
        backends=items("--backend", backend) or None,
        prepared=prepared,
        repeat=repeat,
        seed=seed,
        announce=_announcer(),
    )
    errors = [f"{row.backend}: {row.times.error}" for row in found.rows if row.times.error]
    wrong = [f"{row.backend}: its sums are not exact" for row in found.rows if row.exact is False]
    if format is not Format.table or len(errors) < len(found.rows):
        table = ProductTable(found)
        document = found.to_dict() if format is Format.json else None
        write(format, table.draw, table.records(), document=document, file=output)
    return _report(found.lineup, errors, wrong, len(found.rows))


@bench.command()
def quantize(
    scheme: Annotated[
        list[str] | None,
        many("--scheme", "Schemes, such as symmetric,apot:k=3. (default: all)", _CONTESTANTS),
    ] = None,
    bits: Annotated[
        list[str] | None, many("--bits", "Widths of a code. (default: 8)", _CONTESTANTS)
    ] = None,
    granularity: Annotated[
        list[str] | None,
        many(
            "--granularity", "tensor, channel:0, group:128, token. (default: tensor)", _CONTESTANTS
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        many("--shape", "Of the array, such as 512x512. (default: 2048x2048)", _CONTESTANTS),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        many("--dtype", "float32, float16, bfloat16, float64. (default: float32)", _CONTESTANTS),
    ] = None,
    backend: Backends = None,
    threads: Annotated[int, typer.Option(min=1, help="For the engine; the copy has one.")] = 1,
    repeat: Repeat = 7,
    seed: Seed = 0,
    format: OutputFormat = Format.table,
    output: Output = None,
) -> int:
    """Quantize an array: the time beside a plain copy, and whether codes are the reference's.

    Example: qcore bench quantize --scheme symmetric,apot --bits 8,4 --dtype float32,bfloat16
    """
    import qcore
    from qcore.benching import bench_quantize
    from qcore.cli.bench_tables import QuantizeTable

    axes: dict[str, Any] = {
        "scheme": items("--scheme", scheme) or None,
        "granularity": items("--granularity", granularity) or ["tensor"],
    }
    recipes = qcore.recipe_product(**axes, **(widths("--bits", bits) or {"bits": [8]}), report=warn)
    shapes = _shapes(shape, "2048x2048", "whole numbers joined by x")
    _check(output)
    found = bench_quantize(
        recipes,
        shapes,
        items("--dtype", dtype) or ["float32"],
        backends=items("--backend", backend) or None,
        threads=threads,
        repeat=repeat,
        seed=seed,
        announce=_announcer(),
    )
    errors = [f"{row.recipe} on {row.backend}: {row.error}" for row in found.rows if row.error]
    wrong = [
        f"{row.recipe} on {row.backend}: its codes are not the reference's"
        for row in found.rows
        if row.exact is False
    ]
    if format is not Format.table or len(errors) < len(found.rows):
        table = QuantizeTable(found)
        document = found.to_dict() if format is Format.json else None
        write(format, table.draw, table.records(), document=document, file=output)
    return _report(found.lineup, errors, wrong, len(found.rows))


def _shapes(
    values: list[str] | None, default: str, form: str, axes: int | None = None
) -> list[tuple[int, ...]]:
    """Shapes from text.

    Args:
        values: of the option.
        default: what they are if none is given; the first is the example in an error.
        form: how they are written.
        axes: how many sizes each has; any number, if None.
    """
    from qcore.errors import UsageError

    shapes = []
    for text in items("--shape", values) or default.split(","):
        sizes = text.lower().replace("×", "x").split("x")
        well_formed = all(s.isascii() and s.isdecimal() and len(s) < 19 for s in sizes)
        if not well_formed or len(sizes) != (axes or len(sizes)):
            example = default.split(",")[0]
            raise UsageError(f"--shape: '{text}' is no shape; write {form}, such as {example}")
        shapes.append(tuple(map(int, sizes)))
    return shapes


def _check(output: Path | None) -> None:
    if output is not None:
        check_output(output, [])


def _announcer() -> Callable[[str], None] | None:
    """Tells a person what is measured next. A bar that moves would take time from the kernels."""
    if not sys.stderr.isatty():
        return None
    return lambda what: note(f"measuring {what}")


def _report(lineup: Lineup, errors: list[str], wrong: list[str], rows: int) -> int:
    """A line on standard error for all that could not run, failed or is wrong; the exit status."""
    for id, reason in lineup.unavailable.items():
        note(f"backend '{id}' cannot run here: {reason}")
    note_errors(dict.fromkeys(errors + wrong))
    if wrong or len(errors) == rows:
        return 1
    return 3 if errors else 0
