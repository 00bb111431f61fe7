"""What is asked of a judge and what it replied, and the files of both: the JSON lines of OpenAI's batch API.

    {"custom_id": "vicuna-1-game1-3f…", "method": "POST", "url": "/v1/chat/completions", "body": {"model": …, "messages": …}}
    {"custom_id": "vicuna-1-game1-3f…", "response": {"status_code": 200, "body": {"choices": […]}}, "error": null}

OpenAI's batches and `vllm run-batch` take the one and give the other. Sending is `client.py`,
keeping what came before a kill `replies.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write


@dataclasses.dataclass(frozen=True)
class JudgeRequest:
    """One question to a judge.

    Attributes:
      id: its name, such as 'vicuna-1-game1'; the one of its kind among the requests that are made together.
      messages: {"role": "system" or "user" or "assistant", "content": text} each, in order.
      temperature: None leaves it to the endpoint (some models take none).
      max_tokens: longest reply.
      top_p, seed: sent where they are not 1.0 and None.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    temperature: float | None
    max_tokens: int
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self):
        if not self.id or not self.messages:
            raise UserError(f"a judge request needs an id and messages; this is {self!r}")
        if self.max_tokens < 1:
            raise UserError(f"max_tokens = {self.max_tokens!r} must be at least 1")

    def body(self, model: str) -> dict[str, Any]:
        """The JSON object that /chat/completions takes."""
        body = {"model": model, "messages": [dict(message) for message in self.messages],
                "max_tokens": self.max_tokens}  # fmt: skip
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.top_p != 1.0:
            body["top_p"] = self.top_p
        if self.seed is not None:
            body["seed"] = self.seed
        return body

    def custom_id(self, model: str) -> str:
        """The id and a digest of the body, so that a reply to other answers, prompts or settings is never taken for one to these."""
        body = json.dumps(self.body(model), ensure_ascii=False, sort_keys=True)
        return f"{self.id}-{hashlib.sha256(body.encode()).hexdigest()[:12]}"


@dataclasses.dataclass(frozen=True)
class JudgeReply:
    """What came back: text, or the error that stood in its place.

    Attributes:
      id: of its `JudgeRequest`.
    """

    id: str
    text: str | None
    error: str | None

    def __post_init__(self):
        if (self.text is None) == (self.error is None):
            raise ValueError(f"a reply has either a text or an error: {self!r}")


class MalformedReply(ValueError):
    """A body that is no chat completion."""


def reply_of(id: str, body: Any) -> JudgeReply:
    """The reply in a chat completion; a refusal (`content_filter`, or the model's own) and a lack of text are errors.

    Raises:
      MalformedReply: the body is none.
    """
    try:
        choice = body["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise MalformedReply("the body is no chat completion") from None
    if reason == "content_filter":
        return JudgeReply(id, None, "content filter: the endpoint withheld the reply")
    if refusal:
        return JudgeReply(id, None, f"the judge refused: {refusal}")
    if not isinstance(text, str):
        return JudgeReply(id, None, f"the reply has no text (finish_reason: {reason})")
    # JSON's escapes can spell half a character, as where max_tokens cut one in two.
    return JudgeReply(id, text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), None)


def write_requests(path: str | os.PathLike, requests: Iterable[JudgeRequest], model: str) -> int:
    """Writes requests as the input of a batch run; says how many.

    Raises:
      UserError: two requests have one id.
    """
    requests = unique(requests)
    with atomic_write(path, "w") as file:
        for request in requests:
            line = {"custom_id": request.custom_id(model), "method": "POST", "url": "/v1/chat/completions",
                    "body": request.body(model)}  # fmt: skip
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return len(requests)


def reply_line(custom_id: str, reply: JudgeReply) -> str:
    """A reply as a line of a batch run's output, newline and all."""
    line: dict[str, Any] = {"custom_id": custom_id, "response": None, "error": None}
    if reply.error is not None:
        line["error"] = {"code": "judge_error", "message": reply.error}
    else:
        message = {"role": "assistant", "content": reply.text}
        line["response"] = {"status_code": 200, "body": {"choices": [{"index": 0, "message": message}]}}  # fmt: skip
    return json.dumps(line, ensure_ascii=False) + "\n"


def read_replies(
    path: str | os.PathLike, requests: Iterable[JudgeRequest], model: str
) -> dict[str, JudgeReply]:
    """The replies in a batch run's output to these requests, by the requests' ids.

    Replies to other requests are passed over: one file may hold several benchmarks. Of several to one request a text goes
    before an error. A request that has none is missing from the result.

    Raises:
      UserError: the file is missing, or a line is not of this form (it names the line).
    """
    known = {request.custom_id(model): request.id for request in unique(requests)}
    replies: dict[str, JudgeReply] = {}
    for place, line in read_json_lines(path):
        custom_id = line.get("custom_id")
        if not isinstance(custom_id, str):
            raise UserError(
                f"{place} has no custom_id; give the output of a batch run of the file of requests"
            )
        if custom_id not in known:
            continue
        reply = _reply(known[custom_id], line, place)
        if reply.id not in replies or replies[reply.id].text is None:
            replies[reply.id] = reply
    return replies


def _reply(id: str, line: Mapping[str, Any], place: str) -> JudgeReply:
    response, error = line.get("response"), line.get("error")
    if isinstance(response, Mapping) and response.get("status_code", 200) != 200:
        error = response.get("body") or f"status {response['status_code']}"
    if error:
        return JudgeReply(id, None, error_message(error))
    try:
        return reply_of(id, response["body"] if isinstance(response, Mapping) else None)
    except (KeyError, MalformedReply):
        raise UserError(
            f"{place} has neither a chat completion in response.body nor an error; "
            "give the output of a batch run as it was written"
        ) from None


def error_message(body: Any) -> str:
    """The sentence in an endpoint's error, which may be {"error": {"message": …}} or anything else."""
    while isinstance(body, Mapping) and isinstance(body.get("error"), Mapping | str):
        body = body["error"]
    if isinstance(body, Mapping):
        body = body.get("message") or json.dumps(body, ensure_ascii=False)
    return " ".join(str(body).split())[:500]


def unique(requests: Iterable[JudgeRequest]) -> Sequence[JudgeRequest]:
    """The requests as a sequence.

    Raises:
      UserError: two have one id.
    """
    requests, seen = tuple(requests), set()
    for request in requests:
        if request.id in seen:
            raise UserError(f"two judge requests have the id {request.id!r}; give each its own")
        seen.add(request.id)
    return requests


def read_json_lines(path: str | os.PathLike) -> list[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file, one a line, each with its place for messages; empty lines are passed over.

    Raises:
      UserError: the file cannot be read, or a line is no JSON object (it names the line).
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); give a file of JSON lines") from None
    objects = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}, line {number},"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{place} is not JSON ({error.msg}); the file may be cut off") from None
        if not isinstance(value, dict):
            raise UserError(f"{place} is no JSON object; each line must be one")
        objects.append((place, value))
    return objects
