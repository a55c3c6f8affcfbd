"""Kernels side by side on this machine, each beside what the machine can do at best."""

from __future__ import annotations

from qcore.benching.lineup import Lineup as Lineup
from qcore.benching.products import DTYPES as DTYPES
from qcore.benching.products import ProductBench as ProductBench
from qcore.benching.products import ProductRow as ProductRow
from qcore.benching.products import bench_gemm as bench_gemm
from qcore.benching.quantizing import FLOATS as FLOATS
from qcore.benching.quantizing import QuantizeBench as QuantizeBench
from qcore.benching.quantizing import QuantizeRow as QuantizeRow
from qcore.benching.quantizing import bench_quantize as bench_quantize
from qcore.benching.rounds import Times as Times
