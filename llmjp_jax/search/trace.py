"""Which documents a step of a run taught, and which steps taught a document: from the run's seed and its token stores alone.

    trace = Trace.open("runs/quickstart/model")
    trace.rows(41)                                        the documents of the batch of step 41, row by row
    trace.seen(DocumentId("quickstart_ja", "train", 17))  every step and row that has some of that document

Nothing is logged while training, and nothing is gone through here: the order of the data is a function with an inverse
(`inputs.batches`). Step s, from 0, is the batch that makes s updates s + 1: metrics.jsonl tells its loss as that of step s + 1,
and a checkpoint of step s has seen the steps 0 to s - 1.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import Examples, Inputs, Sample, Source, Span, TokenStore, TrainingInputs
from llmjp_jax.search.results import DocumentId
from llmjp_jax.search.trace_run import open_recorded, read_record, steps_taken

if TYPE_CHECKING:
    from llmjp_jax.inputs.batches import Stage
    from llmjp_jax.tokenizer import Vocabulary

SPLIT = "train"  # the only one whose documents change a model


class Piece(NamedTuple):
    """Tokens start..stop-1 of a document, in a row.

    `at` is the column of the first of them: token start + j is the input of column at + j and the target of column
    at + j - 1. A row of text ends with a target, which is no input, and begins with an input that is no target; so does each
    example of a row of examples, the last token of which takes no column.
    """

    document: DocumentId
    start: int
    stop: int
    at: int


class TracedRow(NamedTuple):
    """A row of a batch, with all its documents from left to right.

    Of text the pieces hold L + 1 tokens, joined: inputs and targets of L columns. Of examples each piece is one, or one half of
    a pair, the chosen one first; a row that only fills up the last batch of an epoch has none.

    Attributes:
      step, row: from 0.
      source: whose documents they are; None: of several sources, or of none.
      epoch: of that source in its stage; of examples, that of all sources together.
      sample: the number in its source of a row of text (see `inputs.Sample`); None for examples.
    """

    step: int
    row: int
    source: str | None
    epoch: int | None
    sample: int | None
    pieces: tuple[Piece, ...]


class Seen(NamedTuple):
    """Tokens start..stop-1 of a document in a row of a step, as inputs or targets; two of them where a row has it twice."""

    step: int
    row: int
    epoch: int
    start: int
    stop: int


class Trace:
    """The data of a run, step by step and document by document. Several threads may ask at once.

    Attributes:
      total_steps: of the run, as it was planned.
      trained_steps: that it has made: steps from there on are still to come.
      run_dir: where it lies.
    """

    def __init__(self, inputs: TrainingInputs, total_steps: int, trained_steps: int, run_dir: Path):
        self.total_steps, self.trained_steps, self.run_dir = total_steps, trained_steps, run_dir
        self._inputs = inputs
        self._sources: dict[str, Source] = {
            source.name: source for stage in inputs.stages for source in stage.inputs.sources
        }

    @classmethod
    def open(cls, run_dir: str | os.PathLike, cache_dir: str | os.PathLike | None = None) -> Trace:
        """The trace of a run, from its run.json and the stores that it names.

        Args:
          cache_dir: where these lie now, if they were moved.

        Raises:
          UserError: it is no run, or an older one; a store is missing, or is not the one that the run was trained on.
        """
        run_dir = Path(run_dir)
        record = read_record(run_dir)
        inputs = open_recorded(record, run_dir, cache_dir)
        return cls(inputs, record["total_steps"], steps_taken(run_dir), run_dir)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the stores, which are the subsets of `DocumentId`s."""
        return tuple(self._sources)

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """`TokenStore.fingerprint` of each source, by which an index of the same store is known."""
        return {name: source.store.fingerprint for name, source in self._sources.items()}

    def store(self, source: str) -> TokenStore:
        """The documents of a source.

        Raises:
          UserError: there is no such source.
        """
        if source not in self._sources:
            import difflib

            (nearest,) = difflib.get_close_matches(source, self._sources, 1, 0)
            raise UserError(
                f"the run {self.run_dir} has no source {source!r}; the nearest is {nearest}, of {', '.join(self._sources)}"
            )
        return self._sources[source].store

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """What the run's ids mean: the copy in its directory, or what its run.json names.

        Raises:
          UserError: neither is there.
        """
        from llmjp_jax.tokenizer import load_vocabulary

        for name in ("tokenizer.json", "tokenizer.model"):
            if (self.run_dir / name).is_file():
                return load_vocabulary(self.run_dir / name)
        from llmjp_jax.checkpoints import vocabulary_path

        return load_vocabulary(vocabulary_path(self.run_dir))

    def check_stores(self, stores: Mapping[tuple[str, str], Any]) -> None:
        """Makes sure that an index numbers documents as the run does: `stores` is `CorpusIndex.stores`.

        Raises:
          UserError: it has none of the run's stores, or another one under the same name.
        """
        mine = {
            key: info for key, info in stores.items() if key[1] == SPLIT and key[0] in self._sources
        }
        if not mine:
            raise UserError(
                f"the index has none of the stores that {self.run_dir} was trained on ({', '.join(self._sources)}); "
                "add them to it with tools/search_corpus.py index"
            )
        for (name, _), info in mine.items():
            if info.fingerprint != self._sources[name].store.fingerprint:
                raise UserError(
                    f"the index has another store {name}/{SPLIT} than {self.run_dir} was trained on; "
                    "index that one with tools/search_corpus.py index --overwrite"
                )

    # From a step to documents.

    def rows(self, step: int) -> list[TracedRow]:
        """The rows of a step's global batch, in order.

        Raises:
          UserError: the run has no such step.
        """
        if not 0 <= step < self.total_steps:
            raise UserError(
                f"step {step} is none of the run {self.run_dir}, which has {self.total_steps:,} steps, "
                f"0 to {self.total_steps - 1}; give one of these"
            )
        samples = self._inputs.where(step)
        if not isinstance(self._inputs, Examples):
            return [
                TracedRow(
                    step, one.row, one.source, one.epoch, one.sample, tuple(self._pieces(one))
                )
                for one in samples
            ]
        rows = {row: list(some) for row, some in itertools.groupby(samples, lambda one: one.row)}
        return [
            self._row_of_examples(step, row, rows.get(row, []))
            for row in range(self._inputs.batch_size)
        ]

    def _row_of_examples(self, step: int, row: int, samples: Sequence[Sample]) -> TracedRow:
        pieces: list[Piece] = []
        at = 0
        for sample in samples:
            pieces += self._pieces(sample, at)
            # n tokens take n - 1 columns.
            at += sum(span.stop - span.start - 1 for span in sample.spans)
        sources = {sample.source for sample in samples}
        source = sources.pop() if len(sources) == 1 else None
        epoch = samples[0].epoch if samples else None
        return TracedRow(step, row, source, epoch, None, tuple(pieces))

    def _pieces(self, sample: Sample, at: int = 0) -> Iterator[Piece]:
        starts = self._sources[sample.source].store.document_starts
        shared = int(isinstance(self._inputs, Examples))
        for span in sample.spans:
            bounds = starts[span.first_document : span.stop_document + 1].tolist()
            for number, (begin, end) in enumerate(itertools.pairwise(bounds), span.first_document):
                first, stop = max(begin, span.start), min(end, span.stop)
                if first < stop:
                    document = DocumentId(sample.source, SPLIT, number)
                    yield Piece(document, first - begin, stop - begin, at + first - span.start)
            at += span.stop - span.start - shared

    # From a document to steps.

    def seen(self, document: DocumentId, start: int = 0, stop: int | None = None) -> list[Seen]:
        """Every row of the run with one of the tokens start..stop-1 of a document, those still to come included.

        The time is that of computing one row for each that is found; in Megatron's order, that of looking through it once.

        Args:
          document: of a split or source that the run does not train on: seen nowhere.
          start, stop: in tokens of the document; None: its end.

        Returns:
          By step and row, and of each row the part of start..stop-1 that it has.

        Raises:
          UserError: the source has no such document.
        """
        found: list[Seen] = []
        for stage in self._stages_of(document):
            steps = _steps_before(stage, self.total_steps)
            epochs = range(stage.inputs.epochs_begun(document.subset, steps))
            found += self._seen_in(stage, steps, epochs, document, start, stop)
        return sorted(found)

    def last_seen(
        self,
        document: DocumentId,
        start: int = 0,
        stop: int | None = None,
        before: int | None = None,
    ) -> int | None:
        """The last step before step `before` with one of the tokens start..stop-1 of a document; None if there is none.

        The time does not depend on the number of epochs, but in Megatron's order. Arguments and errors as in `seen`.
        """
        limit = self.total_steps if before is None else min(before, self.total_steps)
        for stage in reversed(self._stages_of(document)):
            steps = _steps_before(stage, limit)
            count = stage.inputs.epochs_begun(document.subset, steps)
            for epochs in _latest_first(stage.inputs, count):
                found = self._seen_in(stage, steps, epochs, document, start, stop)
                if found:
                    return max(seen.step for seen in found)
        return None

    def _stages_of(self, document: DocumentId) -> list[Stage]:
        if document.split != SPLIT or document.subset not in self._sources:
            return []
        documents = len(self._sources[document.subset].store)
        if not 0 <= document.number < documents:
            raise UserError(
                f"{document.subset} has {documents:,} documents and no document {document.number}; "
                f"give one of 0 to {documents - 1}"
            )
        return [
            stage
            for stage in self._inputs.stages
            if stage.first < self.total_steps
            and any(source.name == document.subset for source in stage.inputs.sources)
        ]

    def _seen_in(self, stage: Stage, steps: int, epochs: Sequence[int], document: DocumentId, start: int,
                 stop: int | None) -> list[Seen]:  # fmt: skip
        """What the first `steps` steps of a stage have of these tokens in these epochs."""
        name, _, number = document
        begin, end = self._sources[name].store.document_starts[number : number + 2].tolist()
        length = end - begin
        first, last = max(start, 0), length if stop is None else min(stop, length)
        if first >= last:
            return []
        samples = stage.inputs.steps_of_document(name, number, epochs, slice(first, last))
        return [
            Seen(stage.first + sample.step, sample.row, sample.epoch, *part)
            for sample in samples
            if sample.step < steps
            for span in sample.spans
            if (part := _part(span, number, begin, first, last))
        ]


def _steps_before(stage: Stage, limit: int) -> int:
    """How many steps a stage makes before step `limit` of the run."""
    stop = limit if stage.stop is None else min(limit, stage.stop)
    return max(stop - stage.first, 0)


def _latest_first(inputs: Inputs | Examples, count: int) -> Iterator[range]:
    """Epochs of `count` among which the last one with a document is, the latest first.

    An epoch is over when the next one begins, and has the same tokens as any other: what neither the last one, which may have
    only begun, nor the one before it has, no epoch has. Megatron's are shuffled together.
    """
    if isinstance(inputs, Inputs) and inputs.order == "megatron":
        return iter([range(count)])
    return (range(epoch, epoch + 1) for epoch in range(count - 1, max(count - 3, -1), -1))


def _part(span: Span, document: int, begin: int, start: int, stop: int) -> tuple[int, int] | None:
    """Those of the tokens start..stop-1 of a document, which begins at the store's token `begin`, that a span has."""
    if not span.first_document <= document < span.stop_document:
        return None
    first, last = max(span.start - begin, start), min(span.stop - begin, stop)
    return (first, last) if first < last else None
