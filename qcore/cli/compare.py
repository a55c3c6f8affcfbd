"""`qcore compare`: any combination of recipes, on stored tensors, in one table."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qcore.cli import compare_options as option
from qcore.cli.options import (
    Exclude,
    Include,
    Integers,
    MinDim,
    NonFinite,
    NonFiniteChoice,
    Strict,
    Threads,
    axes,
    items,
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

_INTERRUPTED = 130


def compare(
    paths: option.Paths = None,
    scheme: option.Scheme = None,
    bits: option.Bits = None,
    granularity: option.Granularity = None,
    rounding: option.Rounding = None,
    observer: option.Observer = None,
    scale_format: option.ScaleFormat = None,
    backend: option.Backend = None,
    against: option.Against = None,
    activations: option.Activations = None,
    activation_scheme: option.ActivationScheme = None,
    activation_bits: option.ActivationBits = None,
    activation_granularity: option.ActivationGranularity = None,
    include: Include = None,
    exclude: Exclude = None,
    min_ndim: MinDim = 2,
    integers: Integers = False,
    nonfinite: NonFinite = NonFiniteChoice.error,
    metric: option.Metric = None,
    per_tensor: option.PerTensor = False,
    deciles: option.Deciles = False,
    expect: option.Expect = False,
    sort: option.Sort = None,
    format: OutputFormat = Format.table,
    output: option.Output = None,
    threads: Threads = None,
    executor: option.Executor = "threads",
    workers: option.Workers = None,
    journal: option.Journal = None,
    resume: option.Resume = False,
    dry_run: option.DryRun = False,
    quiet: option.Quiet = False,
    strict: Strict = False,
) -> int:
    """Compare recipes on stored tensors: the product of all the values given.

    An option that takes several values takes them separated by commas, or repeated.

    Example: qcore compare model.safetensors --scheme symmetric,apot --bits 4,8
    --granularity channel:0,group:128
    """
    import qcore
    from qcore import samples
    from qcore.cli.comparison_table import ComparisonTable
    from qcore.cli.interrupts import second_at_once
    from qcore.cli.progress import watching
    from qcore.cli.tables import estimate_table
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
        kept = [journal] if journal is not None else []
        check_output(output, [*paths, *(activations or ()), *(against or ()), *kept])
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
