"""One connection of a client: reads its requests within limits of size and time, and sends the answers. What an answer says is for
`application`.

A browser shows the sentence of a refusal only if the socket is not closed while something is still to be read from it, which
resets the connection. So what was not read is read, up to a bound, before it is closed.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler

from llmjp_jax.search.web.question import LONGEST
from llmjp_jax.search.web.request import (
    Refusal,
    Request,
    check_host,
    check_sender,
    parse_fields,
    parse_target,
)
from llmjp_jax.search.web.response import Response

# A character is at most 12 bytes when percent-encoded; the rest of a line or form takes its share.
LONGEST_LINE = LONGEST_BODY = 12 * LONGEST + 20_000
HEAD_SECONDS = 20.0  # from when a request may begin to the end of its head: so long an idle connection is kept too
BODY_SECONDS = 30.0
SEND_SECONDS = 60.0
DRAIN_SECONDS, DRAIN_BYTES = 15.0, 64 << 20
_METHODS = ("GET", "HEAD", "POST")
_FORM = "application/x-www-form-urlencoded"


class TimedInput(io.RawIOBase):
    """What comes from a socket until a moment, however slowly it drips: then `TimeoutError`."""

    def __init__(self, connection: socket.socket):
        self._connection, self._until, self.received = connection, 0.0, 0

    def allow(self, seconds: float) -> None:
        """From now on there are so many seconds; `received` counts bytes anew."""
        self._until, self.received = time.monotonic() + seconds, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        size = self._connection.recv_into(buffer)
        self.received += size
        return size


class Connection(BaseHTTPRequestHandler):
    """Answers one connection's requests, one after another; `server` is a `Server`."""

    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.connection = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._input = TimedInput(self.connection)
        self.rfile = io.BufferedReader(self._input, 1 << 16)

    def finish(self) -> None:
        self.rfile.close()

    def handle_one_request(self) -> None:
        self.close_connection, self.command, self.path, self._whole = True, None, "", False
        self._input.allow(HEAD_SECONDS)
        if not self._has_more():
            return
        try:
            request = self._read_request()
            response = self.server.application.answer(request)
        except Refusal as refusal:
            response = self.server.application.refused(refusal, self.path)
        except TimeoutError:
            late = Refusal(408, "The request did not arrive in time; send it again.")
            response = self.server.application.refused(late, self.path)
        with contextlib.suppress(TimeoutError):  # the client does not read: closed
            self._send(response)

    def _has_more(self) -> bool:
        """Waits until something comes; False if nothing does in time, or the client has closed."""
        try:
            return bool(self.rfile.peek(1))
        except TimeoutError:
            return False

    def _read_request(self) -> Request:
        line = self.rfile.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise Refusal(
                414, f"The address is too long; a query has at most {LONGEST:,} characters."
            )
        # Letters that a program did not percent-encode: some of their bytes would count as white space.
        self.raw_requestline = re.sub(rb"[\x80-\xff]", lambda byte: b"%%%02X" % byte[0][0], line)
        if not self.parse_request() or self.request_version == "HTTP/0.9":
            raise Refusal(400, "The request is not HTTP/1.1.")
        headers = {
            name: self.headers.get_all(name, [])
            for name in ("Host", "Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode")
        }
        host = check_host(headers.pop("Host"), self.server.only_loopback)
        if self.command not in _METHODS:
            raise Refusal(405, f"This server knows {', '.join(_METHODS)} alone.", allow=_METHODS)
        check_sender(self.command, host, *headers.values())
        path, fields = parse_target(self.path)
        body = self._read_body()
        self._whole = True
        if self.command == "POST":
            fields |= parse_fields(body)
        return Request("POST" if self.command == "POST" else "GET", path, fields)

    def _read_body(self) -> str:
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get_all("Transfer-Encoding"):
            raise Refusal(411, "The request needs a Content-Length, and no Transfer-Encoding.")
        if self.command != "POST":
            if lengths not in ([], ["0"]):
                raise Refusal(400, f"A {self.command} has no body.")
            return ""
        if len(lengths) != 1 or not re.fullmatch(r"\d{1,15}", lengths[0], re.ASCII):
            raise Refusal(411, "The request needs one Content-Length, a whole number.")
        if int(lengths[0]) > LONGEST_BODY:
            raise Refusal(413, f"The text is too long; {LONGEST:,} characters are the most.")
        if self.headers.get_content_type() != _FORM:
            raise Refusal(415, f"The form must be sent as {_FORM}.")
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._input.allow(BODY_SECONDS)
        body = self.rfile.read(int(lengths[0]))
        if len(body) != int(lengths[0]):
            raise ConnectionAbortedError
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise Refusal(400, "The form is not UTF-8.") from None

    def _send(self, response: Response) -> None:
        self.close_connection |= not self._whole
        body = b"" if self.command == "HEAD" else response.body
        self.connection.settimeout(SEND_SECONDS)
        self.connection.sendall(response.head(self.close_connection) + body)
        if not self._whole:
            self._drain()

    def _drain(self) -> None:
        """Reads what else the client sends, up to a bound, so that it comes to read the answer."""
        self.connection.shutdown(socket.SHUT_WR)
        self._input.allow(DRAIN_SECONDS)
        while self._input.received < DRAIN_BYTES and self._input.read(1 << 16):
            pass

    # What http.server would do, otherwise.

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What `parse_request` finds wrong."""
        sentences = {
            431: "The request has too many headers, or one that is too long.",
            505: "This server knows HTTP/1.1.",
        }
        raise Refusal(code, sentences.get(code, "The request is not HTTP/1.1."))

    def handle_expect_100(self) -> bool:
        return True  # once it is known that the body will be read

    def log_message(self, format: str, *args: object) -> None:
        print(f"search: {format % args}", file=sys.stderr)
