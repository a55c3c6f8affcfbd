"""The options of `qcore compare` that no other command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qcore.cli.options import RESULTS, many

_AXES = "What is compared"
_LAYERS = "What layers receive"
_RUNS = "How it runs"


def _flag(name: str, help: str, panel: str) -> Any:
    return typer.Option(name, help=help, metavar="", rich_help_panel=panel)


def _files(help: str, panel: str) -> Any:
    return typer.Option(metavar="FILE", help=help, show_default=False, rich_help_panel=panel)


Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        help="Files or folders: safetensors, GGUF, ONNX, PyTorch, npy, npz. "
        "(default: bundled samples)",
        show_default=False,
    ),
]

Scheme = Annotated[
    list[str] | None,
    many("--scheme", "Schemes, such as symmetric,apot:k=3. (default: all)", _AXES),
]
Bits = Annotated[list[str] | None, many("--bits", "Widths of a code. (default: 8,4)", _AXES)]
Granularity = Annotated[
    list[str] | None,
    many(
        "--granularity",
        "tensor, channel:0, group:128, block:128:128, token. (default: tensor)",
        _AXES,
    ),
]
Rounding = Annotated[
    list[str] | None,
    many("--rounding", "half-even, half-away, stochastic:1, ... (default: half-even)", _AXES),
]
Observer = Annotated[
    list[str] | None,
    many("--observer", "minmax, percentile:99.9, mse, fixed:0:1. (default: minmax)", _AXES),
]
ScaleFormat = Annotated[
    list[str] | None,
    many("--scale-format", "float32, float16, bfloat16, pow2. (default: float32)", _AXES),
]
Backend = Annotated[
    str | None, typer.Option(help="What to run on. (default: numpy)", rich_help_panel=_AXES)
]
Against = Annotated[
    list[str] | None,
    _files(
        "Another checkpoint with the same tensors, such as what another tool has quantized: its "
        "error is measured too, and alone where no option of this panel is given; may be repeated.",
        _AXES,
    ),
]

Activations = Annotated[
    list[str] | None,
    _files(
        "Measure the output of layers too: a file with their inputs, fc1.input for fc1.weight, or "
        "synthetic:normal; may be repeated. (default, without PATH: the samples' own)",
        _LAYERS,
    ),
]
ActivationScheme = Annotated[
    list[str] | None,
    many(
        "--activation-scheme",
        "float, which leaves them as they are, asymmetric, ... (default: float; asymmetric where "
        "bits are given)",
        _LAYERS,
    ),
]
ActivationBits = Annotated[
    list[str] | None, many("--activation-bits", "Widths of their codes. (default: 8)", _LAYERS)
]
ActivationGranularity = Annotated[
    list[str] | None,
    many("--activation-granularity", "token, tensor, ... (default: token)", _LAYERS),
]

Metric = Annotated[
    list[str] | None, many("--metric", "More columns, such as mae,clipped.", RESULTS)
]
PerTensor = Annotated[bool, _flag("--per-tensor", "A row a tensor, worst first.", RESULTS)]
Deciles = Annotated[
    bool,
    _flag(
        "--deciles",
        "The SQNR of each tenth of the elements, from the smallest |x| to the largest.",
        RESULTS,
    ),
]
Expect = Annotated[
    bool,
    _flag(
        "--expect",
        "The SQNR that theory expects, beside it: of the distribution that fits.",
        RESULTS,
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        metavar="METRIC",
        help="What to sort by. (default: sqnr_db, with activations output_sqnr_db)",
        rich_help_panel=RESULTS,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write there, not to the screen.", rich_help_panel=RESULTS),
]

Executor = Annotated[
    str,
    typer.Option(
        help="Where the work is done: threads, processes, dask, dask:tcp://HOST:8786.",
        rich_help_panel=_RUNS,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How many processes. (default: one a processor; of a cluster all)",
        show_default=False,
        rich_help_panel=_RUNS,
    ),
]
Journal = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Keep what is done there, a line a row, so that a run can be gone on with.",
        rich_help_panel=_RUNS,
    ),
]
Resume = Annotated[bool, _flag("--resume", "Go on with that journal.", _RUNS)]
DryRun = Annotated[bool, _flag("--dry-run", "Say what it would take, and do nothing.", _RUNS)]
Quiet = Annotated[bool, _flag("--quiet", "No progress.", _RUNS)]
