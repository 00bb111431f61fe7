"""The last stages of a corpus: drop duplicates, split, write; then put the files in place with their statistics."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from llmjp_jax.corpus.dedup.shards import removed_rows
from llmjp_jax.corpus.documents import Document, split_of
from llmjp_jax.corpus.pipeline.report import write_report
from llmjp_jax.corpus.pipeline.stages import (
    Progress,
    read_statistics,
    shard_path,
    write_statistics,
)
from llmjp_jax.corpus.pipeline.statistics import (
    LENGTH_EDGES,
    Histograms,
    Samples,
    merge_broken,
    merge_histograms,
    merge_samples,
    merge_steps,
)
from llmjp_jax.files import atomic_write

RECORD = "corpus.json"
STATISTICS = "statistics.json"
REPORT = "report.html"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteDocuments:
    """Reads a shard, leaves out what deduplication removed, and writes `{train,validation}_<rank>.jsonl`.

    Attributes:
      work: of the build. source: the shards' folder in it. tasks: their number.
      duplicates: (label, folder) of each deduplication, as `removed_rows` reads it.
      validation_fraction: of the documents, chosen by `split_of`.
      folds: train documents are dealt to this many folders `fold_00`, ...; validation goes to the first. 0: no folders.
      keep_dropped: write duplicates to `work/dropped_write`, too.
    """

    name: str = "write"
    work: str
    source: str
    tasks: int
    duplicates: tuple[tuple[str, str], ...] = ()
    validation_fraction: float
    folds: int = 0
    keep_dropped: bool = False

    def run(self, rank: int, progress: Progress) -> None:
        counts = {label: [0, 0, 0, 0] for label, _ in self.duplicates}
        samples = {label: Samples() for label, _ in self.duplicates}
        kept, histograms = Samples(), Histograms()
        with contextlib.ExitStack() as stack:
            outputs = _Outputs(Path(self.work, "final"), rank, stack)
            dropped = None
            if self.keep_dropped and self.duplicates:
                path = shard_path(Path(self.work, "dropped_write"), rank)
                dropped = stack.enter_context(atomic_write(path))
            for line, document, reason in self._rows(rank, counts):
                progress(len(line))
                if reason is None:
                    outputs.write(self._place(document["text"]), line, document["text"])
                    kept.add(document)
                    histograms.add(document["text"])
                    continue
                samples[reason].add(document)
                if dropped is not None:
                    fields = {**document, "dropped_by": reason}
                    dropped.write(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE))
        statistics = {
            "steps": counts,
            "output": histograms.json(),
            "dropped_samples": {label: one.json() for label, one in samples.items()},
            "kept_samples": kept.json(),
            "outputs": outputs.json(),
        }
        write_statistics(self.work, self.name, rank, statistics)

    def _rows(
        self, rank: int, counts: dict[str, list[int]]
    ) -> Iterator[tuple[bytes, Document, str | None]]:
        """Yields (line, document, label of the deduplication that removed it or None) of the shard."""
        removed = [
            (label, _Rows(removed_rows(folder, rank)["row"])) for label, folder in self.duplicates
        ]
        with shard_path(Path(self.work, self.source), rank).open("rb") as file:
            for row, line in enumerate(file):
                document = orjson.loads(line)
                size = len(document["text"].encode())
                reason = None
                for label, rows in removed:
                    # Asked of every list, since each walks beside the shard; the first that has the row counts it.
                    found = rows.has(row)
                    if reason is None:
                        count, reason = counts[label], label if found else None
                        count[0] += 1
                        count[1] += not found
                        count[2] += size
                        count[3] += 0 if found else size
                yield line, document, reason

    def _place(self, text: str) -> tuple[str, str]:
        """(folder, split) of a document."""
        split = split_of(text, self.validation_fraction)
        if not self.folds:
            return "", split
        # Bytes that the split does not look at decide the fold.
        fold = int.from_bytes(hashlib.sha256(b"fold" + text.encode()).digest()[:8]) % self.folds
        return f"fold_{0 if split == 'validation' else fold:02d}", split


class _Rows:
    """Membership in a sorted array of rows that are asked for in order."""

    def __init__(self, rows: np.ndarray):
        self._rows = rows
        self._next = 0

    def has(self, row: int) -> bool:
        if self._next < len(self._rows) and self._rows[self._next] == row:
            self._next += 1
            return True
        return False


class _Outputs:
    """The files of one task, made when the first document comes: a split without documents has no file."""

    def __init__(self, folder: Path, rank: int, stack: contextlib.ExitStack):
        self._folder, self._rank, self._stack = folder, rank, stack
        self._files: dict[tuple[str, str], IO[bytes]] = {}
        self._counts: dict[tuple[str, str], list[Any]] = {}

    def write(self, place: tuple[str, str], line: bytes, text: str) -> None:
        if place not in self._files:
            path = self._folder / self._name(place)
            self._files[place] = self._stack.enter_context(atomic_write(path))
            self._counts[place] = [0, 0, 0, hashlib.sha256()]
        self._files[place].write(line)
        counts = self._counts[place]
        counts[0] += 1
        counts[1] += len(text.encode())
        counts[2] += len(line)
        counts[3].update(line)

    def _name(self, place: tuple[str, str]) -> str:
        folder, split = place
        return str(Path(folder, f"{split}_{self._rank:05d}.jsonl"))

    def json(self) -> list[dict[str, Any]]:
        return [
            {
                "file": self._name(place),
                "split": place[1],
                "documents": documents,
                "bytes": text_bytes,
                "file_bytes": file_bytes,
                "sha256": digest.hexdigest(),
            }
            for place, (documents, text_bytes, file_bytes, digest) in sorted(self._counts.items())
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinishCorpus:
    """Moves the written files to `target`, in place of an earlier build's, and writes statistics, report and record.

    The record comes last: without it nothing counts as finished. Killed in between, it goes on where it was.

    Attributes:
      corpus: its name in the report. filters: (stage, tasks) of the filtering stages in order; writers: tasks of `write`.
      configuration: shown in the report. notes: sentences for it. fingerprint: of all that decides the output.
    """

    name: str = "finish"
    work: str
    target: str
    tasks: int = 1
    corpus: str
    filters: tuple[tuple[str, int], ...]
    writers: int
    configuration: dict[str, Any]
    notes: tuple[str, ...] = ()
    fingerprint: str

    def run(self, rank: int, progress: Progress) -> None:
        work, target = Path(self.work), Path(self.target)
        statistics = self._statistics()
        names = [output["file"] for output in statistics["outputs"]]
        dropped = [path.relative_to(work) for path in sorted(work.glob("dropped_*/*.jsonl"))]
        moves = {f"final/{name}": name for name in names}
        moves |= {str(path): str(Path("dropped", path.parent.name.removeprefix("dropped_"), path.name)) for path in dropped}  # fmt: skip
        plan = self._plan(moves)
        (target / RECORD).unlink(missing_ok=True)
        for name in plan["stale"]:
            (target / name).unlink(missing_ok=True)
        for source, name in plan["moves"].items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Absent: it was moved before a kill.
            if (work / source).exists():
                (work / source).replace(path)
        with atomic_write(target / STATISTICS, "w") as file:
            json.dump(statistics, file, ensure_ascii=False, indent=1)
        write_report([statistics], target / REPORT)
        record = {
            "fingerprint": self.fingerprint,
            "files": sorted(plan["moves"].values()),
            "outputs": statistics["outputs"],
        }
        with atomic_write(target / RECORD, "w") as file:
            json.dump(record, file, indent=1)

    def _plan(self, moves: dict[str, str]) -> dict[str, Any]:
        """What to remove and to move: decided once, since afterwards the folders look different."""
        path = Path(self.work, "plan.json")
        if not path.exists():
            before = read_record(self.target) or {"files": []}
            stale = sorted(set(before["files"]) - set(moves.values()))
            with atomic_write(path, "w") as file:
                json.dump({"stale": stale, "moves": moves}, file)
        return json.loads(path.read_text())

    def _statistics(self) -> dict[str, Any]:
        filtered = [read_statistics(self.work, name, tasks) for name, tasks in self.filters]
        written = read_statistics(self.work, "write", self.writers)
        steps = self._read_step(filtered[0])
        for parts in filtered:
            kinds = parts[0]["kinds"]
            steps += _step_rows(merge_steps([part["steps"] for part in parts]), kinds)
        steps += _step_rows(merge_steps([part["steps"] for part in written]), {})
        samples: dict[str, list] = {}
        for parts in [*filtered, written]:
            for label in parts[0]["dropped_samples"]:
                samples[label] = merge_samples(part["dropped_samples"][label] for part in parts)
        before = merge_histograms([part["input"] for part in filtered[0]])
        after = merge_histograms([part["output"] for part in written])
        return {
            "corpus": self.corpus,
            "format": 1,
            "configuration": self.configuration,
            "steps": steps,
            "broken": merge_broken(part["broken"] for parts in filtered for part in parts),
            "notes": list(self.notes),
            "dropped_samples": samples,
            "kept_samples": merge_samples(part["kept_samples"] for part in written),
            "histograms": {
                "length": {
                    "edges": list(LENGTH_EDGES),
                    "input": before["length"],
                    "output": after["length"],
                },
                "script": {"input": before["script"], "output": after["script"]},
            },
            "outputs": [output for part in written for output in part["outputs"]],
        }

    def _read_step(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        documents = sum(part["read"][0] for part in parts)
        size = sum(part["read"][1] for part in parts)
        broken = sum(part["broken"]["total"] for part in parts)
        return [
            {
                "step": "read",
                "kind": "read",
                "documents_in": documents + broken,
                "documents_out": documents,
                "bytes_in": size,
                "bytes_out": size,
            }
        ]


def _step_rows(counts: dict[str, list[int]], kinds: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "step": label,
            "kind": kinds.get(label, "dedup"),
            "documents_in": documents_in,
            "documents_out": documents_out,
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
        }
        for label, (documents_in, documents_out, bytes_in, bytes_out) in counts.items()
    ]


def read_record(target: str | Path) -> dict[str, Any] | None:
    """The record of a finished build, or None."""
    try:
        record = json.loads(Path(target, RECORD).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record if isinstance(record, dict) and "fingerprint" in record else None
