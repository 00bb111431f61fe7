"""An HTTP server on this machine whose files can be told to misbehave: for the tests of downloads."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import re
import threading
import time
from collections.abc import Iterator


@dataclasses.dataclass
class Served:
    """A file as the server has it.

    Attributes:
      etag, last_modified: as sent; None: not sent.
      ranges: whether `Range` and `If-Range` are understood.
      cap: the most bytes that one answer to `Range` has; None: no limit.
      length: whether the size is sent; chunked: whether the body comes in chunks.
      cuts: for each request in turn, after how many bytes of the body the connection is cut; None: not.
      statuses: answered in turn before the file is given.
      redirect: where the file is said to be.
      headers: sent besides.
      pause: seconds between blocks of 64 kB.
    """

    content: bytes = b""
    etag: str | None = '"one"'
    last_modified: str | None = "Wed, 01 Jan 2025 00:00:00 GMT"
    ranges: bool = True
    cap: int | None = None
    length: bool = True
    chunked: bool = False
    cuts: list[int | None] = dataclasses.field(default_factory=list)
    statuses: list[int] = dataclasses.field(default_factory=list)
    redirect: str | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    pause: float = 0.0


class FileServer:
    """`files`: by path, with their leading slash; `requests`: (method, path, headers) so far; `url`: of the root."""

    def __init__(self, url: str):
        self.url = url
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def gets(self, path: str) -> list[dict[str, str]]:
        """The headers of each GET of a path."""
        return [headers for method, asked, headers in self.requests if (method, asked) == ("GET", path)]  # fmt: skip


@contextlib.contextmanager
def file_server() -> Iterator[FileServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            served.requests.append((self.command, self.path, dict(self.headers)))
            file = served.files.get(self.path)
            status = 404 if file is None else 200
            if file is not None and body and file.statuses:
                status = file.statuses.pop(0)
            elif file is not None and file.redirect:
                status = 302
            if status != 200:
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", file.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_file(file, body)

        def send_file(self, file, body):
            content, begin = file.content, 0
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            mark = self.headers.get("If-Range")
            if file.ranges and asked and mark in (None, file.etag, file.last_modified):
                begin = int(asked[1])
                if begin >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                end = len(content) if file.cap is None else min(len(content), begin + file.cap)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
                content = content[:end]
            else:
                self.send_response(200)
            for name, value in {"ETag": file.etag, "Last-Modified": file.last_modified}.items():
                if value is not None:
                    self.send_header(name, value)
            for name, value in file.headers.items():
                self.send_header(name, value)
            if file.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif file.length:
                self.send_header("Content-Length", str(len(content) - begin))
            else:
                self.close_connection = True
            self.end_headers()
            if body:
                self.send_body(file, content[begin:])

        def send_body(self, file, content):
            cut = file.cuts.pop(0) if file.cuts else None
            content = content if cut is None else content[:cut]
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(content), 1 << 16):
                    block = content[start : start + (1 << 16)]
                    if file.chunked:
                        block = b"%x\r\n%s\r\n" % (len(block), block)
                    self.wfile.write(block)
                    self.wfile.flush()
                    time.sleep(file.pause)
                if file.chunked and cut is None:
                    self.wfile.write(b"0\r\n\r\n")
            if cut is not None:
                self.close_connection = True

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = FileServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
