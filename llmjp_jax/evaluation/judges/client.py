"""Asks a judge behind any OpenAI-compatible endpoint: many at a time, with retries, and never the same thing for nothing.

    client = JudgeClient("https://api.openai.com/v1", "gpt-4")     # key: the environment variable OPENAI_API_KEY
    for reply in client.ask(requests): ...                          # as they come

Files of requests and replies are `requests.py`; keeping what came before a kill is `replies.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import json
import os
import queue
import random
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.requests import (
    JudgeReply,
    JudgeRequest,
    MalformedReply,
    error_message,
    reply_of,
    unique,
)

_LONGEST_BODY = 32 << 20
# Waits that a server may ask for; beyond, the user decides.
_LONGEST_RETRY_AFTER = 600.0


class _Passing(Exception):
    """A failure that may pass: too many requests, an error of the server, a broken connection or body.

    Attributes:
      wait: seconds that the server asks to wait; None: it does not say.
    """

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


@dataclasses.dataclass
class JudgeClient:
    """A model behind `base_url`/chat/completions.

    Attributes:
      base_url: such as https://api.openai.com/v1 or http://localhost:8000/v1; None: of the variable OPENAI_BASE_URL.
      model: its name there.
      api_key_env: the environment variable that holds the key; if it is not set none is sent. The key itself is kept
        nowhere, and no message has it.
      retries: tries after the first, each after a longer wait (2 x, from `first_wait` to `longest_wait` seconds, half of it
        random; or what the server asks for in Retry-After).
      timeout: seconds from sending a request to the end of its reply.
      concurrency: requests under way at a time.
      requests_per_minute: sent at most; None: as fast as replies come.

    Raises:
      UserError: no address, or one that is not plain http(s); a number out of range.
    """

    base_url: str | None
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    retries: int = 8
    timeout: float = 180.0
    concurrency: int = 8
    requests_per_minute: float | None = None
    first_wait: float = 1.0
    longest_wait: float = 60.0

    def __post_init__(self):
        self.base_url = _checked_url(self.base_url or os.environ.get("OPENAI_BASE_URL"))
        if not self.model:
            raise UserError("the judge has no name; give the model's name at the endpoint")
        lowest = {"retries": 0, "concurrency": 1, "timeout": 1e-3, "first_wait": 0, "longest_wait": 0}  # fmt: skip
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise UserError(f"{name} = {getattr(self, name)!r} must be at least {least}")
        if self.requests_per_minute is not None and self.requests_per_minute <= 0:
            raise UserError(
                f"requests_per_minute = {self.requests_per_minute!r} must be more than 0"
            )

    def ask(self, requests: Iterable[JudgeRequest]) -> Iterator[JudgeReply]:
        """Yields a reply to each request, in the order in which they come.

        What cannot be had after all retries, and what the endpoint refuses to talk about, is a reply with an error.

        Raises:
          UserError: two requests have one id; or the endpoint cannot be used at all (wrong key, name or address, no
            credit, never reached). It comes after the replies that were under way.
        """
        requests = unique(requests)
        return _Asking(self, requests).replies() if requests else iter(())


class _Asking:
    """One call of `JudgeClient.ask`: its threads and what they share."""

    def __init__(self, client: JudgeClient, requests: Iterable[JudgeRequest]):
        self.client = client
        self.key = _key(client.api_key_env)
        self.waiting: queue.SimpleQueue[JudgeRequest] = queue.SimpleQueue()
        for request in requests:
            self.waiting.put(request)
        self.count = self.waiting.qsize()
        self.done: queue.SimpleQueue[JudgeReply | BaseException | None] = queue.SimpleQueue()
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.next_send = 0.0  # time.monotonic() before which nothing is sent
        self.reached = False  # whether the endpoint ever said anything

    def replies(self) -> Iterator[JudgeReply]:
        workers = min(self.client.concurrency, self.count)
        # Daemons: an interrupted process need not wait for what is under way.
        for _ in range(workers):
            threading.Thread(target=self._work, daemon=True).start()
        failure: BaseException | None = None
        try:
            while workers:
                item = self.done.get()
                if item is None:
                    workers -= 1
                elif isinstance(item, BaseException):
                    failure = failure or item
                else:
                    yield item
        finally:
            self.stopped.set()
        if failure is not None:
            raise failure

    def _work(self) -> None:
        import requests

        try:
            with requests.Session() as session:
                while not self.stopped.is_set():
                    with contextlib.suppress(queue.Empty):
                        request = self.waiting.get_nowait()
                        reply = self._ask(session, request)
                        if reply is not None:
                            self.done.put(reply)
                        continue
                    return
        except BaseException as error:
            self.stopped.set()
            self.done.put(error)
        finally:
            self.done.put(None)

    def _ask(self, session: Any, request: JudgeRequest) -> JudgeReply | None:
        """The reply after retries; None where another request's failure ended it all."""
        client = self.client
        for attempt in range(client.retries + 1):
            if not self._wait_for_turn():
                return None
            try:
                return self._send(session, request)
            except _Passing as passing:
                reason = self._without_key(str(passing))
                wait = min(client.longest_wait, client.first_wait * 2**attempt)
                wait *= random.uniform(0.5, 1)
                if passing.wait is not None:
                    wait = self._asked_for(passing.wait, wait)
            if attempt < client.retries and self.stopped.wait(wait):
                return None
        if not self.reached:
            raise UserError(
                f"{client.base_url} cannot be reached ({reason}); check the address and that the server runs"
            )
        return JudgeReply(request.id, None, f"no reply after {client.retries + 1} tries: {reason}")

    def _asked_for(self, seconds: float, wait: float) -> float:
        """The server's wait, which holds for all threads."""
        if seconds > _LONGEST_RETRY_AFTER:
            raise UserError(
                f"{self.client.base_url} asks to wait {seconds:.0f} seconds; run the same command again then"
            )
        with self.lock:
            self.next_send = max(self.next_send, time.monotonic() + seconds)
        return seconds + min(wait, 1.0)

    def _wait_for_turn(self) -> bool:
        """Waits until a request may be sent; False: nothing is sent any more."""
        per_minute = self.client.requests_per_minute
        while not self.stopped.is_set():
            with self.lock:
                now = time.monotonic()
                if now >= self.next_send:
                    if per_minute is not None:
                        self.next_send = now + 60 / per_minute
                    return True
                wait = self.next_send - now
            self.stopped.wait(wait)
        return False

    def _send(self, session: Any, request: JudgeRequest) -> JudgeReply:
        status, headers, content = self._post(session, request)
        self.reached = True
        try:
            body = json.loads(content)
        except ValueError:  # also of bytes that are no UTF-8
            body = None
        if status == 200:
            try:
                return reply_of(request.id, body)
            except MalformedReply as error:
                raise _Passing(str(error)) from None
        said = error_message(content.decode("utf-8", "replace") if body is None else body)
        said = self._without_key(said)
        if status == 429 and "insufficient_quota" in _codes(body):
            raise UserError(f"{self.client.base_url} says that there is no credit left: {said}")
        if status in (408, 409, 425, 429) or status >= 500:
            raise _Passing(f"status {status}: {said}", _retry_after(headers.get("Retry-After")))
        if status in (400, 413, 422) and _about_this_item(status, body, said):
            return JudgeReply(request.id, None, f"status {status}: {said}")
        raise UserError(self._refusal(status, said, request))

    def _post(self, session: Any, request: JudgeRequest) -> tuple[int, Any, bytes]:
        """Status, headers and body, within `timeout`."""
        import requests
        import urllib3

        client, deadline = self.client, time.monotonic() + self.client.timeout

        def authorize(prepared):  # given as auth, or requests would take a password from ~/.netrc
            if self.key is not None:
                prepared.headers["Authorization"] = f"Bearer {self.key}"
            return prepared

        try:
            with session.post(
                f"{client.base_url}/chat/completions",
                data=json.dumps(request.body(client.model), ensure_ascii=False).encode(),
                headers={"Content-Type": "application/json"},
                auth=authorize,
                timeout=(min(30.0, client.timeout), client.timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = bytearray()
                while piece := response.raw.read1(1 << 16, decode_content=True):
                    content += piece
                    if time.monotonic() > deadline:
                        raise _Passing(f"no whole reply in {client.timeout:g} seconds")
                    if len(content) > _LONGEST_BODY:
                        raise _Passing(f"a reply of more than {_LONGEST_BODY >> 20} MiB")
                return response.status_code, response.headers, bytes(content)
        except requests.exceptions.SSLError as error:
            raise UserError(
                f"{client.base_url} has no valid certificate ({_last(error)}); check the address"
            ) from None
        except requests.Timeout:
            raise _Passing(f"no reply in {client.timeout:g} seconds") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError,
                urllib3.exceptions.HTTPError, OSError) as error:  # fmt: skip
            raise _Passing(f"the connection broke ({_last(error)})") from None

    def _refusal(self, status: int, said: str, request: JudgeRequest) -> str:
        client = self.client
        if status in (401, 403):
            # What is said of a wrong key (401) may show parts of it.
            why = f"status 403: {said}" if status == 403 else "status 401"
            key = f"the key in {client.api_key_env}" if self.key else f"a request without a key ({client.api_key_env} is not set)"  # fmt: skip
            return f"{client.base_url} refused {key} ({why}); set the variable {client.api_key_env} to a key that it takes"  # fmt: skip
        if status == 404:
            return (
                f"{client.base_url} has no /chat/completions or no model {client.model!r} (status 404: {said}); "
                "check the address, which mostly ends with /v1, and the judge's name"
            )
        return (
            f"{client.base_url} does not take the request {request.id} (status {status}: {said}); "
            "mend what it names, such as the judge's name or the address"
        )

    def _without_key(self, text: str) -> str:
        return text if not self.key else text.replace(self.key, "***")


def _checked_url(url: str | None) -> str:
    if not url:
        raise UserError(
            "no endpoint is given; give its address, such as https://api.openai.com/v1, or set OPENAI_BASE_URL"
        )
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        parts.port  # noqa: B018  (raises where it is no number)
    except ValueError:
        plain = False
    if not plain or parts.query or parts.fragment:
        raise UserError(
            "the endpoint's address must be like https://host/v1, without a password or a query in it; "
            "the key belongs in an environment variable"
        )
    return url.rstrip("/")


def _key(variable: str) -> str | None:
    key = os.environ.get(variable)
    if not key:
        return None
    if not key.isascii() or not key.isprintable() or " " in key:
        # Said here, for the HTTP library would show the key.
        raise UserError(
            f"the variable {variable} holds a space, a line end or another character that no key has; set it anew"
        )
    return key


def _retry_after(value: str | None) -> float | None:
    """Seconds, of a number or a date."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value)) if value.strip().lower() not in ("nan", "inf") else None
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _codes(body: Any) -> set[str]:
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return set()
    return {str(error.get("code")), str(error.get("type"))}


def _about_this_item(status: int, body: Any, said: str) -> bool:
    """Whether only this request is refused: its content is filtered, or it is too long."""
    codes = _codes(body) | ({str(body.get("code"))} if isinstance(body, dict) else set())
    by_code = codes & {"content_filter", "content_policy_violation", "context_length_exceeded"}
    by_words = ("content filter", "content management policy", "maximum context length")
    return status == 413 or bool(by_code) or any(words in said.lower() for words in by_words)


def _last(error: BaseException) -> str:
    """The innermost reason: what HTTP libraries wrap says more than the wrapping."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
