"""Stages of a corpus build: work that is cut into tasks, each of which reads files and writes its own whole or not at all.

A stage's tasks may run in any order, side by side, and again after a kill: the bytes are the same. Which programme runs
them is `executors.py`; which stages a corpus has is `build.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import orjson

from llmjp_jax.corpus.dedup.shards import Progress, shard_path
from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import document_text
from llmjp_jax.corpus.filters.reformat import reformat
from llmjp_jax.corpus.pipeline.splits import Split
from llmjp_jax.corpus.pipeline.statistics import Broken, Histograms, Samples
from llmjp_jax.corpus.pipeline.steps import Chain, parse_steps, text_bytes
from llmjp_jax.corpus.readers import DOCUMENT_READERS, BrokenRecord, read_raw
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

# Of a document: the file's path, its name in reports, and where in it.
_Place = tuple[str, str, str]


class Stage(Protocol):
    """Work in `tasks` parts. Picklable: it is sent to other processes, and to other machines."""

    name: str
    tasks: int

    def run(self, rank: int, progress: Progress) -> None:
        """Does task `rank`; calls `progress` with bytes of input done since the last call."""


def statistics_path(work: str | Path, stage: str, rank: int) -> Path:
    return Path(work) / "statistics" / stage / f"{rank:05d}.json"


def write_statistics(work: str | Path, stage: str, rank: int, statistics: dict[str, Any]) -> None:
    with atomic_write(statistics_path(work, stage, rank)) as file:
        file.write(orjson.dumps(statistics))


def read_statistics(work: str | Path, stage: str, tasks: int) -> list[dict[str, Any]]:
    return [orjson.loads(statistics_path(work, stage, rank).read_bytes()) for rank in range(tasks)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterDocuments:
    """Reads documents, runs steps over them, and writes those that are left, one shard a task.

    Attributes:
      name: of the stage. work: its folder; shards go to `work/<name>`, dropped documents to `work/dropped_<name>`.
      raw: the raw files' parts that each task reads; None: the shards in `work/<source>`, one a task.
      text_field: of raw rows, that which becomes `text`; None: rows are documents already.
      reader_options: further arguments of the readers.
      steps: as `parse_steps` takes them.
      on_broken: 'error' or 'skip'.
      keep_dropped: write what filters drop too.
      paragraphs: keep documents' paragraphs, for a stage to come.
    """

    name: str
    work: str
    tasks: int
    raw: tuple[tuple[Split, ...], ...] | None = None
    source: str | None = None
    text_field: str | None = "text"
    reader_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    steps: tuple[Any, ...] = ()
    on_broken: str = "error"
    keep_dropped: bool = False
    paragraphs: bool = False

    def run(self, rank: int, progress: Progress) -> None:
        tally = _Tally(self)
        with contextlib.ExitStack() as stack:
            kept = stack.enter_context(atomic_write(shard_path(Path(self.work, self.name), rank)))
            dropped = None
            if self.keep_dropped:
                folder = Path(self.work, f"dropped_{self.name}")
                dropped = stack.enter_context(atomic_write(shard_path(folder, rank)))
            for place, document in self._documents(rank, progress):
                try:
                    if isinstance(document, BrokenRecord):
                        raise document
                    reason = tally.run(document)
                except UserError as error:
                    self._broken(place, error, tally)
                    continue
                if reason is None:
                    kept.write(_line(tally.document, self.paragraphs))
                elif dropped is not None:
                    dropped.write(_line(tally.document, False, reason))
        write_statistics(self.work, self.name, rank, tally.json())

    def _documents(self, rank: int, progress: Progress) -> Iterator[tuple[_Place, Any]]:
        """Yields (place, document), or (place, `BrokenRecord`) for what makes none."""
        if self.raw is not None:
            for split in self.raw[rank]:
                yield from self._raw_documents(split, progress)
            return
        path = shard_path(Path(self.work, self.source), rank)
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                progress(len(line))
                yield (str(path), f"shard {rank}", f"document {number}"), orjson.loads(line)

    def _raw_documents(self, split: Split, progress: Progress) -> Iterator[tuple[_Place, Any]]:
        _check_readable(split.path)
        options = {**self.reader_options, **split.options}
        if split.reader == "jsonl":
            options["progress"] = progress
        for position, record in read_raw(split.path, split.reader, options):
            if not isinstance(record, BrokenRecord) and split.reader not in DOCUMENT_READERS:
                record = self._reformatted(split, position, record)
            yield (split.path, split.name, position), record
        if split.reader != "jsonl":
            progress(split.size)

    def _reformatted(self, split: Split, position: str, record: Any) -> Document | BrokenRecord:
        try:
            if self.text_field is not None:
                return reformat(record, self.text_field)
            reformat(record, "text")
        except UserError as error:
            return BrokenRecord(split.path, position, str(error))
        return {"text": record["text"], "meta": record.get("meta") or {}}

    def _broken(self, place: _Place, error: UserError, tally: _Tally) -> None:
        """A record that cannot be read, or has not what a step reads: counted, or the end of the run."""
        path, name, position = place
        if not isinstance(error, BrokenRecord):
            error = BrokenRecord(path, position, str(error))
        if self.on_broken == "error":
            raise error
        tally.broken.add(name, error.position, error.reason)


def _check_readable(path: str) -> None:
    if Path(path).is_dir():
        return
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions") from None


class _Tally:
    """Runs the steps of one task and keeps its statistics."""

    def __init__(self, stage: FilterDocuments):
        steps = parse_steps(stage.steps, stage.name)
        self._chain = Chain(steps)
        self._dropped = {step.label: Samples() for step in steps if step.kind == "filter"}
        self._kinds = {step.label: step.kind for step in steps}
        self._input = Histograms()
        self._read = [0, 0]
        self.broken = Broken()
        self.document: Document = {}

    def run(self, document: Document) -> str | None:
        """The label of the filter that drops a document, or None; the document as it is then is `self.document`.

        Raises:
          UserError: the document has not what a step reads.
        """
        size, text = text_bytes(document), document_text(document)
        self.document, reason = self._chain.run(document, size)
        self._read[0] += 1
        self._read[1] += size
        self._input.add(text)
        if reason is not None:
            self._dropped[reason].add(self.document)
        return reason

    def json(self) -> dict[str, Any]:
        return {
            "read": self._read,
            "input": self._input.json(),
            "steps": self._chain.counts,
            "kinds": self._kinds,
            "dropped_samples": {label: one.json() for label, one in self._dropped.items()},
            "broken": self.broken.json(),
        }


def _line(document: Document, paragraphs: bool, reason: str | None = None) -> bytes:
    fields: dict[str, Any] = {"text": document_text(document), "meta": document["meta"]}
    if paragraphs and "paragraphs" in document:
        fields["paragraphs"] = document["paragraphs"]
    if reason is not None:
        fields["dropped_by"] = reason
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE, default=_plain)


def _plain(value: Any) -> Any:
    """Values that a Parquet row may hold and JSON does not know: times are known, bytes and decimals become text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
