"""Raw files of data sets, read strictly: what is wrong is named with its file and line.

Text is UTF-8. What the records mean is the business of each data set's module; where the files lie, of `raw_folders`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError


def read_text(path: Path, *, bom: bool = False) -> str:
    """The whole text; every line end, in cells too, is `\n`, as Python's text mode has it and so llm-jp-eval.

    Args:
      bom: whether a byte order mark in front is to be taken off.

    Raises:
      UserError: there is no such file, or it is not UTF-8; names the line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no raw file {path}; tools/download.py fetches what a task is made from") from None  # fmt: skip
    except IsADirectoryError:
        raise UserError(f"{path} is a folder where a raw file is wanted; remove it") from None
    try:
        text = content.decode("utf-8-sig" if bom else "utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line} is not UTF-8; convert the file to UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1, and lines without their ends."""
    # Not splitlines(): U+2028 and the like are text here.
    text = read_text(path)
    yield from enumerate(text.removesuffix("\n").split("\n") if text else [], 1)


def tsv_rows(path: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    """The rows below the header, as `(place, cells)`: split at each TAB, without quoting rules.

    Args:
      columns: how many a row must have at least.

    Raises:
      UserError: as `read_text`; a row has fewer columns.
    """
    lines = text_lines(path)
    if next(lines, None) is None:
        raise UserError(f"{path} is empty; fetch it again")
    for number, line in lines:
        place = f"{path}, line {number}"
        cells = line.split("\t")
        if len(cells) < columns:
            raise UserError(f"{place} has {len(cells)} columns where {columns} are wanted, separated by TAB")  # fmt: skip
        yield place, cells


def csv_rows(path: Path, columns: int, *, bom: bool = False) -> Iterator[tuple[str, list[str]]]:
    """All rows of a comma-separated file, as `(place, cells)`; a header is the first.

    Raises:
      UserError: as `read_text`; it is no CSV; a row has another number of columns.
    """
    reader = csv.reader(io.StringIO(read_text(path, bom=bom), newline=""))
    while True:
        start = reader.line_num + 1
        place = f"{path}, line {start}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{place} is no CSV ({error}); correct it") from None
        if len(cells) != columns:
            raise UserError(f"{place} has {len(cells)} columns where {columns} are wanted, separated by commas")  # fmt: skip
        yield place, cells


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """One object a line, as `(place, object)`; blank lines are left out.

    Raises:
      UserError: as `read_text`; a line is no JSON object.
    """
    for number, line in text_lines(path):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{place} is no JSON ({error.msg}); correct it or fetch the file again") from None  # fmt: skip
        if not isinstance(record, dict):
            raise UserError(f"{place} is no JSON object; correct it or fetch the file again")
        yield place, record


def json_document(path: Path, kind: type) -> Any:
    """The one value of a JSON file.

    Raises:
      UserError: as `read_text`; it is no JSON, or not of this kind (list or dict).
    """
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno} is no JSON ({error.msg}); correct it or fetch the file again") from None  # fmt: skip
    if not isinstance(value, kind):
        raise UserError(f"{path}, line 1: the whole file must be a JSON {_KINDS[kind]}")
    return value


def field(record: Any, name: str, kind: type | tuple[type, ...], place: str) -> Any:
    """`record[name]`.

    Raises:
      UserError: the record is no object, has no such field, or its value is of another kind.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = " or ".join(_KINDS[k] for k in (kind if isinstance(kind, tuple) else (kind,)))
        found = f"{name} = {value!r}" if value is not None else f"no field {name}"
        raise UserError(f"{place} has {found} where a {wanted} is wanted")
    return value


def checked(value: str, known: Collection[str], what: str, place: str) -> str:
    """`value`, which must be one of the known.

    Raises:
      UserError: it is not; names them.
    """
    if value not in known:
        raise UserError(f"{place}: {what} = {value!r} must be one of {', '.join(known)}")
    return value


_KINDS = {str: "text", int: "whole number", float: "number", list: "list", dict: "object"}
