"""Raw records to documents. Where records come from is the readers' business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmjp_jax.corpus.documents import Document
from llmjp_jax.errors import UserError


def reformat(record: Mapping[str, Any], text_field: str, where: str = "the record") -> Document:
    """The document of a record: its text, and all its other fields as `meta`.

    A field `meta` of the record is not nested: its fields and the record's own stand side by side, the record's own
    winning, as llm-jp-corpus does it (`scripts/filters.py`, reformat_data). The record is not changed.

    >>> reformat({"content": "x = 1", "ext": "py", "meta": {"id": 7}}, "content")
    {'text': 'x = 1', 'meta': {'id': 7, 'ext': 'py'}}

    Raises:
      UserError: the text's field is missing or not a string, or `meta` is not an object. It begins with `where`.
    """
    if text_field not in record:
        fields = ", ".join(record) or "none"
        raise UserError(
            f"{where} has no field {text_field!r}; set the text's field to one that it has ({fields})"
        )
    text = record[text_field]
    if not isinstance(text, str):
        raise UserError(
            f"{where}: field {text_field!r} is of type {type(text).__name__}; it must be a string"
        )
    meta = record.get("meta")
    if meta is not None and not isinstance(meta, Mapping):
        raise UserError(
            f"{where}: field 'meta' is of type {type(meta).__name__}; it must be a JSON object"
        )
    own = {name: value for name, value in record.items() if name not in (text_field, "meta")}
    return {"text": text, "meta": {**(meta or {}), **own}}
