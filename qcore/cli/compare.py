"""`qcore compare`: any combination of recipes, on stored tensors, in one table."""

from __future__ import annotations

from dataclasses import asdict
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
    warn,
    warn_of_plugins,
    write,
)

if TYPE_CHECKING:
    from qcore.results import Comparison

_AXES = "What is compared"
_LAYERS = "What layers receive"
_RUNS = "How it runs"

_INTERRUPTED = 130


def compare(
    paths: Annotated[
        list[str] | None,
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
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Another checkpoint with the same tensors, such as what another tool has "
            "quantized: its error is measured too, and alone where no option of this panel is "
            "given; may be repeated.",
            show_default=False,
            rich_help_panel=_AXES,
        ),
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
    deciles: Annotated[
        bool,
        typer.Option(
            "--deciles",
            help="The SQNR of each tenth of the elements, from the smallest |x| to the largest.",
            metavar="",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    expect: Annotated[
        bool,
        typer.Option(
            "--expect",
            help="The SQNR that theory expects, beside it: of the distribution that fits.",
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
    executor: Annotated[
        str,
        typer.Option(
            help="Where the work is done: threads, processes, dask, dask:tcp://HOST:8786.",
            rich_help_panel=_RUNS,
        ),
    ] = "threads",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many processes. (default: one a processor; of a cluster all)",
            show_default=False,
            rich_help_panel=_RUNS,
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep what is done there, a line a row, so that a run can be gone on with.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with that journal.", metavar="", rich_help_panel=_RUNS
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what it would take, and do nothing.",
            metavar="",
            rich_help_panel=_RUNS,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="No progress.", metavar="", rich_help_panel=_RUNS),
    ] = False,
    strict: Strict = False,
) -> int:
    """Compare recipes on stored tensors: the product of all the values given.

    An option that takes several values takes them separated by commas, or repeated.

    Example: qcore compare model.safetensors --scheme symmetric,apot --bits 4,8
    --granularity channel:0,group:128
    """
    import qcore
    from qcore import samples
    from qcore.cli.interrupts import second_at_once
    from qcore.cli.progress import watching
    from qcore.cli.tables import ComparisonTable, estimate_table
    from qcore.comparison import carry_out
    from qcore.estimate import estimate
    from qcore.preparing import prepare
    from qcore.scheduling import default_threads

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
    alone = against and not any([*given.values(), bits])
    axes_given = {**axes(given), **widths("--bits", bits)}
    recipes = [] if alone else qcore.recipe_product(**axes_given, report=warn)
    sorter = qcore.create("metric", sort or ("output_sqnr_db" if activations else "sqnr_db"))
    asked = items("--metric", metric)
    if expect:
        asked.append("expected_sqnr_db")
    if deciles:
        asked += [f"decile:{number}" for number in range(1, 11)]
    if not paths:
        note("no PATH given: comparing the weights of the bundled digits network")
        paths, include = [str(samples.path())], include or samples.WEIGHTS
    if output is not None:
        check_output(output, [*paths, *(activations or ()), *(against or ())])
    with second_at_once(), watching("comparing", quiet=quiet) as watched:
        run = prepare(
            paths,
            recipes,
            against=against or None,
            activations=activations or None,
            activation_recipes=_activation_recipes(
                activation_scheme, activation_bits, activation_granularity
            ),
            metrics=[*asked, str(sorter)],
            include=include,
            exclude=exclude,
            min_ndim=min_ndim,
            integers=integers,
            nonfinite=nonfinite.value,
            backend=backend,
            progress=None if watched is None else watched.report,
        )
        if dry_run:
            elsewhere = None if executor == "threads" else workers or default_threads()
            taken = estimate(run, threads=threads, workers=elsewhere)
            write(format, lambda _: estimate_table(taken), [asdict(taken)], file=output)
            return 0
        interrupted = False
        try:
            comparison = carry_out(
                run,
                threads=threads,
                executor=executor,
                workers=workers,
                journal=journal,
                resume=resume,
                watch=watched,
            )
        except qcore.Interrupted as stopped:
            comparison, interrupted = stopped.comparison, True
    if format is not Format.table or len(comparison.failed) < len(comparison.rows):
        table = ComparisonTable(comparison, sorter, asked, per_tensor)
        document = comparison.to_dict() if format is Format.json else None
        write(format, table.draw, table.records(), document=document, file=output)
    if interrupted:
        return _INTERRUPTED
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
            report=warn,
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
