"""Requests over https as downloads need them: refusals told from failures that pass, and these tried again with patience."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from llmjp_jax.errors import UserError

_PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that may be another a moment later
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server is waited for.

    Attributes:
      attempts: in a row that come no farther, before it is given up.
      first_wait: seconds before the second attempt; each further wait is twice as long.
      timeout: seconds without an answer or a byte that end an attempt.
    """

    attempts: int = 6
    first_wait: float = 1.0
    timeout: float = 60.0


class Refusal(UserError):
    """The server answered that it will not give the file. `status` is its HTTP status."""

    def __init__(self, url: str, status: int):
        self.url, self.status = url, status
        meaning = {401: "it wants a token", 403: "access is not allowed", 404: "there is no such file", 410: "it is gone"}  # fmt: skip
        super().__init__(f"{url}: the server answered {status}: {meaning.get(status, 'a refusal')}")

    def __reduce__(self):
        return type(self), (self.url, self.status)


class Interruption(Exception):
    """An attempt that ended before the file was whole; another may do better, after `wait` seconds at least."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


def check_url(url: str, place: str) -> None:
    """Raises `UserError` unless `url` is https, or http to this very machine. `place` says where it stands."""
    parts = urlsplit(url)
    if not (parts.scheme == "https" and parts.hostname) and not _is_local(url):
        raise UserError(f"{place}: {url!r} is no https address; correct it")


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in _LOOPBACK


def open_url(
    url: str,
    *,
    token: str | None,
    timeout: float,
    headers: dict[str, str] | None = None,
    method: str = "GET",
) -> Any:
    """A streaming `requests.Response` with status 200, 206 or 416; close it.

    Raises:
      Refusal: any other final status. UserError: a redirect that leads away from https, or endlessly.
      Interruption: a status that may pass. requests.RequestException: no connection.
    """
    import requests

    headers = {"Accept-Encoding": "identity", "User-Agent": "llmjp_jax", **(headers or {})}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    session = requests.Session()
    session.max_redirects = 10
    try:
        response = session.request(
            method, url, headers=headers, timeout=(min(timeout, 20), timeout), stream=True, allow_redirects=True
        )  # fmt: skip
    except (requests.TooManyRedirects, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL) as error:  # fmt: skip
        raise UserError(
            f"{url} redirects where it must not ({error}); correct the manifest"
        ) from None
    for hop in (*response.history, response):
        if urlsplit(hop.url).scheme != "https" and not _is_local(url):
            response.close()
            raise UserError(
                f"{url} redirects to {hop.url}, which is not https; nothing was fetched"
            )
    if response.status_code in (200, 206, 416):
        return response
    response.close()
    if response.status_code in _PASSING:
        wait = response.headers.get("Retry-After", "")
        seconds = min(float(wait), 300.0) if wait.isdigit() else 0.0
        raise Interruption(f"the server answered {response.status_code}", seconds)
    raise Refusal(url, response.status_code)


def retried(
    attempt: Callable[[], Any],
    url: str,
    patience: Patience,
    reached: Callable[[], int] = lambda: 0,
) -> Any:
    """What `attempt()` returns, called again after each `Interruption` or failed connection, as `patience` has it.

    Args:
      reached: a number that grows with progress, such as the bytes had; an attempt that reached farther than all before
        counts as the first. One that begins anew and breaks off at the same place makes no progress.
    """
    import requests
    import urllib3

    failures, farthest = 0, reached()
    while True:
        try:
            return attempt()
        except requests.exceptions.SSLError as error:
            raise UserError(f"{url}: no secure connection ({_reason(error)})") from None
        except Interruption as error:
            reason, wait = str(error), error.wait
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:  # fmt: skip
            reason, wait = f"no connection, or a broken one: {_reason(error)}", 0.0
        failures = 1 if reached() > farthest else failures + 1
        farthest = max(farthest, reached())
        if failures >= patience.attempts:
            kept = f"run again to go on from byte {reached():,}" if reached() else "try again later"
            raise UserError(f"{url} could not be fetched in {failures} attempts ({reason}); {kept}")
        time.sleep(max(wait, patience.first_wait * 2 ** (failures - 1)))


def _reason(error: BaseException) -> str:
    """The innermost cause of an error, in one line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return " ".join(str(error).split()) or type(error).__name__
