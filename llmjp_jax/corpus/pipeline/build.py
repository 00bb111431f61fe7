"""Builds corpora from raw text: which stages each has, whether it is finished already, and the report over all.

The stages of a corpus, run by the executor one after another:

    filter   raw files -> reformat -> steps -> shards          (extract, paragraph stages and filter, with paragraph statistics)
    exact_*, minhash_*   rows to remove from the shards
    write    shards -> {train,validation}_*.jsonl
    finish   files into place, statistics, report, record
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.dedup import exact_stages, minhash_stages, paragraph_stages
from llmjp_jax.corpus.filters import forget, prepare
from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.corpus.pipeline.corpus import Corpus, check_options
from llmjp_jax.corpus.pipeline.executors import Executor, LocalExecutor
from llmjp_jax.corpus.pipeline.splits import SPLIT_BYTES, Split, find_splits, grouped
from llmjp_jax.corpus.pipeline.stages import FilterDocuments, Stage
from llmjp_jax.corpus.pipeline.writing import (
    FinishCorpus,
    Places,
    WriteDocuments,
    read_record,
)
from llmjp_jax.corpus.readers import reader_function
from llmjp_jax.errors import UserError

_FORMAT = 1  # raise it when the same input and configuration give other documents
_ON_BROKEN = ("error", "skip")
# What NFS and others say to a lock on a folder.
_NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


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

    Beside the files lie `statistics.json`, `report.html` and the record `corpus.json` (`folds_...` of a corpus in folds);
    `output_dir/report.html` covers all. A killed build goes on where it was when it is started again with the same
    arguments. The bytes of all files but the records, which know the raw files' times, depend on the raw files, their
    names and the configuration alone.

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
    if split_bytes < 1:
        raise UserError(f"split_bytes is {split_bytes}; give a number of bytes, at least 1")
    names = [corpus.name for corpus in corpora]
    if not names or len(set(names)) < len(names):
        raise UserError(f"corpora are named {names}; give at least one, each with its own name")
    executor = executor or LocalExecutor()
    output = Path(output_dir).expanduser().resolve()
    builds = [
        _Build(corpus, Path(input_dir).expanduser(), output, on_broken, keep_dropped, split_bytes)
        for corpus in corpora
    ]
    forget()
    for build in builds:
        build.check()
    with _alone(output):
        statistics = [found for build in builds if (found := build.run(executor)) is not None]
    if len(statistics) == len(builds):
        from llmjp_jax.corpus.pipeline.report import write_report

        write_report(statistics, output / "report.html")
        print(f"what each step dropped, with samples: {output / 'report.html'}")
    return statistics


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Holds the output folder against another build, without a file in it; network file systems may know no such lock."""
    import fcntl

    output.mkdir(parents=True, exist_ok=True)
    handle = os.open(output, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another build into {output} runs; wait for its end, or give another output folder"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(handle)


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
        splits = find_splits(input_dir, corpus.inputs, corpus.reader, split_bytes, without=output)
        self.raw = tuple(grouped(splits, split_bytes))
        self.places = Places(str(output / corpus.name), corpus.folds > 0)
        self.configuration = {
            **corpus.configuration(),
            "on_broken": on_broken,
            "keep_dropped": keep_dropped,
        }
        self.fingerprint = self._fingerprint()
        self._family = f"{corpus.name.replace('/', '-')}-{corpus.folds}-"
        self.work = output / ".build" / f"{self._family}{self.fingerprint[:16]}"

    @property
    def splits(self) -> list[Split]:
        return [split for group in self.raw for split in group]

    def check(self) -> None:
        """What steps and readers need and do not have is said now, not in an hour."""
        for reader in sorted({split.reader for split in self.splits}):
            check_options(
                reader_function(reader),
                self.corpus.reader_options,
                f"{self.corpus.name}: reader_options",
                skip=1,
            )
        found = (prepare(step.name, step.parameters) for step in self.corpus.parsed_steps())
        self.notes = tuple(dict.fromkeys(sentence for sentence in found if sentence))
        for note in self.notes:
            print(f"{self.corpus.name}: {note}")

    def run(self, executor: Executor) -> dict[str, Any] | None:
        """The statistics; None where the executor goes on elsewhere."""
        if not self._is_finished():
            self._tidy(keep=self.work)
            self.work.mkdir(parents=True, exist_ok=True)
            size = sum(split.size for split in self.splits)
            sizes = {"filter": size, "extract": size} if size else {}
            done = executor.run(self.stages(), self.work / "tasks", self.corpus.name, sizes)
            if not done:
                return None
        self._tidy(keep=None)
        return json.loads(self.places.statistics.read_text(encoding="utf-8"))

    def _tidy(self, keep: Path | None) -> None:
        """Removes work that no build goes on with: of other settings or other raw files, or all."""
        ours = re.compile(f"(doomed-)?{re.escape(self._family)}[0-9a-f]{{16}}")
        for folder in self.work.parent.glob("*"):
            if ours.fullmatch(folder.name) and folder != keep:
                # First the name: half a folder must not look like work that can go on.
                doomed = folder.with_name(f"doomed-{folder.name.removeprefix('doomed-')}")
                folder.replace(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
        with contextlib.suppress(OSError):  # another corpus may be under way there
            self.work.parent.rmdir()

    def stages(self) -> list[Stage]:
        corpus, work, shards = self.corpus, str(self.work), len(self.raw)
        read = {
            "raw": self.raw,
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
            stages.append(FilterDocuments(name="extract", paragraphs=True, **common, **read))
            stages += paragraph_stages(
                str(self.work / "extract"),
                str(self.work / "paragraphs"),
                str(self.work / "frequencies"),
                shards=shards,
                **corpus.paragraph_statistics,
            )
            after = {"source": "paragraphs", "on_broken": self.on_broken}
            stages.append(FilterDocuments(name="filter", steps=steps, **common, **after))
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
                places=self.places,
                corpus=corpus.name,
                filters=filters,
                writers=shards,
                configuration=self.configuration,
                notes=self.notes,
                fingerprint=self.fingerprint,
            ),
        ]

    def _deduplication(self, shards: int) -> tuple[tuple[tuple[str, str], ...], list[Stage]]:
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
            if isinstance(value, str) and Path(value).is_file()
        ]
        groups = [len(group) for group in self.raw]
        # Lists that steps know by a name.
        lists = [importlib.metadata.version("hojichar"), load_manifest("word_lists")["lists"]]
        content = [_FORMAT, self.configuration, splits, groups, parameters, lists]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _is_finished(self) -> bool:
        record = read_record(self.places)
        if record is None or record.get("fingerprint") != self.fingerprint:
            return False
        return self.places.statistics.is_file() and all(
            _size(Path(self.places.folder, output["file"])) == output["file_bytes"]
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
