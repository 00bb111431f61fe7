"""Documents as JSON lines, `{"text": ..., "meta": {...}}`, and the split of a document. How text is made is elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

Document = dict[str, Any]


def read_documents(path: str | os.PathLike) -> Iterator[tuple[int, Document]]:
    """Yields (line number from 1, document) of a JSONL file, in order; `meta` is {} where a line has none.

    Raises:
      UserError: the file is missing, or a line is not a JSON object with a string `text`; names file, line and field.
    """
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        raise UserError(f"there is no corpus file {path}; check the path") from None
    with file:
        for number, line in enumerate(file, 1):
            yield number, parse_document(line, f"{path}, line {number}")


def parse_document(line: bytes, where: str) -> Document:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        reason = "is empty" if not line.strip() else f"is not JSON ({error})"
        raise UserError(f"{where} {reason}; each line must be one JSON object") from None
    if not isinstance(document, dict):
        raise UserError(f'{where} is not a JSON object; write {{"text": ..., "meta": ...}}')
    if "text" not in document:
        raise UserError(f"{where} has no field 'text'; each document needs one")
    if not isinstance(document["text"], str):
        kind = type(document["text"]).__name__
        raise UserError(f"{where}: field 'text' is of type {kind}; it must be a string")
    if not isinstance(document.setdefault("meta", {}), dict):
        kind = type(document["meta"]).__name__
        raise UserError(f"{where}: field 'meta' is of type {kind}; it must be a JSON object")
    return document


def write_documents(path: str | os.PathLike, documents: Iterable[Document]) -> int:
    """Writes documents as JSONL, whole or not at all, and returns how many there were."""
    count = 0
    with atomic_write(path) as file:
        for document in documents:
            file.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def split_of(text: str, validation_fraction: float) -> str:
    """`"train"` or `"validation"`, by the sha256 of the text: equal texts always fall on the same side."""
    place = int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()) / 2**256
    return "validation" if place < validation_fraction else "train"
