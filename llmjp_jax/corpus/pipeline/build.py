"""Builds corpora from raw text: which stages each has, whether it is finished already, and the report over all.

The stages of a corpus, run by the executor one after another:

    filter   raw files -> reformat -> steps -> shards          (extract, paragraph stages and filter, with paragraph statistics)
    exact_*, minhash_*   rows to remove from the shards
    write    shards -> {train,validation}_*.jsonl
    finish   files into place, statistics, report, record
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.filters import prepare
from llmjp_jax.corpus.pipeline.executors import Executor, LocalExecutor
from llmjp_jax.corpus.pipeline.splits import SPLIT_BYTES, find_splits
from llmjp_jax.corpus.pipeline.stages import FilterDocuments, Stage
from llmjp_jax.corpus.pipeline.steps import Step, parse_steps
from llmjp_jax.corpus.pipeline.writing import (
    REPORT,
    STATISTICS,
    FinishCorpus,
    WriteDocuments,
    read_record,
)
from llmjp_jax.errors import UserError

_FORMAT = 1  # raise it when the same input and configuration give other documents
_ON_BROKEN = ("error", "skip")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """One corpus of a build: where its raw text lies, and what is done with it.

    Attributes:
      name: its folder under the output folder, as `ja_wiki` or `ja_cc/refined`.
      inputs: files, relative to the input folder, with `*` and `**`; in this order, then by name.
      reader: of `readers.READERS`; None: by each file's name.
      reader_options: further arguments of the reader.
      text_field: of raw rows, that which becomes `text`, the others `meta`; None: rows are `{"text", "meta"}` already.
      steps: filters and maps in order: `'name'` or `('name', {'parameter': value})`.
      paragraph_statistics: count each paragraph's exact and near duplicates over the whole corpus before the steps:
        keyword arguments of `dedup.paragraph_stages`, or {}; None: do not.
      exact_deduplication: keep the first of documents with equal text.
      near_deduplication: keep the first of similar documents: keyword arguments of `dedup.minhash_stages`, or {}; None: do not.
      validation_fraction: of the documents that are left, by the sha256 of their text.
      folds: deal train documents to this many folders `fold_00`, ...; 0: none.
    """

    name: str
    inputs: Sequence[str]
    reader: str | None = None
    reader_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    text_field: str | None = "text"
    steps: Sequence[Any] = ()
    paragraph_statistics: Mapping[str, Any] | None = None
    exact_deduplication: bool = False
    near_deduplication: Mapping[str, Any] | None = None
    validation_fraction: float = 0.0
    folds: int = 0

    def __post_init__(self):
        parts = Path(self.name).parts
        if not parts or Path(self.name).is_absolute() or ".." in parts or parts[0].startswith("."):
            raise UserError(f"a corpus is named {self.name!r}; give a folder's name, as ja_wiki")
        if isinstance(self.inputs, str):
            raise UserError(f"{self.name}: inputs is a text; write a list, as ['{self.inputs}']")
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                f"{self.name}: validation_fraction is {self.validation_fraction}; it must be at least 0 and below 1"
            )
        if self.folds < 0:
            raise UserError(f"{self.name}: folds is {self.folds}; give 0 or a number of folders")
        self.parsed_steps()

    def parsed_steps(self) -> list[Step]:
        return parse_steps(self.steps, f"{self.name}: steps")

    def configuration(self) -> dict[str, Any]:
        """Everything that decides the documents, but the files' contents, as JSON can hold it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.loads(json.dumps(fields, default=list))


def build_corpus(
    *,
    input_dir: str,
    output_dir: str,
    corpora: Sequence[Corpus],
    executor: Executor | None = None,
    on_broken: str = "error",
    keep_dropped: bool = False,
    split_bytes: int = SPLIT_BYTES,
) -> list[dict[str, Any]]:
    """Builds each corpus into `output_dir/<name>/{train,validation}_*.jsonl`, unless it is there from the same input.

    Beside the files lie `statistics.json`, `report.html` and the record `corpus.json`; `output_dir/report.html` covers all.
    A killed build goes on where it was when it is started again with the same arguments. The bytes of all files depend
    on the raw files, their names and the configuration alone.

    Args:
      input_dir: what the corpora's inputs are relative to.
      executor: who runs the tasks; None: processes of this machine, one a core.
      on_broken: of records that cannot be read: 'error' stops at the first, 'skip' counts and reports them.
      keep_dropped: also write what was dropped, with the step that did it, to `output_dir/<name>/dropped/`.
      split_bytes: plain JSON lines are read in parts of this size, one a task.

    Returns: the statistics of the corpora that are finished: all of them, but with Slurm.

    Raises:
      UserError: a mistake in the arguments, no input, or a broken record.
    """
    if on_broken not in _ON_BROKEN:
        raise UserError(f"on_broken is {on_broken!r}; give 'error' or 'skip'")
    names = [corpus.name for corpus in corpora]
    if not names or len(set(names)) < len(names):
        raise UserError(f"corpora are named {names}; give at least one, each with its own name")
    executor = executor or LocalExecutor()
    output = Path(output_dir).expanduser().resolve()
    builds = [
        _Build(corpus, Path(input_dir).expanduser(), output, on_broken, keep_dropped, split_bytes)
        for corpus in corpora
    ]
    for build in builds:
        build.check()
    statistics = [found for build in builds if (found := build.run(executor)) is not None]
    if len(statistics) == len(builds):
        from llmjp_jax.corpus.pipeline.report import write_report

        write_report(statistics, output / REPORT)
    return statistics


class _Build:
    """One corpus on its way."""

    def __init__(
        self,
        corpus: Corpus,
        input_dir: Path,
        output: Path,
        on_broken: str,
        keep_dropped: bool,
        split_bytes: int,
    ):
        self.corpus, self.on_broken, self.keep_dropped = corpus, on_broken, keep_dropped
        self.splits = tuple(find_splits(input_dir, corpus.inputs, corpus.reader, split_bytes))
        self.target = output / corpus.name
        self.configuration = {
            **corpus.configuration(),
            "on_broken": on_broken,
            "keep_dropped": keep_dropped,
        }
        self.fingerprint = self._fingerprint()
        folder = f"{corpus.name.replace('/', '-')}-{self.fingerprint[:16]}"
        self.work = output / ".build" / folder

    def check(self) -> None:
        """Steps that need what is not there complain now, not in an hour."""
        found = (prepare(step.name, step.parameters) for step in self.corpus.parsed_steps())
        self.notes = tuple(dict.fromkeys(sentence for sentence in found if sentence))
        for note in self.notes:
            print(f"{self.corpus.name}: {note}")

    def run(self, executor: Executor) -> dict[str, Any] | None:
        """The statistics; None where the executor goes on elsewhere."""
        if not self._is_finished():
            self.work.mkdir(parents=True, exist_ok=True)
            size = sum(split.size for split in self.splits)
            sizes = {"filter": size, "extract": size} if size else {}
            done = executor.run(self.stages(), self.work / "tasks", self.corpus.name, sizes)
            if not done:
                return None
        shutil.rmtree(self.work, ignore_errors=True)
        with contextlib.suppress(OSError):  # another corpus may be under way there
            self.work.parent.rmdir()
        return json.loads((self.target / STATISTICS).read_text(encoding="utf-8"))

    def stages(self) -> list[Stage]:
        corpus, work, shards = self.corpus, str(self.work), len(self.splits)
        read = {
            "splits": self.splits,
            "text_field": corpus.text_field,
            "reader_options": dict(corpus.reader_options),
            "on_broken": self.on_broken,
        }
        common = {"work": work, "tasks": shards, "keep_dropped": self.keep_dropped}
        steps = tuple(corpus.steps)
        stages: list[Stage] = []
        if corpus.paragraph_statistics is None:
            stages.append(FilterDocuments(name="filter", steps=steps, **common, **read))
        else:
            from llmjp_jax.corpus.dedup import paragraph_stages

            stages.append(FilterDocuments(name="extract", paragraphs=True, **common, **read))
            stages += paragraph_stages(
                str(self.work / "extract"),
                str(self.work / "paragraphs"),
                str(self.work / "frequencies"),
                shards=shards,
                **corpus.paragraph_statistics,
            )
            source = "paragraphs"
            stages.append(FilterDocuments(name="filter", source=source, steps=steps, **common))
        filters = tuple(
            (stage.name, stage.tasks) for stage in stages if isinstance(stage, FilterDocuments)
        )
        duplicates, dedup_stages = self._deduplication(shards)
        return [
            *stages,
            *dedup_stages,
            WriteDocuments(
                source="filter",
                duplicates=duplicates,
                validation_fraction=corpus.validation_fraction,
                folds=corpus.folds,
                **common,
            ),
            FinishCorpus(
                work=work,
                target=str(self.target),
                corpus=corpus.name,
                filters=filters,
                writers=shards,
                configuration=self.configuration,
                notes=self.notes,
                fingerprint=self.fingerprint,
            ),
        ]

    def _deduplication(self, shards: int) -> tuple[tuple[tuple[str, str], ...], list[Stage]]:
        from llmjp_jax.corpus.dedup import exact_stages, minhash_stages

        source, exact, near = (str(self.work / name) for name in ("filter", "exact", "minhash"))
        stages: list[Stage] = []
        duplicates = []
        if self.corpus.exact_deduplication:
            stages += exact_stages(source, exact, shards=shards)
            duplicates.append(("exact duplicate", exact))
        if self.corpus.near_deduplication is not None:
            without = exact if self.corpus.exact_deduplication else None
            options = self.corpus.near_deduplication
            stages += minhash_stages(source, near, shards=shards, without=without, **options)
            duplicates.append(("near duplicate", near))
        return tuple(duplicates), stages

    def _fingerprint(self) -> str:
        """Of all that decides the output: configuration, raw files, and files that steps read."""
        splits = [[split.name, split.options, *_state(Path(split.path))] for split in self.splits]
        parameters = [
            [value, *_state(Path(value))]
            for step in self.corpus.parsed_steps()
            for value in step.parameters.values()
            if isinstance(value, str) and os.sep in value and Path(value).is_file()
        ]
        # The package's lists are counted under their names.
        lists = importlib.metadata.version("hojichar")
        content = [_FORMAT, self.configuration, splits, parameters, lists]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _is_finished(self) -> bool:
        record = read_record(self.target)
        if record is None or record["fingerprint"] != self.fingerprint:
            return False
        return (self.target / STATISTICS).is_file() and all(
            _size(self.target / output["file"]) == output["file_bytes"]
            for output in record["outputs"]
        )


def _state(path: Path) -> list[int]:
    """What changes when a file does, without reading it; of a folder, the number of its files and their bytes."""
    if path.is_dir():
        files = [file for file in path.rglob("*") if "__pycache__" not in file.parts]
        sizes = [file.stat().st_size for file in files if file.is_file()]
        return [len(sizes), sum(sizes)]
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
