"""A web server of a folder that keeps a log, and what fsspec keeps in memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from upath import UPath


@dataclass
class Web:
    """The files of a folder, under three addresses.

    Attributes:
        url: where ranges are served.
        whole: where a file comes only whole.
        sizeless: where no size is told.
        closed: where all is forbidden.
        folder: where the files are.
        served: the first byte and the number of bytes of each answer with bytes.
        asked: how many requests there were.
    """

    url: str
    folder: Path
    served: list[tuple[int, int]] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.whole, self.sizeless, self.closed = (
            f"{self.url}/{kind}" for kind in ("whole", "sizeless", "closed")
        )

    def forget(self) -> None:
        self.served.clear()
        self.asked = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        web = self.web
        web.asked += 1
        kind, path = re.fullmatch(r"/(?:(whole|sizeless|closed)/)?([^?]*).*", self.path).groups()
        file = web.folder / path
        if kind == "closed":
            return self._answer(403)
        if file.is_dir():
            if not path.endswith("/"):
                return self._answer(301, headers={"Location": f"/{path}/"})
            names = sorted(f"{f.name}/" if f.is_dir() else f.name for f in file.iterdir())
            page = "".join(f'<a href="{name}">{name}</a>' for name in names).encode()
            return self._answer(200, page, {"Content-Type": "text/html"})
        if not file.is_file():
            return self._answer(404)
        content, start, status, headers = file.read_bytes(), 0, 200, {}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and kind != "whole":
            start, size = int(asked[1]), len(content)
            content, status = content[start : int(asked[2]) + 1], 206
            headers["Content-Range"] = f"bytes {start}-{start + len(content) - 1}/{size}"
        if self.command == "GET":
            web.served.append((start, len(content)))
        return self._answer(status, content, headers, sized=kind != "sizeless")

    def _answer(
        self,
        status: int,
        content: bytes = b"",
        headers: dict[str, str] | None = None,
        sized: bool = True,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if sized:
            self.send_header("Content-Length", str(len(content)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client has seen enough


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    folder = tmp_path / "served"
    folder.mkdir()
    server = _Server(("127.0.0.1", 0), _Handler)
    _Handler.web = Web(f"http://127.0.0.1:{server.server_port}", folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield _Handler.web
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[UPath]:
    """A folder of fsspec's memory, of this test alone."""
    folder = UPath(f"memory:/{tmp_path}")
    folder.mkdir(parents=True)
    yield folder
    folder.fs.rm(folder.path, recursive=True)
