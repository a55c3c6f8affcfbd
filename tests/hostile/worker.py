"""Runs commands of qcore, each in a process of its own, and notes what they do and take.

python worker.py GOOD < COMMANDS: a list of arguments in JSON a line; so are the results. GOOD is a
file that anything can be done with: what a command imports is there before the first one runs.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import resource
import signal
import sys
import tempfile
from typing import IO, Any, NoReturn

import typer.main

from qcore.cli.main import run_command

LONGEST = 20  # seconds, for what hangs
MOST_MEMORY = 2 << 30  # bytes, for what would take the machine down
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NOTED = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect",
    "pickle.find_class", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link",
    "os.truncate", "os.chmod",
)  # fmt: skip

_seen: list[str] | None = None


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what a command opens, links followed, and whatever else it should not do."""
    if _seen is None:
        return
    if event == "open" and not isinstance(arguments[0], int):
        path, flags = os.path.realpath(arguments[0]), arguments[2]
        if not path.endswith((".py", ".pyc", ".so")):  # of a module that is imported late
            _seen.append(f"{'write' if flags & WRITES else 'read'} {path}")
    elif event in NOTED:
        _seen.append(f"{event} {arguments}")


def child(command: list[str], out: IO[bytes], err: IO[bytes], seen: IO[bytes]) -> NoReturn:
    """Run a command, or nothing at all; its status is the process's."""
    global _seen
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    signal.alarm(LONGEST)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    _seen = []
    status = run_command(command) if command else 0
    events, _seen = _seen, None
    seen.write(json.dumps(events).encode())
    for stream in (seen, sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def run(command: list[str]) -> dict[str, Any]:
    """What a command gives, its memory in bytes, and its seconds of computing."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        tempfile.TemporaryFile() as seen,
    ):
        pid = os.fork()
        if not pid:
            child(command, out, err, seen)
        _, ended, usage = os.wait4(pid, 0)
        texts = []
        for file in (out, err, seen):
            file.seek(0)
            texts.append(file.read().decode())
    return {
        "status": os.waitstatus_to_exitcode(ended),
        "out": texts[0],
        "err": texts[1],
        "seen": json.loads(texts[2] or '["killed"]'),
        "memory": usage.ru_maxrss << 10,
        "seconds": usage.ru_utime + usage.ru_stime,
    }


def warm_up(good: str) -> None:
    """Import all that a command needs."""
    typer.main.get_command = functools.cache(typer.main.get_command)  # most of a command's time
    with open(os.devnull, "w") as sys.stdout:
        run_command(["inspect", good])
        run_command(["compare", good, "--threads", "1"])
    sys.stdout = sys.__stdout__
    gc.freeze()
    sys.addaudithook(watch)


def main() -> None:
    """Run what standard input says."""
    warm_up(sys.argv[1])
    idle = run([])["memory"]
    for line in sys.stdin:
        result = run(json.loads(line))
        result["memory"] -= idle
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
