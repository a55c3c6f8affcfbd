"""`qcore compare`: any combination of recipes, on stored tensors, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.options import (
    RESULTS,
    TENSORS,
    Exclude,
    Include,
    Integers,
    NonFinite,
    NonFiniteChoice,
    Strict,
    Threads,
    axes,
    items,
    many,
    widths,
)
from qcore.cli.output import (
    Format,
    OutputFormat,
    check_output,
    note,
    note_errors,
    warn_of_plugins,
    write,
)

if TYPE_CHECKING:
    from qcore.results import Comparison

_AXES = "What is compared"
_LAYERS = "What layers receive"


def compare(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Files or folders: safetensors, npy, npz. (default: bundled samples)",
            show_default=False,
        ),
    ] = None,
    scheme: Annotated[
        list[str] | None,
        many("--scheme", "Schemes, such as symmetric,apot:k=3. (default: all)", _AXES),
    ] = None,
    bits: Annotated[
        list[str] | None, many("--bits", "Widths of a code. (default: 8,4)", _AXES)
    ] = None,
    granularity: Annotated[
        list[str] | None,
        many(
            "--granularity",
            "tensor, channel:0, group:128, block:128:128, token. (default: tensor)",
            _AXES,
        ),
    ] = None,
    rounding: Annotated[
        list[str] | None,
        many("--rounding", "half-even, half-away, stochastic:1, ... (default: half-even)", _AXES),
    ] = None,
    observer: Annotated[
        list[str] | None,
        many("--observer", "minmax, percentile:99.9, mse, fixed:0:1. (default: minmax)", _AXES),
    ] = None,
    scale_format: Annotated[
        list[str] | None,
        many("--scale-format", "float32, float16, bfloat16, pow2. (default: float32)", _AXES),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="What to run on. (default: numpy)", rich_help_panel=_AXES),
    ] = None,
    activations: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Measure the output of layers too: a file with their inputs, fc1.input for "
            "fc1.weight, or synthetic:normal; may be repeated. (default, without PATH: the "
            "samples' own)",
            show_default=False,
            rich_help_panel=_LAYERS,
        ),
    ] = None,
    activation_scheme: Annotated[
        list[str] | None,
        many(
            "--activation-scheme",
            "float, which leaves them as they are, asymmetric, ... (default: float; asymmetric "
            "where bits are given)",
            _LAYERS,
        ),
    ] = None,
    activation_bits: Annotated[
        list[str] | None, many("--activation-bits", "Widths of their codes. (default: 8)", _LAYERS)
    ] = None,
    activation_granularity: Annotated[
        list[str] | None,
        many("--activation-granularity", "token, tensor, ... (default: token)", _LAYERS),
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    min_ndim: Annotated[
        int, typer.Option(min=0, help="The fewest dimensions.", rich_help_panel=TENSORS)
    ] = 2,
    integers: Integers = False,
    nonfinite: NonFinite = NonFiniteChoice.error,
    metric: Annotated[
        list[str] | None, many("--metric", "More columns, such as mae,clipped.", RESULTS)
    ] = None,
    per_tensor: Annotated[
        bool,
        typer.Option(
            "--per-tensor",
            help="A row a tensor, worst first.",
            metavar="",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="What to sort by. (default: sqnr_db, with activations output_sqnr_db)",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    format: OutputFormat = Format.table,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write there, not to the screen.", rich_help_panel=RESULTS
        ),
    ] = None,
    threads: Threads = None,
    strict: Strict = False,
) -> int:
    """Compare recipes on stored tensors: the product of all the values given.

    An option that takes several values takes them separated by commas, or repeated.

    Example: qcore compare model.safetensors --scheme symmetric,apot --bits 4,8
    --granularity channel:0,group:128
    """
    import qcore
    from qcore import samples
    from qcore.cli.progress import progress
    from qcore.cli.tables import ComparisonTable

    if not activations and (activation_scheme or activation_bits or activation_granularity):
        if paths:
            raise qcore.UsageError("give --activations too: a FILE, or synthetic:normal")
        activations = [str(samples.path())]
    given = {
        "scheme": scheme,
        "granularity": granularity,
        "rounding": rounding,
        "observer": observer,
        "scale_format": scale_format,
    }
    recipes = qcore.recipe_product(**axes(given), **widths("--bits", bits))
    sorter = qcore.create("metric", sort or ("output_sqnr_db" if activations else "sqnr_db"))
    asked = items("--metric", metric)
    if not paths:
        note("no PATH given: comparing the weights of the bundled digits network")
        paths, include = [samples.path()], include or samples.WEIGHTS
    if output is not None:
        check_output(output, [*paths, *map(Path, activations or ())])
    with progress("comparing") as report:
        comparison = qcore.compare(
            paths,
            recipes,
            activations=activations or None,
            activation_recipes=_activation_recipes(
                activation_scheme, activation_bits, activation_granularity
            ),
            metrics=[*asked, sorter.id],
            include=include,
            exclude=exclude,
            min_ndim=min_ndim,
            integers=integers,
            nonfinite=nonfinite.value,
            backend=backend,
            threads=threads,
            progress=report,
        )
    if format is not Format.table or len(comparison.failed) < len(comparison.rows):
        table = ComparisonTable(comparison, sorter, asked, per_tensor)
        document = comparison.to_dict() if format is Format.json else None
        write(format, table.draw, table.records(), document=document, file=output)
    broken = warn_of_plugins() and strict
    return _report_failures(comparison) or int(broken)


def _activation_recipes(
    scheme: list[str] | None, bits: list[str] | None, granularity: list[str] | None
) -> list[Any]:
    """The product of what is given for the activations; `float` goes with nothing else."""
    import qcore

    names = items("--activation-scheme", scheme)
    quantized = [name for name in names if name != "float"]
    if not names and (bits or granularity):
        quantized = ["asymmetric"]
    if names == ["float"] and (bits or granularity):
        raise qcore.UsageError("activations that stay float have neither bits nor granularity")
    recipes: list[Any] = ["float"] if "float" in names or not quantized else []
    if quantized:
        width = widths("--activation-bits", bits) or {"bits": [8]}
        recipes += qcore.recipe_product(
            scheme=quantized,
            granularity=items("--activation-granularity", granularity) or ["token"],
            **width,
        )
    return recipes


def _report_failures(comparison: Comparison) -> int:
    """A line on standard error for each thing that failed, and the exit status."""
    errors = [unreadable.error for unreadable in comparison.unreadable]
    errors += comparison.broken_metrics.values()
    errors += dict.fromkeys(row.error or "" for row in comparison.failed)
    note_errors(errors, "; --format json has them all")
    if comparison.failed and len(comparison.failed) == len(comparison.rows):
        return 1
    return 3 if errors else 0
