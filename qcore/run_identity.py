"""What a run is: by it a journal knows the run that it is of from any other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from qcore.loading import versions
from qcore.sources import TensorRef
from qcore.tensor_task import Task


def run_identity(refs: Sequence[TensorRef], task: Task) -> dict[str, Any]:
    """Versions, cases, options and inputs: nothing that is computed depends on anything else."""
    return {
        "qcore": versions(),
        "cases": [str(case) for case in task.cases],
        "options": task.options(),
        "inputs": _inputs([*refs, *task.further_refs()]),
    }


def _inputs(refs: Iterable[TensorRef]) -> dict[str, Any]:
    """Of each file its size and time of change, and a hash of what it says that it holds."""
    by_file: dict[str, list[TensorRef]] = {}
    for ref in refs:  # a tensor may lie in another file than the one that names it
        file = ref.source if ref.info is None else str(ref.info.path)
        by_file.setdefault(file, []).append(ref)
    identities = {}
    for source, members in by_file.items():
        said = repr([_said(ref) for ref in members])
        identity: dict[str, Any] = {"tensors": hashlib.sha256(said.encode()).hexdigest()[:16]}
        try:
            status = os.stat(source)
            identity |= {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        except OSError:  # an array, or a remote file: its listing says what there is to say
            pass
        identities[source] = identity
    return identities


def _said(ref: TensorRef) -> tuple[Any, ...]:
    """What a file says of a tensor; of an array, what it holds."""
    held = None if ref.info is not None else hashlib.sha256(ref.load().tobytes()).hexdigest()
    return ref.name, ref.shape, ref.dtype, ref.info, held


def differences(name: str, old: Any, new: Any) -> Iterator[str]:
    """What changed, said briefly, member by member."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            where = f"{name} {key}".strip()
            yield from differences(where, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from (f"{name}: no longer {item}" for item in old if item not in new)
        yield from (f"{name}: new {item}" for item in new if item not in old)
        if sorted(map(str, old)) == sorted(map(str, new)) and old != new:
            yield f"{name}: in another order"
    elif old != new:
        yield f"{name}: was {old}, is {new}"
