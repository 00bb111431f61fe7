"""A chat-completions endpoint on this machine that can be told to misbehave: for the tests of the judges."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator


def completion(text: str | None, reason: str = "stop", **message) -> dict:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text, **message}}
        ],
    }  # fmt: skip


@dataclasses.dataclass
class Say:
    """One answer of the server.

    Attributes:
      body: JSON, or bytes as they are.
      cut: bytes of the body that are sent before the connection is closed, though more were promised.
      trickle: seconds before each byte. wait: seconds before anything.
    """

    body: dict | bytes = dataclasses.field(default_factory=lambda: completion("[[A]]"))
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    cut: int | None = None
    wait: float = 0.0
    trickle: float = 0.0
    hang_up: bool = False


class JudgeServer:
    """Attributes:
    script: what it says to a request's body, given how often it was asked this; `Say()` if it gives None.
    requests: (headers, body) so far. times: of each, time.monotonic(). most: requests at one time.
    """

    def __init__(self, url: str):
        self.url = url
        self.script: Callable[[dict, int], Say | None] = lambda body, count: None
        self.requests: list[tuple[dict[str, str], dict]] = []
        self.times: list[float] = []
        self.paths: list[str] = []
        self.most = self.now = 0
        self.lock = threading.Lock()

    def asked(self) -> list[str]:
        """The last message of each request so far."""
        return [body["messages"][-1]["content"] for _, body in self.requests]


@contextlib.contextmanager
def judge_server() -> Iterator[JudgeServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with judge.lock:
                count = sum(before == body for _, before in judge.requests)
                judge.requests.append((dict(self.headers), body))
                judge.times.append(time.monotonic())
                judge.paths.append(self.path)
                judge.now += 1
                judge.most = max(judge.most, judge.now)
            try:
                with contextlib.suppress(OSError):
                    self._say(judge.script(body, count) or Say())
            finally:
                with judge.lock:
                    judge.now -= 1

        def _say(self, say: Say) -> None:
            time.sleep(say.wait)
            if say.hang_up:
                self.close_connection = True
                return
            content = say.body if isinstance(say.body, bytes) else json.dumps(say.body).encode()
            self.send_response(say.status)
            for name, value in {"Content-Length": str(len(content)), **say.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if say.trickle:
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(say.trickle)
                return
            self.wfile.write(content[: say.cut])
            if say.cut is not None:
                self.close_connection = True

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    judge = JudgeServer(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)  # fmt: skip
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
