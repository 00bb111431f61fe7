"""The last stages of a corpus: drop duplicates, split, write; then put the files in place with their statistics."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from llmjp_jax.corpus.dedup.shards import Progress, Rows, removed_rows, shard_path
from llmjp_jax.corpus.documents import Document, split_of
from llmjp_jax.corpus.pipeline.report import write_report
from llmjp_jax.corpus.pipeline.stages import read_statistics, write_statistics
from llmjp_jax.corpus.pipeline.statistics import (
    LENGTH_EDGES,
    Histograms,
    Samples,
    merge_broken,
    merge_histograms,
    merge_samples,
    merge_steps,
)
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write, sha256_file


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a corpus lies: its folder, and its files that are no documents.

    One that is dealt to folds has names of its own, so that it may share the folder with one that is not: LLM-jp's v1
    and v2 have four corpora in common.
    """

    folder: str
    folds: bool

    def _path(self, name: str) -> Path:
        return Path(self.folder, f"folds_{name}" if self.folds else name)

    @property
    def record(self) -> Path:
        return self._path("corpus.json")

    @property
    def statistics(self) -> Path:
        return self._path("statistics.json")

    @property
    def report(self) -> Path:
        return self._path("report.html")

    @property
    def dropped(self) -> str:
        """The folder of dropped documents, relative to the corpus's."""
        return self._path("dropped").name


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
            (label, Rows(removed_rows(folder, rank)["row"])) for label, folder in self.duplicates
        ]
        with shard_path(Path(self.work, self.source), rank).open("rb") as file:
            for row, line in enumerate(file):
                document = orjson.loads(line)
                size = len(document["text"].encode())
                reason = None
                for label, rows in removed:
                    # Asked of every list, since each walks beside the shard; the first that has the row counts it.
                    found = row in rows
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
    """Moves the written files into place, instead of an earlier build's, and writes statistics, report and record.

    While files are replaced the record names all that may be there, old and new, and no fingerprint: nothing counts as
    finished, and whichever build comes next removes what is not its own. Killed in between, this one goes on.

    Attributes:
      corpus: its name in the report. filters: (stage, tasks) of the filtering stages in order; writers: tasks of `write`.
      configuration: shown in the report. notes: sentences for it. fingerprint: of all that decides the output.
    """

    name: str = "finish"
    work: str
    places: Places
    tasks: int = 1
    corpus: str
    filters: tuple[tuple[str, int], ...]
    writers: int
    configuration: dict[str, Any]
    notes: tuple[str, ...] = ()
    fingerprint: str

    def run(self, rank: int, progress: Progress) -> None:
        places = self.places
        statistics = self._statistics()
        moves = self._moves(statistics["outputs"])
        before = (read_record(places) or {"files": []})["files"]
        self._write(places.record, {"files": sorted({*before, *moves.values()})})
        for name in set(before) - set(moves.values()):
            Path(places.folder, name).unlink(missing_ok=True)
        digests = {output["file"]: output["sha256"] for output in statistics["outputs"]}
        for source, name in moves.items():
            self._move(Path(self.work, source), Path(places.folder, name), digests.get(name))
        self._write(places.statistics, statistics)
        report = Path(self.work, places.report.name)
        write_report([statistics], report)
        report.replace(places.report)
        record = {
            "fingerprint": self.fingerprint,
            "files": sorted(moves.values()),
            "outputs": statistics["outputs"],
        }
        self._write(places.record, record)

    def _moves(self, outputs: list[dict[str, Any]]) -> dict[str, str]:
        """Where each file of `work` goes, relative to the corpus's folder: outputs, and dropped documents."""
        moves = {f"final/{output['file']}": output["file"] for output in outputs}
        if self.configuration["keep_dropped"]:
            stages = [*self.filters, ("write", self.writers if self._has_duplicates() else 0)]
            for stage, tasks in stages:
                for task in range(tasks):
                    source = str(shard_path(f"dropped_{stage}", task))
                    moves[source] = str(shard_path(f"{self.places.dropped}/{stage}", task))
        return moves

    def _has_duplicates(self) -> bool:
        configuration = self.configuration
        return (
            configuration["exact_deduplication"] or configuration["near_deduplication"] is not None
        )

    def _move(self, source: Path, target: Path, sha256: str | None) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():
            source.replace(target)
        # Else it was moved before a kill.
        elif not target.exists() or (sha256 is not None and sha256_file(target) != sha256):
            raise UserError(
                f"{target} is not as this build wrote it: something else wrote there meanwhile; remove the folder {self.work} "
                "and start the build again"
            )

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        """Atomically, and so that a kill leaves no half-written file beside the corpus."""
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Path(self.work, path.name)
        with atomic_write(made, "w") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
        made.replace(path)

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


def read_record(places: Places) -> dict[str, Any] | None:
    """The record of a build: of a finished one with `fingerprint` and `outputs`, of any with `files`; or None."""
    try:
        record = json.loads(places.record.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record if isinstance(record, dict) and "files" in record else None
