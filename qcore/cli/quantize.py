"""`qcore quantize` and `qcore dequantize`: checkpoints written back."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.options import Exclude, Include, MinDim, NonFinite, NonFiniteChoice, Threads
from qcore.cli.output import Format, OutputFormat, check_output, note, write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcore.conversion import Written

Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="The safetensors file to write."),
]
Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A file or folder: safetensors, GGUF, ONNX, .pt, ..."),
]


class DecodedType(enum.StrEnum):
    """What decoded tensors become."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def quantize(
    model: Model,
    output: Output,
    recipe: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE...",
            help="What quantizes all that no rule matches, such as: apot:k=2 bits=4 "
            "granularity=group:128. Without it those stay as they are.",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=RECIPE",
            help="A recipe, or keep, for the tensors whose name matches; may be repeated, and the "
            "first that matches counts.",
            show_default=False,
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file of rules, after those given by --rule."),
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    min_ndim: MinDim = 2,
    nonfinite: NonFinite = NonFiniteChoice.error,
    format: OutputFormat = Format.table,
    threads: Threads = None,
) -> int:
    """Quantize a checkpoint into one safetensors file: packed codes, scales, and their recipes.

    Floating tensors of two dimensions and more are quantized; all others stay as they are.

    Example: qcore quantize model.safetensors symmetric bits=4 granularity=group:128
    --rule 'lm_head=keep' -o small.safetensors
    """
    import qcore
    from qcore.cli.progress import progress
    from qcore.rules import read_rules

    chosen = [qcore.Rule.parse(text) for text in rule or ()]
    chosen += [] if rules is None else read_rules(rules)
    chosen += [qcore.Rule("", qcore.Recipe.parse(" ".join(recipe)))] if recipe else []
    if not chosen:
        raise qcore.UsageError("give a RECIPE for all, or --rule PATTERN=RECIPE")
    check_output(output, [model])
    with progress("quantizing") as report:
        written = qcore.quantize_file(
            model,
            output,
            chosen,
            include=include,
            exclude=exclude,
            min_ndim=min_ndim,
            nonfinite=nonfinite.value,
            threads=threads,
            progress=report,
        )
    for unused in chosen:
        if unused.pattern and not any(unused.matches(each.name) for each in written):
            note(f"qcore: rule '{unused.pattern}' matches no tensor", style="yellow")
    _show(written, format)
    return 0


def dequantize(
    model: Model,
    output: Output,
    dtype: Annotated[
        DecodedType, typer.Option(help="What they become; float32 is exact.")
    ] = DecodedType.float32,
    format: OutputFormat = Format.table,
) -> int:
    """Write a quantized checkpoint with its tensors decoded; all others stay as they are.

    Example: qcore dequantize small.safetensors -o large.safetensors --dtype bfloat16
    """
    import qcore
    from qcore.cli.progress import progress

    check_output(output, [model])
    with progress("dequantizing") as report:
        written = qcore.dequantize_file(model, output, dtype=dtype.value, progress=report)
    _show(written, format)
    return 0


def _show(written: Sequence[Written], format: Format) -> None:
    """What became of the tensors: on the screen a line for each recipe, as data each by itself."""
    records = [
        {
            "tensor": each.name,
            "how": each.how,
            "elements": each.elements,
            "bytes_before": each.before,
            "bytes": each.after,
        }
        for each in written
    ]
    write(format, lambda _: _table(written), records)


def _table(written: Sequence[Written]) -> RenderableType:
    from qcore.cli.columns import Column, Fitted, Kind
    from qcore.cli.sizes import shown_bits, shown_bytes

    groups: dict[str, list[Written]] = {}
    for each in written:
        groups.setdefault(each.how, []).append(each)
    rows = [{"how": how, **_together(group)} for how, group in groups.items()]
    columns = [
        Column("recipe", lambda row: row["how"], Kind.text),
        Column("tensors", lambda row: f"{row['tensors']:,}", Kind.number),
        Column("elements", lambda row: f"{row['elements']:,}", Kind.number),
        Column("before", lambda row: shown_bytes(row["before"]), Kind.number),
        Column("after", lambda row: shown_bytes(row["after"]), Kind.number),
        Column("bits/w", lambda row: shown_bits(row["after"], row["elements"]), Kind.number),
    ]
    count, _, before, after = _together(written).values()
    ratio = f", {before / after:.2f} times smaller" if after and before > after else ""
    caption = f"{count} tensor{'s' * (count != 1)} · {shown_bytes(before)} → {shown_bytes(after)}"
    return Fitted(columns, rows, caption + ratio)


def _together(written: Sequence[Written]) -> dict[str, int]:
    """How many tensors, and what they take in all."""
    return {
        "tensors": len(written),
        "elements": sum(each.elements for each in written),
        "before": sum(each.before for each in written),
        "after": sum(each.after for each in written),
    }
