"""qcore: quantization schemes, compared.

The names below are the public surface. Each is imported when it is first used, so that the
command line starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcore.calibrated_ranges import CalibratedRange as CalibratedRange
    from qcore.calibrated_ranges import Calibration as Calibration
    from qcore.calibration import calibrate as calibrate
    from qcore.checkpoint import dequantize_file as dequantize_file
    from qcore.checkpoint import quantize_file as quantize_file
    from qcore.comparison import compare as compare
    from qcore.conversion import Written as Written
    from qcore.engine import fake_quantize as fake_quantize
    from qcore.engine import quantize as quantize
    from qcore.error_stats import ErrorStats as ErrorStats
    from qcore.error_stats import measure_errors as measure_errors
    from qcore.errors import DtypeError as DtypeError
    from qcore.errors import NonFiniteError as NonFiniteError
    from qcore.errors import PluginError as PluginError
    from qcore.errors import QcoreError as QcoreError
    from qcore.errors import RangeError as RangeError
    from qcore.errors import ReadError as ReadError
    from qcore.errors import SchemeError as SchemeError
    from qcore.errors import ShapeError as ShapeError
    from qcore.errors import SpecError as SpecError
    from qcore.errors import UnavailableError as UnavailableError
    from qcore.errors import UnknownIdError as UnknownIdError
    from qcore.errors import UsageError as UsageError
    from qcore.errors import WorkerError as WorkerError
    from qcore.expectation import expected_sqnr as expected_sqnr
    from qcore.float_bins import Histogram as Histogram
    from qcore.grids import Grid as Grid
    from qcore.grids import IntegerGrid as IntegerGrid
    from qcore.grids import LevelGrid as LevelGrid
    from qcore.hints import Hint as Hint
    from qcore.hookspecs import PLUGIN_API as PLUGIN_API
    from qcore.hookspecs import hookimpl as hookimpl
    from qcore.inspection import Inspection as Inspection
    from qcore.inspection import inspect as inspect
    from qcore.interfaces.backend import Backend as Backend
    from qcore.interfaces.epilogue import Epilogue as Epilogue
    from qcore.interfaces.epilogue import Requantize as Requantize
    from qcore.interfaces.granularity import Granularity as Granularity
    from qcore.interfaces.grid_quantizer import GridQuantizer as GridQuantizer
    from qcore.interfaces.metric import Metric as Metric
    from qcore.interfaces.observer import Observer as Observer
    from qcore.interfaces.observer import Trial as Trial
    from qcore.interfaces.products import AffineRows as AffineRows
    from qcore.interfaces.products import PreparedMatrix as PreparedMatrix
    from qcore.interfaces.products import PreparedWeights as PreparedWeights
    from qcore.interfaces.quantizer import FitContext as FitContext
    from qcore.interfaces.quantizer import Quantizer as Quantizer
    from qcore.interfaces.quantizer import check_bits as check_bits
    from qcore.interfaces.quantizer import even_step as even_step
    from qcore.interfaces.reader import TensorInfo as TensorInfo
    from qcore.interfaces.reader import TensorReader as TensorReader
    from qcore.interfaces.rounding import Gap as Gap
    from qcore.interfaces.rounding import RoundingPolicy as RoundingPolicy
    from qcore.interfaces.scale_format import ScaleFormat as ScaleFormat
    from qcore.interfaces.workers import Team as Team
    from qcore.interfaces.workers import Workers as Workers
    from qcore.layers import Linear as Linear
    from qcore.layers import linear as linear
    from qcore.loading import create as create
    from qcore.loading import ids as ids
    from qcore.packing import pack as pack
    from qcore.packing import unpack as unpack
    from qcore.params import QuantParams as QuantParams
    from qcore.qtensor import QuantizedTensor as QuantizedTensor
    from qcore.quantized_file import QuantizedFile as QuantizedFile
    from qcore.quantized_file import load as load
    from qcore.quantized_file import save as save
    from qcore.recipe import Recipe as Recipe
    from qcore.recipe import recipe_product as recipe_product
    from qcore.results import Comparison as Comparison
    from qcore.results import Interrupted as Interrupted
    from qcore.results import Row as Row
    from qcore.results import Summary as Summary
    from qcore.rules import Rule as Rule
    from qcore.statistics import TensorStatistics as TensorStatistics
    from qcore.stored_file import StoredFile as StoredFile

_HOMES = {
    "qcore.calibrated_ranges": ["CalibratedRange", "Calibration"],
    "qcore.calibration": ["calibrate"],
    "qcore.checkpoint": ["dequantize_file", "quantize_file"],
    "qcore.comparison": ["compare"],
    "qcore.conversion": ["Written"],
    "qcore.engine": ["fake_quantize", "quantize"],
    "qcore.error_stats": ["ErrorStats", "measure_errors"],
    "qcore.errors": [
        "DtypeError",
        "NonFiniteError",
        "PluginError",
        "QcoreError",
        "RangeError",
        "ReadError",
        "SchemeError",
        "ShapeError",
        "SpecError",
        "UnavailableError",
        "UnknownIdError",
        "UsageError",
        "WorkerError",
    ],
    "qcore.expectation": ["expected_sqnr"],
    "qcore.float_bins": ["Histogram"],
    "qcore.grids": ["Grid", "IntegerGrid", "LevelGrid"],
    "qcore.hints": ["Hint"],
    "qcore.hookspecs": ["PLUGIN_API", "hookimpl"],
    "qcore.inspection": ["Inspection", "inspect"],
    "qcore.interfaces.backend": ["Backend"],
    "qcore.interfaces.epilogue": ["Epilogue", "Requantize"],
    "qcore.interfaces.granularity": ["Granularity"],
    "qcore.interfaces.grid_quantizer": ["GridQuantizer"],
    "qcore.interfaces.metric": ["Metric"],
    "qcore.interfaces.observer": ["Observer", "Trial"],
    "qcore.interfaces.products": ["AffineRows", "PreparedMatrix", "PreparedWeights"],
    "qcore.interfaces.quantizer": ["FitContext", "Quantizer", "check_bits", "even_step"],
    "qcore.interfaces.reader": ["TensorInfo", "TensorReader"],
    "qcore.interfaces.rounding": ["Gap", "RoundingPolicy"],
    "qcore.interfaces.scale_format": ["ScaleFormat"],
    "qcore.interfaces.workers": ["Team", "Workers"],
    "qcore.layers": ["Linear", "linear"],
    "qcore.loading": ["create", "ids"],
    "qcore.packing": ["pack", "unpack"],
    "qcore.params": ["QuantParams"],
    "qcore.quantized_file": ["QuantizedFile", "load", "save"],
    "qcore.qtensor": ["QuantizedTensor"],
    "qcore.recipe": ["Recipe", "recipe_product"],
    "qcore.results": ["Comparison", "Interrupted", "Row", "Summary"],
    "qcore.rules": ["Rule"],
    "qcore.statistics": ["TensorStatistics"],
    "qcore.stored_file": ["StoredFile"],
}
_home_of = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _home_of:
        raise AttributeError(f"module 'qcore' has no attribute '{name}'")
    value = getattr(importlib.import_module(_home_of[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_home_of})
