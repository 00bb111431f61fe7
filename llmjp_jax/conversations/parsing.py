"""A line of a data set for tuning as a conversation, a finished text or a pair of answers; every mistake names its place.

What these are is `records.py`; how they become text, `templates.py`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from llmjp_jax.conversations.records import Conversation, Pair, Record, Text, Turn
from llmjp_jax.errors import UserError

MAX_RECORD_BYTES = 4_000_000  # some two million tokens: no example, but a damaged or misjoined file

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_FORMS = (
    '{"instruction", "input", "output"}, {"conversations": [...]}, {"messages": [...]} or {"text"}'
)


def read_records(path: str | os.PathLike) -> Iterator[tuple[int, int, Record]]:
    """The records of a file of JSON lines, or of one JSON array (a `.json` file that begins with a bracket), in order.

    Yields:
      (line number from 1, byte at which the line starts, record); of an array (number of the record from 1, 0, record).

    Raises:
      UserError: there is no such file, or a record is malformed; it names file, line and field.
    """
    path = Path(path)
    try:
        file = path.open("rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        raise UserError(f"there is no file of examples {path}; check the path") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; give a file of JSON lines") from None
    with file:
        if (
            path.suffix == ".json"
            and file.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        ):
            yield from _array(file, path)
        else:
            yield from _lines(file, path)


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, int, Record]]:
    number = offset = 0
    # A longer line is never read whole.
    while line := file.readline(MAX_RECORD_BYTES + 2):
        number += 1
        if not line.strip() and _ends_blank(file):
            return
        yield number, offset, parse_record(line, f"{path}, line {number}")
        offset += len(line)


def _ends_blank(file: IO[bytes]) -> bool:
    """Whether nothing but blank lines follows, as some writers leave them."""
    while part := file.read(1 << 16):
        if part.strip():
            return False
    return True


def _array(file: IO[bytes], path: Path) -> Iterator[tuple[int, int, Record]]:
    for number, record in enumerate(_json(file.read(), f"{path}"), 1):
        yield number, 0, parse_record(orjson.dumps(record), f"{path}, record {number}")


def parse_record(line: bytes, place: str) -> Record:
    """One JSON object as a record.

    The forms, of which the first that a line has is taken; other fields mean nothing:

        {"conversations": [{"from": "human" | "gpt" | "system", "value": text}, ...]}
        {"messages": [{"role": "user" | "assistant" | "system", "content": text}, ...]}
        {"instruction": text, "input" or "context": text, "output" or "response": text}    the input may be missing or empty
        {"text": the question, "output": text}                                             ichikara, AnswerCarefully
        {"text": a finished text}
        any of these prompts, or {"prompt": text or messages}, with {"chosen": ..., "rejected": ...}: texts, or messages
        whose last is the answer; the prompt may be missing where both begin with it

    `system`, a string, may stand beside the first three.

    Args:
      line: at most `MAX_RECORD_BYTES` and its newline.
      place: what errors call it, as "train.jsonl, line 3".

    Raises:
      UserError: not JSON, too long, a missing or empty field, a role out of order, a value that is no string.
    """
    if len(line.rstrip(b"\r\n")) > MAX_RECORD_BYTES:
        raise UserError(
            f"{place} is longer than {MAX_RECORD_BYTES:,} bytes; split the record or remove it"
        )
    if not line.strip():
        raise UserError(f"{place} is empty; remove it, each line must be one JSON object")
    record = _json(line, place)
    if not isinstance(record, dict):
        raise UserError(f"{place} is not a JSON object; write {_FORMS}")
    if "chosen" in record or "rejected" in record:
        return _pair(record, place)
    if (
        "text" in record
        and not {"conversations", "messages", "instruction", "output"} & record.keys()
    ):
        return Text(_text(record, "text", place))
    return _answered(_prompt(record, place), record, place)


def parse_messages(messages: Sequence[Mapping[str, Any]], place: str = "messages") -> Conversation:
    """`[{"role": "user", "content": "..."}, ...]`, with a system message first or none, as a conversation.

    Raises:
      UserError: no messages, one of another form, a role out of order.
    """
    return _turns(messages, "role", "content", "messages", place)


def _prompt(record: dict[str, Any], place: str) -> Conversation:
    """The conversation of a record; of the forms with `output`, the turn of the user."""
    for field, role, content in (
        ("conversations", "from", "value"),
        ("messages", "role", "content"),
    ):
        if field in record:
            return _with_system(_turns(record[field], role, content, field, place), record, place)
    if "instruction" in record:
        given = "input" if record.get("input") else "context"
        text = _optional(record, given, place)
        turn = Turn("user", _text(record, "instruction", place, empty=True))
        return _with_system(Conversation((turn,), input=text or None), record, place)
    if "text" in record:
        return Conversation((Turn("user", _text(record, "text", place, empty=True)),))
    if "prompt" in record:
        if isinstance(record["prompt"], list):
            return _turns(record["prompt"], "role", "content", "prompt", place)
        return Conversation((Turn("user", _text(record, "prompt", place, empty=True)),))
    if "output" in record or "response" in record:
        raise UserError(f"{place} has no field 'instruction'; add it")
    names = ", ".join(map(repr, record)) or "no fields"
    raise UserError(f"{place} has {names} and is no example; write {_FORMS}")


def _answered(conversation: Conversation, record: dict[str, Any], place: str) -> Conversation:
    """A conversation to learn from: with its `output`, if the form has one, and every response."""
    if "conversations" not in record and "messages" not in record:
        answer = "response" if "response" in record and "output" not in record else "output"
        return conversation.with_turn("assistant", _text(record, answer, place))
    if not conversation.answered:
        raise UserError(f"{place} ends with the user's turn; a response must end it")
    return conversation


def _pair(record: dict[str, Any], place: str) -> Pair:
    for field in ("chosen", "rejected"):
        if field not in record:
            raise UserError(f"{place} has no field {field!r}; a pair needs chosen and rejected")
    answers = {field: record[field] for field in ("chosen", "rejected")}
    if not any(isinstance(answer, list) for answer in answers.values()):
        prompt = _prompt(record, place)
        texts = {field: _text(record, field, place) for field in answers}
        return _checked_pair(prompt, texts, place)
    stated = {"conversations", "messages", "instruction", "text", "prompt"} & record.keys()
    prompt = _prompt(record, place) if stated else None
    texts = {}
    for field in answers:
        before, texts[field] = _last_response(record, field, place)
        if prompt is None:
            prompt = before
        if before not in (None, prompt):
            raise UserError(
                f"{place}: field {field!r} begins with another conversation than the record's prompt; both must be alike"
            )
    if prompt is None:
        raise UserError(f"{place} has no prompt before chosen and rejected; add a field 'prompt'")
    return _checked_pair(prompt, texts, place)


def _checked_pair(prompt: Conversation, texts: dict[str, str], place: str) -> Pair:
    if prompt.answered:
        raise UserError(
            f"{place}: the prompt before chosen and rejected ends with a response; the user's turn must end it"
        )
    return Pair(prompt, **texts)


def _last_response(
    record: dict[str, Any], field: str, place: str
) -> tuple[Conversation | None, str]:
    """What comes before the answer in a list of messages, and the answer."""
    messages = record[field]
    if not isinstance(messages, list) or not messages:
        raise UserError(
            f"{place}: chosen and rejected must both be texts or both lists of messages"
        )
    role, text = _message(
        messages[-1], "role", "content", f"{place}: field '{field}[{len(messages) - 1}]'"
    )
    if role != "assistant":
        raise UserError(
            f"{place}: field {field!r} ends with the role {role!r}; a response must end it"
        )
    if not text.strip():
        raise UserError(f"{place}: field {field!r} ends with an empty response; remove the record")
    before = messages[:-1]
    return (_turns(before, "role", "content", field, place) if before else None), text


def _turns(messages: Any, role_key: str, text_key: str, field: str, place: str) -> Conversation:
    if not isinstance(messages, list | tuple) or not messages:
        raise UserError(f"{place}: field {field!r} must be a list with at least one message")
    system, turns = None, []
    for number, message in enumerate(messages):
        where = f"{place}: field '{field}[{number}]'"
        role, text = _message(message, role_key, text_key, where)
        if role == "system":
            if number:
                raise UserError(
                    f"{where} has the role 'system', which may only stand first; move it"
                )
            system = text
            continue
        if role == "assistant" and not text.strip():
            raise UserError(f"{where} is an empty response; remove the record or the turn")
        expected = "assistant" if len(turns) % 2 else "user"
        if role != expected:
            raise UserError(
                f"{where} has the role {message[role_key]!r} out of order, where the {expected}'s must stand; "
                "user and assistant take turns, the user first"
            )
        turns.append(Turn(role, text))
    if not turns:
        raise UserError(f"{place}: field {field!r} has a system message alone; add the user's")
    return Conversation(tuple(turns), system=system)


def _message(message: Any, role_key: str, text_key: str, where: str) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise UserError(f"{where} must be a JSON object with {role_key!r} and {text_key!r}")
    for key in (role_key, text_key):
        if key not in message:
            raise UserError(f"{where} has no {key!r}; add it")
        if not isinstance(message[key], str):
            raise UserError(f"{where}: {key!r} is {_kind(message[key])}; it must be a string")
    if message[role_key] not in _ROLES:
        known = ", ".join(map(repr, _ROLES))
        raise UserError(f"{where} has the unknown role {message[role_key]!r}; write one of {known}")
    return _ROLES[message[role_key]], message[text_key]


def _with_system(conversation: Conversation, record: dict[str, Any], place: str) -> Conversation:
    system = _optional(record, "system", place)
    if not system:
        return conversation
    if conversation.system is not None:
        raise UserError(f"{place} has a field 'system' and a system message; remove one of them")
    return dataclasses.replace(conversation, system=system)


def _text(record: dict[str, Any], field: str, place: str, empty: bool = False) -> str:
    if field not in record:
        raise UserError(f"{place} has no field {field!r}; add it")
    value = record[field]
    if not isinstance(value, str):
        raise UserError(f"{place}: field {field!r} is {_kind(value)}; it must be a string")
    if not empty and not value.strip():
        raise UserError(f"{place}: field {field!r} is empty; remove the record")
    return value


def _optional(record: dict[str, Any], field: str, place: str) -> str | None:
    return None if record.get(field) is None else _text(record, field, place, empty=True)


def _kind(value: Any) -> str:
    names = {
        dict: "a JSON object",
        list: "a list",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _json(text: bytes, place: str) -> Any:
    try:
        return orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        if "surrogate" in str(error):
            raise UserError(
                f"{place} has a lone surrogate or is not UTF-8 ({error}); remove it"
            ) from None
        raise UserError(
            f"{place} is not JSON ({error}); each line must be one JSON object"
        ) from None
