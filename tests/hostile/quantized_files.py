"""Hostile files of qcore's own layout: codes and scales, and metadata that say what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cases import NAMES, Case, Content, Threat, late
from safetensors_files import content, entry


def array(
    dtype: str = "int8", bits: int = 4, shape: Sequence[int] = (2, 4), signed: bool = True
) -> dict[str, Any]:
    """What the metadata say of an array."""
    return {"dtype": dtype, "bits": bits, "shape": shape, "signed": signed}


CODES, SCALE = array(), array("float32", 32, (1, 1), False)
ONE, MINUS_ONE, NAN = b"\0\0\x80\x3f", b"\0\0\x80\xbf", b"\0\0\xc0\x7f"


def described(
    codes: Any = CODES, scale: Any = SCALE, recipe: Any = "symmetric bits=4",
    block: Sequence[int] = (2, 4), more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the metadata say of a tensor."""
    arrays = {"codes": codes, "scale": scale, **(more or {})}
    return {"recipe": recipe, "dtype": "float32", "block": block, "arrays": arrays}


def header(name: str = "w", begin: int = 0) -> dict[str, Any]:
    """What the header says of the arrays of a tensor."""
    codes, scale = entry(begin, begin + 4, (4,), "U8"), entry(begin + 4, begin + 8, (1, 1))
    return {f"{name}:codes": codes, f"{name}:scale": scale}


DATA = bytes(4) + ONE


def quantized(tensors: Any, entries: Any = None, data: bytes = DATA, layout: str = "1") -> bytes:
    """A file of any metadata."""
    text = tensors if isinstance(tensors, str) else json.dumps(tensors)
    own = {"qcore.layout": layout, "qcore.tensors": text}
    return content({"__metadata__": own, **(header() if entries is None else entries)}, data)


def single(data: bytes = DATA, **how: Any) -> bytes:
    """A file of one tensor, described in any way."""
    return quantized({"w": described(**how)}, data=data)


GOOD = single()
WRAPS = (2**62 + 1, 8)
WIDE = (2, 1 << 40)
UNHELD = (2**62, 0, 2**62)


def _many_described() -> bytes:
    """More tensors than metadata have room for."""
    return quantized({str(i): described() for i in range(30_000)})


def _as_many_as_may_be() -> bytes:
    """Metadata as long as a header may be, in which every tensor lacks its arrays."""
    return quantized({str(i): described() for i in range(2_800)})


def _case(name: str, threat: Threat, content: Content, error: str, *more: Any, **rest: Any) -> Case:
    return Case(f"{name}.safetensors", threat, content, error, *more, **rest)


CASES = [
    _case("data-cut-off", Threat.TRUNCATED, GOOD[:-1], "truncated", "w:scale"),
    _case("description-cut-off", Threat.TRUNCATED, quantized('{"w":{'), "qcore.tensors in its"),
    _case(
        "too-few-codes", Threat.LENGTH,
        single(codes=array(shape=WIDE), block=WIDE), "'w:codes' must be there", "w",
    ),
    _case("65-bits", Threat.LENGTH, single(codes=array(bits=65)), "not 65", "w"),
    _case("2-to-64-bits", Threat.LENGTH, single(codes=array(bits=2**64)), f"not {2**64}", "w"),
    _case("endless-recipe", Threat.LENGTH, single(recipe="a" * 99_999), "at most 1000", "w"),
    _case(
        "product-wraps-to-4", Threat.OVERFLOW,
        single(codes=array(shape=WRAPS), block=WRAPS), "'w:codes' must be there", "w",
    ),
    _case(
        "no-numpy-shape", Threat.OVERFLOW,
        quantized(
            {"w": described(array(shape=UNHELD), block=(2**62, 1, 2**62))},
            {"w:codes": entry(0, 0, (0,), "U8"), "w:scale": entry(0, 4, (1, 1, 1))}, ONE,
        ),
        "array 'scale' is not described", "w",
    ),
    _case(
        "codes-missing", Threat.RANGES,
        quantized({"w": described()}, {"w:scale": entry(0, 4, (1, 1))}, ONE),
        "'w:codes' must be there", "w",
    ),
    _case(
        "scale-missing", Threat.RANGES,
        quantized({"w": described()}, {"w:codes": entry(0, 4, (4,), "U8")}, bytes(4)),
        "'w:scale' must be there", "w",
    ),
    _case(
        "same-codes", Threat.RANGES,
        quantized({"w": described(), "v": described()}, header() | header("v")),
        "overlap those of 'w:codes'", "v:codes",
    ),
    _case(
        "array-of-two-tensors", Threat.DUPLICATE,
        quantized(
            {"w": described(more={"v:scale": SCALE}), "w:v": described()},
            header() | header("w:v", 8), DATA * 2,
        ),
        "'w:v:scale' belongs to two tensors", "w:v",
    ),
    _case(
        "quantized-and-plain", Threat.DUPLICATE,
        quantized({"w": described()}, header() | {"w": entry(8, 24)}, DATA + bytes(16)),
        "it is there twice", "w",
    ),
    _case("described-twice", Threat.DUPLICATE, quantized('{"w":1,"w":2}'), "'w' is given twice"),
    _case("deep", Threat.NESTING, quantized('{"w":' + "[" * 200_000), "nested too deeply"),
    _case("another-layout", Threat.MAGIC, quantized({}, layout="99"), "its layout is '99'"),
    _case(
        "no-layout", Threat.MAGIC,
        content({"__metadata__": {"qcore.tensors": "{}"}, **header()}, DATA), "no qcore.layout",
    ),
    _case(
        "no-tensors", Threat.MAGIC,
        content({"__metadata__": {"qcore.layout": "1"}, **header()}, DATA), "no qcore.tensors",
    ),
    _case("page", Threat.MAGIC, quantized("<!DOCTYPE html>"), "this is no JSON"),
    _case("many-described", Threat.BOMB, late(_many_described), "more than tensors need"),
    _case("as-many-as-may-be", Threat.BOMB, late(_as_many_as_may_be), "must be there", "0"),
    _case(
        "many-values", Threat.BOMB,
        late(lambda: quantized('{"w":[' + "[]," * 7_000_000 + "0]}")), "more than tensors need",
    ),
    _case(
        "as-many-values-as-may-be", Threat.BOMB,
        late(lambda: quantized('{"w":[' + "[]," * 340_000 + "0]}")), "must be an object", "w",
    ),
    _case("path", Threat.ESCAPE, single(recipe="../../secret/weights"), "unknown scheme", "w"),
    _case("code", Threat.PICKLE, single(recipe="os.mkdir('canary')"), "unknown scheme", "w"),
    _case("unknown-scheme", Threat.NONSENSE, single(recipe="m bits=4"), "unknown scheme 'm'", "w"),
    _case("recipe-of-numbers", Threat.NONSENSE, single(recipe=7), "must be a text", "w"),
    _case("another-block", Threat.NONSENSE, single(block=(1, 4)), "'block' must be [2, 4]", "w"),
    _case("another-dtype", Threat.NONSENSE, single(codes=SCALE), "'block' must be [1, 1]", "w"),
    _case("another-width", Threat.NONSENSE, single(codes=array(bits=8)), "is not described", "w"),
    *(
        _case(
            f"scale-{what}", Threat.NONSENSE,
            single(bytes(4) + scale), "is a positive finite", "w", listed=True,
        )
        for what, scale in {"zero": bytes(4), "minus-one": MINUS_ONE, "nan": NAN}.items()
    ),
    _case(
        "codes-out-of-range", Threat.NONSENSE,
        single(b"\x88" * 4 + ONE), "codes from -8 to -8", "w", listed=True,
    ),
    *(
        _case(f"name-{what}", Threat.NAME, quantized({name: described()}), "must be there", name)
        for what, name in NAMES.items()
    ),
    *(
        _case(f"recipe-{what}", Threat.NAME, single(recipe=name), "recipe", "w")
        for what, name in NAMES.items()
    ),
]  # fmt: skip
