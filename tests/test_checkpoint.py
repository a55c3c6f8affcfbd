"""Whole checkpoints: quantized by rules, the rest as it was, and never half a file."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import deserialize, safe_open
from safetensors.numpy import save_file

import qcore
from qcore import QuantizedTensor, QuantParams, Rule, TensorInfo, UsageError, Written
from qcore.builtin.readers.safetensors import NAMES
from qcore.loading import plugins
from qcore.registry import Entry
from qcore.safetensors_file import Entry as TensorEntry
from qcore.safetensors_file import writing

ALL = "symmetric bits=4 granularity=channel:0"
DTYPES = [np.dtype(getattr(np, name, None) or getattr(ml_dtypes, name)) for name in NAMES.values()]


def matrix(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


TENSORS: dict[str, NDArray[Any]] = {
    "embed.weight": matrix(6, 4).astype(np.float16),
    "layers.0.attn.weight": matrix(4, 8),
    "layers.0.mlp.weight": matrix(8, 4),
    "layers.0.norm": matrix(4),
    "layers.0.ids": np.arange(6).reshape(2, 3),
    "lm_head.weight": matrix(6, 4).astype(ml_dtypes.bfloat16),
}


def checkpoint(path: Path, tensors: Mapping[str, NDArray[Any]], **metadata: str) -> Path:
    """A safetensors file, also of what the official library cannot write."""
    entries = [TensorEntry(name, array.dtype.name, array.shape) for name, array in tensors.items()]
    with writing(path, entries, metadata) as writer:
        for name, array in tensors.items():
            writer.put(name, array)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return checkpoint(tmp_path / "model" / "model.safetensors", TENSORS, format="pt", about="wörds")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """In a folder of its own."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "small.safetensors"


def raw(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """What the official library finds, in its own words."""
    found = deserialize(path.read_bytes())
    return {name: (entry["dtype"], entry["shape"], bytes(entry["data"])) for name, entry in found}


def texts(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as opened:
        metadata: dict[str, str] = opened.metadata() or {}
    return {key: text for key, text in metadata.items() if not key.startswith("qcore.")}


def how(written: list[Written]) -> dict[str, str]:
    return {each.name: each.how for each in written}


def refused(call: Callable[[], object], output: Path) -> str:
    """The line that says why nothing was written."""
    with pytest.raises(qcore.QcoreError) as caught:
        call()
    assert list(output.parent.iterdir()) == []
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- which tensors --------------------------------------------------------------------------------


def test_floating_matrices_are_quantized_and_the_rest_stays_as_it_is(
    model: Path, output: Path
) -> None:
    written = qcore.quantize_file(model, output, ALL)
    assert how(written) == {
        "embed.weight": ALL,
        "layers.0.attn.weight": ALL,
        "layers.0.mlp.weight": ALL,
        "layers.0.norm": "kept",
        "layers.0.ids": "kept",
        "lm_head.weight": ALL,
    }
    found = qcore.load(output)
    assert list(found) == list(TENSORS)
    for name, array in TENSORS.items():
        tensor = found[name]
        if isinstance(tensor, QuantizedTensor):
            expected = qcore.quantize(array, ALL)
            assert tensor.pack().tobytes() == expected.pack().tobytes()
            assert tensor.scale.tobytes() == expected.scale.tobytes()
            assert qcore.QuantizedFile(output).quantized[name].dtype == array.dtype.name
        else:
            assert raw(output)[name] == raw(model)[name]
    assert texts(output) == {"format": "pt", "about": "wörds"}


def test_what_is_kept_is_the_same_byte_for_byte_whatever_its_dtype(
    tmp_path: Path, output: Path
) -> None:
    random = np.random.default_rng(0)
    tensors: dict[str, NDArray[Any]] = {"w": matrix(2, 8)}
    for dtype in DTYPES:  # any bits, NaNs among them; elements of four bits have a byte each
        most = {"bool": 2, "float4_e2m1fn": 16}.get(dtype.name, 256)
        bits = random.integers(0, most, 16 * dtype.itemsize).astype(np.uint8)
        tensors[dtype.name] = bits.view(dtype).reshape(2, 8)
    source = checkpoint(tmp_path / "source", tensors)
    written = qcore.quantize_file(source, output, [Rule.parse(f"^w$={ALL}")])
    assert set(how(written).values()) == {ALL, "kept"}
    before, after = raw(source), raw(output)
    assert {name: after[name] for name in before if name != "w"} == {
        name: entry for name, entry in before.items() if name != "w"
    }


def test_the_first_rule_that_matches_counts_and_keep_keeps(model: Path, output: Path) -> None:
    rules = [
        "lm_head|embed=keep",
        Rule.parse("attn=symmetric bits=8"),
        Rule.parse("^layers=asymmetric bits=3"),
        "mlp=symmetric bits=2",
    ]
    written = qcore.quantize_file(model, output, rules)
    assert how(written) == {
        "embed.weight": "kept",
        "layers.0.attn.weight": "symmetric bits=8",
        "layers.0.mlp.weight": "asymmetric bits=3",
        "layers.0.norm": "kept",
        "layers.0.ids": "kept",
        "lm_head.weight": "kept",
    }


@pytest.mark.parametrize(
    ("options", "quantized"),
    [
        ({"include": "layers"}, ["layers.0.attn.weight", "layers.0.mlp.weight"]),
        ({"exclude": "layers"}, ["embed.weight", "lm_head.weight"]),
        ({"include": "layers", "min_ndim": 1, "exclude": "weight"}, ["layers.0.norm"]),
        ({"include": "layers", "exclude": "attn"}, ["layers.0.mlp.weight"]),
    ],
)
def test_options_say_what_rules_are_for(
    model: Path, output: Path, options: dict[str, Any], quantized: list[str]
) -> None:
    recipe = qcore.Recipe.parse("symmetric bits=4")
    written = qcore.quantize_file(model, output, recipe, **options)
    assert [each.name for each in written if each.how != "kept"] == quantized
    assert [each.name for each in written] == list(TENSORS)


def test_sizes_are_those_of_the_files(model: Path, output: Path) -> None:
    written = qcore.quantize_file(model, output, ALL)
    for path, sizes in ((model, [w.before for w in written]), (output, [w.after for w in written])):
        start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        assert path.stat().st_size == start + sum(sizes)
    attn = written[1]
    assert attn == Written("layers.0.attn.weight", ALL, 32, 128, 16 + 16)


def test_the_file_is_the_same_whatever_the_threads(model: Path, output: Path) -> None:
    files = []
    for threads in (1, 3):
        qcore.quantize_file(model, output, ALL, threads=threads)
        files.append(output.read_bytes())
    assert files[0] == files[1]


def test_progress_is_told_in_elements(model: Path, output: Path) -> None:
    told: list[tuple[int, int]] = []
    qcore.quantize_file(model, output, ALL, progress=lambda done, total: told.append((done, total)))
    sizes = [array.size for array in TENSORS.values()]
    assert told == [(int(done), sum(sizes)) for done in np.cumsum(sizes)]


def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path, output: Path) -> None:
    large = np.ones((1024, 1024), np.float32)  # 4 MB
    source = tmp_path / "source"
    save_file({f"w{i}": large for i in range(12)}, source)
    tracemalloc.start()
    qcore.quantize_file(source, output, "symmetric bits=4", threads=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000


# --- from where -----------------------------------------------------------------------------------


def test_shards_and_other_formats_become_one_file(tmp_path: Path, output: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    checkpoint(folder / "model-1.safetensors", {"a": matrix(2, 4)}, format="pt", part="1")
    checkpoint(folder / "model-2.safetensors", {"b": matrix(2, 4)}, format="pt", part="2")
    np.savez(tmp_path / "more.npz", c=matrix(2, 4).astype(">f8"), d=np.ones((2, 2), bool))
    written = qcore.quantize_file([folder, str(tmp_path / "more.npz")], output, ["c|a=" + ALL])
    assert how(written) == {"a": ALL, "b": "kept", "c": ALL, "d": "kept"}
    assert texts(output)["format"] == "pt"
    assert raw(output)["d"] == ("BOOL", [2, 2], bytes([1] * 4))


def test_a_remote_checkpoint_is_quantized_from_where_it_is(model: Path, output: Path) -> None:
    upath = pytest.importorskip("upath")
    upath.UPath("memory://models/m.safetensors").write_bytes(model.read_bytes())
    near = output.with_name("near")
    qcore.quantize_file(model, near, ALL)
    qcore.quantize_file("memory://models/m.safetensors", output, ALL)
    assert output.read_bytes() == near.read_bytes()
    with pytest.raises(qcore.QcoreError, match=r"^memory://models/m.safetensors: tensor 'embed"):
        qcore.quantize_file(
            "memory://models/m.safetensors", output, "symmetric granularity=group:5"
        )


def test_what_safetensors_has_not_is_kept_in_what_holds_it(tmp_path: Path, output: Path) -> None:
    onnx = pytest.importorskip("onnx")
    codes = np.array([[-8, 7], [1, 0]], np.int8)
    narrow = onnx.helper.make_tensor("n", onnx.TensorProto.INT4, (2, 2), codes.ravel().tolist())
    weight = onnx.numpy_helper.from_array(matrix(2, 2), "w")
    graph = onnx.helper.make_graph([], "g", [], [], [narrow, weight])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    qcore.quantize_file(tmp_path / "m.onnx", output, "symmetric bits=4")
    assert raw(output)["n"] == ("I8", [2, 2], codes.tobytes())


def test_what_was_quantized_already_stays_so_with_its_codes(model: Path, output: Path) -> None:
    half = output.with_name("half")
    qcore.quantize_file(model, half, ["layers=" + ALL])
    written = qcore.quantize_file(
        half, output, ["attn=keep", "mlp=symmetric bits=2", "embed=" + ALL]
    )
    assert how(written) == {
        "embed.weight": ALL,
        "layers.0.attn.weight": "kept",
        "layers.0.mlp.weight": "symmetric bits=2",
        "layers.0.norm": "kept",
        "layers.0.ids": "kept",
        "lm_head.weight": "kept",
    }
    name = "layers.0.attn.weight"
    before, after = qcore.QuantizedFile(half), qcore.QuantizedFile(output)
    assert after.quantized[name] == before.quantized[name]
    for array in ("codes", "scale"):
        assert raw(output)[f"{name}:{array}"] == raw(half)[f"{name}:{array}"]
    assert written[1].before == written[1].after == before.quantized[name].nbytes
    assert texts(output) == {"format": "pt", "about": "wörds"}


# --- back again -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dequantizing_gives_the_values_and_keeps_the_rest(
    model: Path, output: Path, dtype: str
) -> None:
    qcore.quantize_file(model, output, ["attn=" + ALL, "lm_head=apot bits=4"])
    large = output.with_name("large")
    written = qcore.dequantize_file(output, large, dtype=dtype)
    recipes = {"layers.0.attn.weight": ALL, "lm_head.weight": "apot bits=4"}
    assert how(written) == {name: dtype if name in recipes else "kept" for name in TENSORS}
    found = raw(large)
    own = np.dtype(getattr(np, dtype, None) or ml_dtypes.bfloat16)
    for name, array in TENSORS.items():
        if name in recipes:
            values = qcore.fake_quantize(array, recipes[name]).astype(own)
            assert found[name][1:] == (list(array.shape), values.tobytes())
        else:
            assert found[name] == raw(model)[name]
    assert texts(large) == {"format": "pt", "about": "wörds"}
    with safe_open(large, "np") as opened:
        assert opened.metadata().keys() == {"format", "about"}


def test_a_value_that_the_dtype_does_not_hold_is_an_error(tmp_path: Path, output: Path) -> None:
    source = tmp_path / "source"
    qcore.save(source, {"w": qcore.quantize(np.float32([[1e5, 0]]), "symmetric bits=4")})
    says = refused(lambda: qcore.dequantize_file(source, output, dtype="float16"), output)
    assert says == f"{source}: tensor 'w': a value is beyond float16; take float32"
    qcore.dequantize_file(source, output, dtype="bfloat16")
    with pytest.raises(UsageError, match="dtype='int8' is not one of float32, float16, bfloat16"):
        qcore.dequantize_file(source, output, dtype="int8")


# --- what is refused ------------------------------------------------------------------------------


def test_the_input_is_never_written_over(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = model.read_bytes()
    to_file, to_folder = tmp_path / "to-file", tmp_path / "to-folder"
    to_file.symlink_to(model)
    to_folder.symlink_to(model.parent)
    monkeypatch.chdir(model.parent)
    for source, output in [
        (model, model),
        (model, Path("model.safetensors")),
        (Path("model.safetensors"), model),
        (model, to_file),
        (to_file, model),
        (to_file, to_file),
        (to_folder / "model.safetensors", model),
        (model.parent, model),
        (model.parent, model.parent / "new"),
        (to_folder, model.parent / "new"),
        (model.parent, to_folder / "new"),
        (Path("."), Path("new")),
        (tmp_path, model.parent / "new"),
    ]:
        for call in (
            lambda source=source, output=output: qcore.quantize_file(source, output, ALL),
            lambda source=source, output=output: qcore.dequantize_file(source, output),
        ):
            with pytest.raises(UsageError, match="would be written over the input, or into its"):
                call()
    assert list(model.parent.iterdir()) == [model]
    assert model.read_bytes() == before


def test_another_name_of_the_input_is_replaced_and_the_input_stays(
    model: Path, output: Path
) -> None:
    before = model.read_bytes()
    output.hardlink_to(model)
    qcore.quantize_file(model, output, ALL)
    assert model.read_bytes() == before
    assert output.stat().st_size != len(before)


def test_without_a_rule_for_anything_nothing_is_written(model: Path, output: Path) -> None:
    for rules in ([], ["nothing=" + ALL], ["=keep"], ["ids|norm=" + ALL]):
        says = refused(lambda rules=rules: qcore.quantize_file(model, output, rules), output)
        assert says.startswith("no rule matches any floating tensor; see qcore inspect")


@pytest.mark.parametrize(
    ("rules", "options", "says"),
    [
        ("symetric", {}, "unknown scheme 'symetric', did you mean 'symmetric'?"),
        (["w=symetric"], {}, "rule 'w': unknown scheme 'symetric'"),
        (ALL, {"include": "("}, "include: '(' is no regular expression"),
        (ALL, {"nonfinite": "ignore"}, "nonfinite="),
    ],
)
def test_options_that_are_wrong_are_wrong_usage(
    model: Path, output: Path, rules: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        qcore.quantize_file(model, output, rules, **options)
    assert list(output.parent.iterdir()) == []


def test_two_tensors_of_one_name_are_refused(model: Path, output: Path) -> None:
    other = checkpoint(model.with_name("other"), {"norm": matrix(3), "embed.weight": matrix(2, 2)})
    says = refused(lambda: qcore.quantize_file([model, other], output, ALL), output)
    assert says == f"{other}: tensor 'embed.weight': {model} has one of that name; give one of them"


def test_a_source_that_cannot_be_read_is_a_read_error(tmp_path: Path, output: Path) -> None:
    with pytest.raises(qcore.ReadError, match="no such file"):
        qcore.quantize_file(tmp_path / "absent", output, ALL)
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    assert "truncated" in refused(
        lambda: qcore.quantize_file(tmp_path / "cut.safetensors", output, ALL), output
    )


def test_an_error_names_the_file_and_the_tensor_and_leaves_the_old_file(
    tmp_path: Path, output: Path
) -> None:
    infinite = np.full((2, 4), np.inf, np.float32)
    source = checkpoint(tmp_path / "source", {"a": matrix(2, 4), "b\x1b": infinite})
    where = rf"{source}: tensor 'b\x1b': "
    output.write_text("old")
    for rules, says in [
        (ALL, "8 of 8 values are NaN, infinite or beyond float32"),
        (["a=" + ALL, "b=symmetric bits=4 granularity=group:3"], "'group:3': 3 does not divide"),
    ]:
        with pytest.raises(qcore.QcoreError) as caught:
            qcore.quantize_file(source, output, rules)
        assert str(caught.value).startswith(where + says)
        assert list(output.parent.iterdir()) == [output]
        assert output.read_text() == "old"
    qcore.quantize_file(source, output, ALL, nonfinite="clip")
    assert qcore.load(output).keys() == {"a", "b\x1b"}


def test_what_safetensors_cannot_hold_is_refused_before_any_work(
    tmp_path: Path, output: Path
) -> None:
    np.savez(tmp_path / "m.npz", w=matrix(2, 4), c=np.zeros(3, complex))
    says = refused(lambda: qcore.quantize_file(tmp_path / "m.npz", output, ALL), output)
    assert says == (
        f"{output}: tensor 'c': it holds complex128, which safetensors has not; convert it first"
    )


# --- third parties' -------------------------------------------------------------------------------


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, type[Any]], None]:
    """Registers a class, as a plugin would, until the test ends."""
    entries = plugins().registry.entries
    return lambda kind, cls: monkeypatch.setitem(entries[kind], cls.id, Entry(cls, "third-party"))


@dataclass(frozen=True)
class Liar(qcore.TensorReader):
    """Says float32 of whatever it has, and cannot read one of its tensors."""

    id: ClassVar[str] = "liar"

    def sniff(self, path: Path) -> bool:
        return path.is_file() and path.read_bytes() == b"liar"

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        for name in ("double", "gone"):
            yield TensorInfo(name, (2, 4), "float32", path)

    def read(self, info: TensorInfo) -> NDArray[Any]:
        if info.name == "gone":
            raise FileNotFoundError(2, "No such file or directory")
        return np.zeros((2, 4))


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("gone=" + ALL, "tensor 'double': its reader gave float64, but said float32"),
        ("double=" + ALL, "tensor 'double': its reader gave float64, but said float32"),
    ],
)
def test_a_reader_that_gives_something_else_is_found_out(
    tmp_path: Path, output: Path, install: Callable[[str, type[Any]], None], rule: str, says: str
) -> None:
    install("reader", Liar)
    (tmp_path / "source").write_bytes(b"liar")
    found = refused(lambda: qcore.quantize_file(tmp_path / "source", output, [rule]), output)
    assert found == f"{tmp_path / 'source'}: {says}"


def test_a_reader_s_error_is_not_taken_for_one_of_the_writer(
    tmp_path: Path, output: Path, install: Callable[[str, type[Any]], None]
) -> None:
    @dataclass(frozen=True)
    class Gone(Liar):
        id: ClassVar[str] = "gone"

        def tensors(self, path: Path) -> Iterator[TensorInfo]:
            yield TensorInfo("gone", (2, 4), "float32", path)

    install("reader", Gone)
    source = tmp_path / "source"
    source.write_bytes(b"liar")
    for rules in (ALL, ["gone=" + ALL]):
        says = refused(lambda rules=rules: qcore.quantize_file(source, output, rules), output)
        assert says.startswith(
            f"{source}: tensor 'gone': reader 'gone' failed: FileNotFoundError: "
            "[Errno 2] No such file or directory (plugin 'third-party', "
        )


@pytest.mark.parametrize("fails", [False, True])
def test_a_scheme_whose_fields_depend_on_the_data_says_what_to_do(
    model: Path, output: Path, install: Callable[[str, type[Any]], None], fails: bool
) -> None:
    @dataclass(frozen=True)
    class Mean(qcore.Quantizer):
        """Zeros, with as many numbers a block as it has elements."""

        id: ClassVar[str] = "mean"
        bits: ClassVar[int] = 2

        def fit(self, blocks: NDArray[np.float32], context: qcore.FitContext) -> QuantParams:
            if fails and blocks.shape == (1, 1):
                raise RuntimeError("one is too few")
            ones = np.ones((len(blocks), 1), np.float32)
            return QuantParams(ones, extra={"more": np.zeros(blocks.shape, np.float32)})

        def encode(
            self, blocks: NDArray[np.float32], params: QuantParams, rounding: qcore.RoundingPolicy
        ) -> NDArray[Any]:
            return np.zeros(blocks.shape, np.int8)

        def decode(self, codes: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
            return np.zeros(codes.shape, np.float32)

    install("scheme", Mean)
    says = refused(lambda: qcore.quantize_file(model, output, "mean"), output)
    assert says.startswith(f"{model}: tensor 'embed.weight': 'mean bits=2' ")
    if fails:
        assert "RuntimeError: one is too few" in says
        return
    assert says.endswith(
        "gives params whose fields depend on the data; quantize it in Python, then qcore.save"
    )
    q = qcore.quantize(matrix(2, 4), "mean granularity=channel:0")
    qcore.save(output, {"w": q})
    again = qcore.load(output)["w"]
    assert isinstance(again, QuantizedTensor)
    assert again.params.extra["more"].shape == (2, 4)


# --- a process that ends --------------------------------------------------------------------------

HALFWAY = """
import sys, time, qcore

def wait(done, total):
    if done < total:
        print("halfway", flush=True)
        time.sleep(60)

qcore.quantize_file(sys.argv[1], sys.argv[2], "symmetric bits=4", progress=wait)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("old", ["old", None])
def test_a_run_that_is_ended_halfway_leaves_the_old_file_or_none(
    model: Path, output: Path, number: signal.Signals, old: str | None
) -> None:
    if old is not None:
        output.write_text(old)
    command = [sys.executable, "-c", HALFWAY, str(model), str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"halfway\n"
        (part,) = (path for path in output.parent.iterdir() if path != output)
        process.send_signal(number)
        assert process.wait(10) != 0
    assert (output.read_text() if output.exists() else None) == old
    beside = [path for path in output.parent.iterdir() if path != output]
    assert beside == ([part] if number == signal.SIGKILL else [])
    qcore.quantize_file(model, output, "symmetric bits=4")  # as if nothing had been
    assert list(qcore.load(output)) == list(TENSORS)


def test_a_disk_that_is_full_is_found_out_before_any_work(model: Path, output: Path) -> None:
    output.write_text("old")
    code = (
        "import sys, qcore\n"
        "def told(done, total): print('worked')\n"
        "try: qcore.quantize_file(sys.argv[1], sys.argv[2], 'symmetric bits=4', progress=told)\n"
        "except qcore.QcoreError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model), str(output)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"QcoreError cannot write '{output}': File too large\n"
    assert list(output.parent.iterdir()) == [output]
    assert output.read_text() == "old"
