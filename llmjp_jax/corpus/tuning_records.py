"""The record forms of the sets that models are tuned on, and their files as JSON lines of three plain shapes.

Every set names its fields in its own way; what comes out is what `llmjp_jax.conversations` reads:

    {"instruction", "input", "output"}          one turn
    {"messages": [{"role", "content"}, ...]}    several turns
    {"messages", "chosen", "rejected"}          a preference: two answers to the conversation so far

What a set is and where its files lie is in `tunings`. A user's own JSON lines need none of this.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from llmjp_jax.corpus.readers import BrokenRecord, read_raw, reader_of
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

if TYPE_CHECKING:
    from llmjp_jax.corpus.tunings import TuningSet

Record = dict[str, Any]
# Names that the sets give to who speaks, and ours.
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Form:
    """The fields of a set's records: `read(record, place)` gives one of the shapes above."""

    kind: str
    read: Callable[[Mapping[str, Any], str], Record]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A split of a set as JSON lines.

    Attributes:
      path: the file.
      records: its lines.
      left_out: places of records without an answer, which are not in it.
    """

    path: Path
    records: int
    left_out: tuple[str, ...]


def prepare_tuning_set(
    tuning_set: TuningSet, downloads_dir: str | os.PathLike, output_dir: str | os.PathLike
) -> dict[str, Prepared]:
    """Writes OUTPUT_DIR/{train,validation}.jsonl of a set; a file that says the same already is left untouched.

    Records whose answer is empty are left out, and counted: published sets hold a few, and teach to say nothing.

    Args:
      tuning_set: from `load_tuning_set`.
      downloads_dir: where `tools/download.py` puts its sources.
      output_dir: of this set.

    Raises:
      UserError: a file is missing or cannot be read, or a record has not the fields of the set's form; names file, record
        and field.
    """
    form = FORMS[tuning_set.form]
    files = tuning_set.files(downloads_dir)
    records = {split: [each for path in paths for each in read_records_of(path)]
               for split, paths in files.items()}  # fmt: skip
    if tuning_set.held_out:
        chosen = held_out_indices(len(records["train"]), tuning_set.held_out.share, tuning_set.held_out.seed)  # fmt: skip
        kept = set(chosen)
        records = {
            "validation": [records["train"][index] for index in chosen],
            "train": [each for i, each in enumerate(records["train"]) if i not in kept],
        }
    read = {
        split: _read(found, form) for split, found in sorted(records.items())
    }  # all, before the first is written
    prepared = {}
    for split, (lines, left_out) in read.items():
        path = Path(output_dir) / f"{split}.jsonl"
        _write(path, b"".join(lines))
        prepared[split] = Prepared(path=path, records=len(lines), left_out=tuple(left_out))
    return prepared


def held_out_indices(records: int, share: float, seed: int) -> list[int]:
    """Which records are held out, in order of drawing: as `train_test_split` of Hugging Face's datasets draws them.

        held_out_indices(10, 0.2, 42) -> [5, 6]

    That is the head of NumPy's default generator's permutation, of `ceil(share x records)` records.
    """
    drawn = np.random.default_rng(seed).permutation(records)
    return drawn[: math.ceil(share * records)].tolist()


def read_records_of(path: str | os.PathLike) -> Iterator[tuple[str, Any]]:
    """Yields (place, record) of a file: a JSON list, JSON lines, or Parquet.

    Raises:
      UserError: the file cannot be read; names it and the place.
    """
    path = Path(path)
    if path.suffix == ".json":
        with path.open("rb") as file:
            if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
                yield from _listed(path)
                return
    for position, record in read_raw(path, reader_of(path)):
        if isinstance(record, BrokenRecord):
            raise UserError(f"{path}, {position}: {record.reason}; mend the file or get it anew")
        yield f"{path}, {position}", record


def _listed(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        records = orjson.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}); mend the file or get it anew") from None
    for number, record in enumerate(records, 1):
        yield f"{path}, record {number}", record


def _read(records: Sequence[tuple[str, Any]], form: Form) -> tuple[list[bytes], list[str]]:
    """JSON lines of the records that have an answer, and the places of those that have none."""
    lines, left_out = [], []
    for place, record in records:
        if not isinstance(record, dict):
            raise UserError(f"{place} is not a JSON object; records are objects with named fields")
        read = form.read(record, place)
        if _answered(read):
            lines.append(orjson.dumps(read, option=orjson.OPT_APPEND_NEWLINE))
        else:
            left_out.append(place)
    return lines, left_out


def _write(path: Path, content: bytes) -> None:
    if not (path.is_file() and path.read_bytes() == content):
        with atomic_write(path) as file:
            file.write(content)


def _answered(record: Record) -> bool:
    """Whether a record ends with an answer, and every answer of it says something."""
    if "messages" not in record:
        return bool(record["output"].strip())
    answers = [turn["content"] for turn in record["messages"] if turn["role"] == "assistant"]
    if "chosen" in record:
        answers += [record["chosen"], record["rejected"]]
    elif record["messages"][-1]["role"] != "assistant":
        return False
    return all(answer.strip() for answer in answers)


def _instruction(record: Mapping[str, Any], place: str) -> Record:
    """llm-jp-eval's tuning files: {"ID", "instruction", "input", "output", "text"}."""
    return {field: _text(record, field, place) for field in ("instruction", "input", "output")}


def _dolly(record: Mapping[str, Any], place: str) -> Record:
    """databricks-dolly-15k: {"instruction", "context", "response", "category"}."""
    return {
        "instruction": _text(record, "instruction", place),
        "input": _text(record, "context", place),
        "output": _text(record, "response", place),
    }


def _question(record: Mapping[str, Any], place: str) -> Record:
    """ichikara-instruction and AnswerCarefully: {"ID", "text": the question, "output": the answer}."""
    return {
        "instruction": _text(record, "text", place),
        "input": "",
        "output": _text(record, "output", place),
    }


def _conversations(record: Mapping[str, Any], place: str) -> Record:
    """oasst1-21k: {"conversations": [{"from": "human" or "gpt", "value"}]}; oasst2-33k: the same of "role", "content"."""
    turns = record.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise UserError(f"{place}: field 'conversations' must be a list of turns, one or more")
    return {"messages": [_turn(turn, f"{place}, turn {n}") for n, turn in enumerate(turns, 1)]}


def _preference(record: Mapping[str, Any], place: str) -> Record:
    """hh-rlhf-12k-ja: {"conversations": as oasst1's, "chosen", "rejected"}; a person speaks last in the conversation."""
    chosen = {field: _text(record, field, place) for field in ("chosen", "rejected")}
    return _conversations(record, place) | chosen


def _turn(turn: Any, place: str) -> dict[str, str]:
    if not isinstance(turn, dict):
        raise UserError(f"{place} is not a JSON object; write who speaks and what")
    who, what = ("from", "value") if "from" in turn else ("role", "content")
    role = _text(turn, who, place)
    if role not in _ROLES:
        raise UserError(f"{place}: {who} = {role!r} is none of {', '.join(_ROLES)}; correct it")
    return {"role": _ROLES[role], "content": _text(turn, what, place)}


def _text(record: Mapping[str, Any], field: str, place: str) -> str:
    if field not in record:
        raise UserError(f"{place} has no field {field!r}; it has {', '.join(record) or 'none'}")
    if not isinstance(record[field], str):
        kind = type(record[field]).__name__
        raise UserError(f"{place}: field {field!r} is of type {kind}; it must be a string")
    return record[field]


FORMS: Mapping[str, Form] = {
    "instruction": Form("examples", _instruction),
    "dolly": Form("examples", _dolly),
    "question": Form("examples", _question),
    "conversations": Form("examples", _conversations),
    "preference": Form("pairs", _preference),
}
