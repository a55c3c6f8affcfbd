"""Checks of schemes: what is stored is what is declared, to the bit."""

from __future__ import annotations

import numpy as np

from qcore.engine import quantize
from qcore.interfaces.quantizer import Quantizer
from qcore.packing import pack, packed_size, unpack
from qcore.testing.blocks import ordinary
from qcore.testing.laws import given, law, require, require_same
from qcore.testing.scheme_runs import fitted, recipe_of, run


@law
def check_scheme_field_bits(scheme: Quantizer) -> None:
    """Each field but the scale is declared by field_bits, in bits that hold its integers."""
    for sample in ordinary():
        with sample.tried() as blocks:
            params = fitted(scheme, blocks)
            declared = scheme.field_bits(params)
            fields = {k: v for k, v in params.fields().items() if k != "scale"}
            require(
                set(declared) == set(fields),
                f"the fields are {sorted(fields)}, those declared {sorted(declared)}",
            )
            for name, array in fields.items():
                bits = declared[name]
                require(
                    isinstance(bits, int) and bits >= 1, f"{name} is said to take {bits!r} bits"
                )
                if array.dtype.kind in "iub":
                    span = int(array.max()) - int(array.min())
                    each = bits // array.shape[1]
                    require(
                        span < 1 << each,
                        f"{name} has {bits} bits a block, but goes from {array.min()} to "
                        f"{array.max()}",
                    )


@law
def check_scheme_packs(scheme: Quantizer) -> None:
    """Codes survive packing in code_bits, and take no more bytes than that."""
    signed = scheme.code_range[0] < 0
    for sample in ordinary():
        with sample.tried() as blocks:
            codes = run(scheme, blocks).codes
            packed = pack(codes, scheme.code_bits)
            size = packed_size(codes.size, scheme.code_bits)
            require(packed.nbytes == size, f"packed in {packed.nbytes} bytes, not in {size}")
            again = unpack(packed, scheme.code_bits, codes.shape, signed=signed)
            require_same("unpacked codes", again, codes, x=blocks)


@law
def check_scheme_cost(scheme: Quantizer) -> None:
    """The cost, bits_per_weight, counts codes, scales and declared fields, and no less."""
    x = np.random.default_rng(5).standard_normal((6, 32)).astype(np.float32)
    for scale_format, scale_bits in (("float32", 32), ("pow2", 8)):
        with given(f"shape (6, 32), granularity=group:8 scale_format={scale_format}"):
            recipe = recipe_of(scheme, granularity="group:8", scale_format=scale_format)
            q = quantize(x, recipe)
            own = sum(scheme.field_bits(q.params).values())
            expected = x.size * scheme.code_bits + 24 * (scale_bits + own)
            require(q.stored_bits == expected, f"expected {expected} bits, got {q.stored_bits}")
            require(q.nbytes * 8 >= expected, f"{q.nbytes} bytes hold no {expected} bits")
            cost = q.bits_per_weight
            require(
                cost >= scheme.code_bits,
                f"{cost} bits per weight are less than code_bits {scheme.code_bits}",
            )


CHECKS = (check_scheme_field_bits, check_scheme_packs, check_scheme_cost)
