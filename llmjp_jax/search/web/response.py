"""An answer as it goes to the client, with the headers that keep a browser from running or leaking anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

# Styles of ours, forms to ourselves, and nothing else: no script, whatever a document of the corpus says.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Nothing goes to other sites. `no-referrer` would make browsers send `Origin: null` with our own form.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


@dataclass(frozen=True, kw_only=True)
class Response:
    """Status, type and body; `cache` is the Cache-Control. `allow`: methods, with a 405. `retry`: seconds, with a 503."""

    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    body: bytes
    cache: str = "private, no-cache"
    allow: str | None = None
    retry: int | None = None

    def head(self, close: bool) -> bytes:
        """The status line and headers, which hold nothing that a client sent."""
        reason = HTTPStatus(self.status).phrase
        headers = [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Cache-Control", self.cache),
            *_HEADERS,
        ]
        if self.allow:
            headers.append(("Allow", self.allow))
        if self.retry:
            headers.append(("Retry-After", str(self.retry)))
        if close:
            headers.append(("Connection", "close"))
        lines = [
            f"HTTP/1.1 {self.status} {reason}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def html_response(page: str, status: int = 200, **more: Any) -> Response:
    """A page. `more`: fields of `Response`."""
    return Response(status=status, body=page.encode(), **more)


def json_response(content: Any, status: int = 200, **more: Any) -> Response:
    """A JSON object; half a character in it becomes its escape, which JSON has."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(
        status=status,
        content_type="application/json",
        body=text.encode("utf-8", "backslashreplace"),
        **more,
    )
