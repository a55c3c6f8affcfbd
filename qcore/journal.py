"""A journal of a comparison: what became of each tensor, a line a case, so that a run can go on.

The first line says what is compared, by which versions and how. Every other line is one case of one
tensor, with a checksum of itself and one of that first line; the lines of a tensor are written
together. What a killed process left of its last line is dropped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from qcore import json_file
from qcore.error_stats import ErrorStats
from qcore.errors import QcoreError, ReadError, UsageError
from qcore.json_file import checked, member
from qcore.measuring import Measurement
from qcore.outputs import OutputError
from qcore.run_identity import differences, run_identity
from qcore.sources import TensorRef
from qcore.stats_record import from_record, to_record
from qcore.tensor_task import Found, Task

_VERSION = 2
_SHOWN_DIFFERENCES = 6


class Journal:
    """The journal of one run, open for what is still to come.

    Attributes:
        done: by the tensor's place in the run, what an earlier run found of it.
    """

    def __init__(
        self, file: BinaryIO, run: str, task: Task, done: Mapping[int, list[Found]]
    ) -> None:
        self._file = file
        self._run = run
        self._task = task
        self.done = done

    @classmethod
    def begin(cls, path: Path, refs: Sequence[TensorRef], task: Task, *, resume: bool) -> Journal:
        """A new journal, or an old one taken up.

        Args:
            path: where it is.
            refs: the tensors that are compared.
            task: what is done to them.
            resume: whether to take up what is there; without it nothing may be there.

        Raises:
            UsageError: there is a journal already; or it is of another run, and how it differs.
            ReadError: it cannot be read.
        """
        described = {"journal": _VERSION, **run_identity(refs, task)}
        first = _line(described)
        content = _content(path) if path.exists() else None
        if content is not None and not resume:
            message = "is there already; go on with it by --resume, or name another file"
            raise UsageError(f"journal '{path}' {message}")
        if content is not None and (content == first or not first.startswith(content)):
            return cls._taken_up(path, content, described, refs, task)
        file = _opened(path, "xb" if content is None else "wb")  # perhaps killed as it began
        file.write(first)
        file.flush()
        return cls(file, _digest(described), task, {})

    @classmethod
    def _taken_up(
        cls,
        path: Path,
        content: bytes,
        described: dict[str, Any],
        refs: Sequence[TensorRef],
        task: Task,
    ) -> Journal:
        lines = list(_lines(content))
        if not lines:
            raise ReadError(f"journal '{path}' is none: its first line is damaged; name another")
        (head, _), *rest = lines
        _refuse_difference(path, head, json.loads(json.dumps(described)))
        found: dict[tuple[str, str], dict[str, Found]] = {}
        for entry, _ in rest:
            try:
                if member(entry, "run", str) != _digest(described):
                    raise ReadError("it is of another run")
                key = member(entry, "source", str), member(entry, "tensor", str)
                found.setdefault(key, {})[member(entry, "case", str)] = _found(entry)
            except (KeyError, OverflowError, ReadError, TypeError, ValueError) as error:
                raise ReadError(f"journal '{path}' holds a line that is none: {error}") from None
        cases = [str(case) for case in task.cases]
        done = {}
        for place, ref in enumerate(refs):
            of_case = found.get((ref.source, ref.name), {})
            if of_case.keys() >= set(cases):
                done[place] = [of_case[case] for case in cases]
        file = _opened(path, "r+b")
        file.seek(lines[-1][1])
        file.truncate()  # the torn line
        return cls(file, _digest(described), task, done)

    def add(self, ref: TensorRef, found: Sequence[Found]) -> None:
        """Write down what became of a tensor; one that cannot be read is tried again later."""
        if any(isinstance(part, ReadError) for each in found for part in each):
            return
        lines = [
            _line(self._named(ref, str(case)) | _entry(each))
            for case, each in zip(self._task.cases, found, strict=True)
        ]
        self._file.write(b"".join(lines))
        self._file.flush()

    def _named(self, ref: TensorRef, case: str) -> dict[str, Any]:
        return {"run": self._run, "source": ref.source, "tensor": ref.name, "case": case}

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()


def _digest(described: dict[str, Any]) -> str:
    """A checksum of the recipes, of what every tensor's file is, and of all versions."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _refuse_difference(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    changes = list(differences("", old, new))
    if changes:
        shown = "; ".join(changes[:_SHOWN_DIFFERENCES])
        more = len(changes) - _SHOWN_DIFFERENCES
        rest = f"; and {more} more" if more > 0 else ""
        raise UsageError(f"journal '{path}' is of another run, name another file: {shown}{rest}")


def _entry(found: Found) -> dict[str, Any]:
    entry = {"measured": _outcome_dict(found.tensor)}
    return entry if found.output is None else {**entry, "output": _outcome_dict(found.output)}


def _outcome_dict(outcome: Measurement | OutputError | QcoreError) -> dict[str, Any]:
    if isinstance(outcome, QcoreError):
        return {"failed": str(outcome)}
    return {**dataclasses.asdict(outcome), "stats": to_record(outcome.stats)}


def _found(entry: dict[str, Any]) -> Found:
    own = member(entry, "measured", dict)
    tensor = _failure(own) or Measurement(_own_stats(own), member(own, "seconds", float))
    if "output" not in entry:
        return Found(tensor)
    own = member(entry, "output", dict)
    failure = _failure(own)
    if failure is not None:
        return Found(tensor, failure)
    texts = {name: member(own, name, str) for name in ("input", "source", "path", "backend")}
    return Found(tensor, OutputError(_own_stats(own), **texts))


def _failure(outcome: dict[str, Any]) -> QcoreError | None:
    return QcoreError(member(outcome, "failed", str)) if "failed" in outcome else None


def _own_stats(outcome: dict[str, Any]) -> ErrorStats:
    return from_record(member(outcome, "stats", dict))


def _line(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":"), allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def _lines(content: bytes) -> Iterator[tuple[dict[str, Any], int]]:
    """Each whole line of a journal and where it ends, as far as the first that is torn."""
    end = 0
    for line in content.splitlines(keepends=True):
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != f"{zlib.crc32(text):08x}".encode():
            return
        end += len(line)
        yield checked(json_file.parse(text), dict, "a line"), end


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"journal '{path}' cannot be read: {error.strerror}") from None


def _opened(path: Path, mode: str) -> BinaryIO:
    try:
        return path.open(mode)  # type: ignore[return-value]  # the mode is binary
    except OSError as error:
        raise UsageError(f"journal '{path}' cannot be written: {error.strerror}") from None
