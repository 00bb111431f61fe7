"""Batches of training as pure functions of token stores.

There is no iterator and no state: `batch_at(inputs, step)` is the global batch of any step, in constant time, the same
on any number of hosts, and `where` and `steps_of_document` say which documents a step saw and which steps saw a
document. Making the stores is in `build.py`, the orders in `orders.py`, validation in `epoch.py`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.orders import ORDERS, Order
from llmjp_jax.inputs.sources import Source, Span

Batch = dict[str, np.ndarray]


class TrainingInputs(Protocol):
    """What a run reads its batches from: `Inputs`, `Stages` of them, or `Examples` for tuning."""

    identity: dict
    fingerprint: str

    @property
    def stages(self) -> tuple[Stage, ...]: ...

    def batch(self, step: int, rows: slice = slice(None)) -> Batch: ...

    def where(self, step: int) -> list[Sample]: ...

    def steps_of_document(
        self, source_name: str, document: int, epochs: Iterable[int] = (0,), tokens: slice = slice(None)
    ) -> list[Sample]: ...  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that decides which tokens a step sees.

    Args:
      sources: one for each Task.
      sequence_length: L, the tokens of a row.
      batch_size: rows of the global batch.
      seed: decides the order of the samples of each source in each epoch.
      document_mask: see `batch_at`.
      order: 'windows', in which the order of the sources does not matter, or 'megatron', in which it does. The first
        use of a Megatron order computes it and keeps it beside the stores, which takes minutes for a large one.
      total_steps: steps of the run; only Megatron's order needs it, since it depends on it.
    """

    sources: tuple[Source, ...]
    sequence_length: int
    batch_size: int
    seed: int = 0
    document_mask: bool = False
    order: str = "windows"
    total_steps: int | None = None

    def __post_init__(self):
        for name in ("sequence_length", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise UserError(f"the sources are {names}; give at least one, each once")
        if self.order not in ORDERS:
            raise UserError(f"order = {self.order!r} must be one of {', '.join(map(repr, ORDERS))}")
        _ = self.samples  # what is wrong with it is found now

    @functools.cached_property
    def samples(self) -> Order:
        """The samples of the run in their order; row r of step s is sample s * batch_size + r."""
        size = None if self.total_steps is None else self.total_steps * self.batch_size
        return ORDERS[self.order](self.sources, self.sequence_length, self.seed, size)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The one stage that these inputs are; see `Stages`."""
        return (Stage(self, 0, None),)

    @functools.cached_property
    def identity(self) -> dict:
        """What the batches depend on, in words: two runs that agree in it see the same."""
        divisor = math.gcd(*(source.weight for source in self.sources))
        return {
            "sources": {
                source.name: {
                    "weight": source.weight // divisor,
                    "fingerprint": source.store.fingerprint,
                }
                for source in self.sources
            },
            "sequence_length": self.sequence_length,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "document_mask": self.document_mask,
            **self.samples.identity,
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """The sha256 of `identity`, by which a continued run knows that its data have not changed."""
        return fingerprint_of(self.identity)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """See `batch_at`."""
        if step < 0:
            raise ValueError(f"step is {step}; steps count from 0")
        selected = np.arange(self.batch_size)[rows]
        sources, _, samples = self.samples.place(step * self.batch_size + selected)
        stream = np.empty((len(selected), self.sequence_length + 1), np.int32)
        begins = np.empty(stream.shape, bool) if self.document_mask else None
        for row, (source, sample) in enumerate(zip(sources, samples, strict=True)):
            self.samples.of_source[source].read(
                sample, stream[row], None if begins is None else begins[row]
            )
        return arrays_of(stream, begins)

    def where(self, step: int) -> list[Sample]:
        """See the function `where`."""
        placed = self.samples.place(step * self.batch_size + np.arange(self.batch_size))
        return [
            self._sample(step, row, *place) for row, place in enumerate(zip(*placed, strict=True))
        ]

    def epochs_begun(self, source_name: str, steps: int) -> int:
        """How many epochs of a source the first `steps` steps reach into: what `steps_of_document` needs to find all.

        In Megatron's order, which shuffles them together, all epochs of the run.
        """
        return self.samples.epochs(self._number_of(source_name), steps * self.batch_size)

    def steps_of_document(
        self, source_name: str, document: int, epochs: Iterable[int] = (0,), tokens: slice = slice(None)
    ) -> list[Sample]:  # fmt: skip
        """See the function `steps_of_document`."""
        number = self._number_of(source_name)
        documents = len(self.samples.of_source[number].source.store)
        if not 0 <= document < documents:
            raise UserError(f"{source_name} has {documents} documents and no document {document}")
        return sorted(
            self._sample(*divmod(index, self.batch_size), number, epoch, sample)
            for index, epoch, sample in self.samples.find(number, document, epochs, tokens)
        )

    def _number_of(self, source_name: str) -> int:
        names = [held.source.name for held in self.samples.of_source]
        if source_name not in names:
            raise UserError(f"there is no source {source_name}; the sources are {', '.join(names)}")
        return names.index(source_name)

    def _sample(self, step: int, row: int, source: int, epoch: int, sample: int) -> Sample:
        held = self.samples.of_source[source]
        return Sample(step, row, held.source.name, epoch, sample, held.spans(sample))


class Stage(NamedTuple):
    """Inputs that are used from step `first` of a run to the step before `stop`; None: to its end."""

    inputs: Any
    first: int
    stop: int | None


class Stages:
    """Several inputs used one after another, in place of one; each begins with its own step 0.

    LLM-jp v1.0 was trained on ten folds of its corpus in turn, and then on a refined one. A source that comes again in
    a later stage is read from its beginning, and in the same order.

    Args:
      inputs: at least one, with equal batches.
      steps: of each; the last one goes on to the end of the run.
    """

    def __init__(self, inputs: Sequence[Inputs], steps: Sequence[int]):
        stages, first = [], 0
        for stage, (one, count) in enumerate(zip(inputs, steps, strict=True)):
            if type(count) is not int or count < 1:
                raise UserError(
                    f"stage {stage} has {count!r} steps; it must be a whole number of at least 1"
                )
            stages.append(Stage(one, first, first + count))
            first += count
        if not stages:
            raise UserError("there are no stages; give at least one")
        stages[-1] = stages[-1]._replace(stop=None)
        self.stages = tuple(stages)
        self.identity = {
            f"stage_{number}": {"steps": None if stop is None else stop - first} | one.identity
            for number, (one, first, stop) in enumerate(self.stages)
        }
        self.fingerprint = fingerprint_of(self.identity)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """See `batch_at`."""
        stage = self._stage_at(step)
        return stage.inputs.batch(step - stage.first, rows)

    def where(self, step: int) -> list[Sample]:
        """See the function `where`."""
        stage = self._stage_at(step)
        samples = stage.inputs.where(step - stage.first)
        return [sample._replace(step=step) for sample in samples]

    def steps_of_document(
        self, source_name: str, document: int, epochs: Iterable[int] = (0,), tokens: slice = slice(None)
    ) -> list[Sample]:  # fmt: skip
        """See the function `steps_of_document`."""
        names = {source.name: None for stage in self.stages for source in stage.inputs.sources}
        if source_name not in names:
            raise UserError(f"there is no source {source_name}; the sources are {', '.join(names)}")
        epochs, samples = tuple(epochs), []
        for inputs, first, stop in self.stages:
            if any(source.name == source_name for source in inputs.sources):
                found = inputs.steps_of_document(source_name, document, epochs, tokens)
                moved = [sample._replace(step=first + sample.step) for sample in found]
                samples += [sample for sample in moved if stop is None or sample.step < stop]
        return sorted(samples)

    def _stage_at(self, step: int) -> Stage:
        if step < 0:
            raise ValueError(f"step is {step}; steps count from 0")
        return next(stage for stage in self.stages if stage.stop is None or step < stage.stop)


class Sample(NamedTuple):
    """One row of one step, and where it came from.

    `sample` is its number within an epoch of the source (order 'windows': the window) or within the whole of it
    ('megatron'). `spans` are the tokens of the store that the row's tokens and targets cover, L + 1 in all: one span
    in a row of the order 'windows', one for each piece of a document in Megatron's.
    """

    step: int
    row: int
    source: str
    epoch: int
    sample: int
    spans: tuple[Span, ...]

    @property
    def documents(self) -> list[int]:
        """The numbers of the documents that the row has a token of, in its order."""
        numbers = (n for span in self.spans for n in range(span.first_document, span.stop_document))
        return list(dict.fromkeys(numbers))


def batch_at(inputs: TrainingInputs, step: int, rows: slice = slice(None)) -> Batch:
    """The global batch of a step, or some of its rows; it depends on nothing but the arguments.

    Without `document_mask`, a row is one segment, positions count 0 to L-1 and every target has weight 1. With it,
    each document of a row is a segment of its own whose positions begin at 0, and the one target that would be the
    next document's first token has weight 0: what Megatron does with --reset-position-ids, --reset-attention-mask and
    --eod-mask-loss. The end-of-document token itself is a target. Documents end where the store says, never where a
    token looks like an end. A row cut from documents `5 6 7 | 8 7 | 9 10 ...` (7 is the end-of-document token):

        tokens        5  6  7  8  7  9
        targets       6  7  8  7  9 10
        loss_weights  1  1  0  1  0  1
        segment_ids   1  1  1  2  2  3
        positions     0  1  2  0  1  0

    Args:
      inputs: the sources and sizes.
      step: from 0, as large as one likes; the time does not depend on it.
      rows: the part of the batch to read, for a host that feeds only this part to its devices.

    Returns:
      `tokens`, `targets`, `segment_ids`, `positions` int32 and `loss_weights` float32, each [rows, length], to be read
      only: without `document_mask` they share memory.
    """
    return inputs.batch(step, rows)


def where(inputs: TrainingInputs, step: int) -> list[Sample]:
    """The place in the sources of every row of a step; of `Examples`, of everything in its rows."""
    return inputs.where(step)


def steps_of_document(
    inputs: TrainingInputs, source_name: str, document: int, epochs: Iterable[int] = (0,), tokens: slice = slice(None)
) -> list[Sample]:  # fmt: skip
    """Every row that holds a token of a document, as input or target, in the given epochs of its source.

    Args:
      inputs: the sources and sizes.
      source_name: the Task of the document.
      document: its number in that Task's store.
      epochs: passes over the source, from 0, in each stage that has it; in Megatron's order, where the documents of
        several epochs are shuffled together, a document may be twice in one and not at all in another.
      tokens: those of the document that are looked for.

    Returns:
      The rows by step; empty for a document in the dropped end of the stream.
    """
    return inputs.steps_of_document(source_name, document, epochs, tokens)


def fingerprint_of(identity: dict) -> str:
    """The sha256 of an identity in words."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def arrays_of(stream: np.ndarray, begins: np.ndarray | None) -> Batch:
    """The five arrays from windows of L + 1 tokens and the marks of the tokens that begin a new document.

    Without marks, what is the same in every row is not written out, and nothing is copied.
    """
    length = stream.shape[1] - 1
    places = np.arange(length, dtype=np.int32)
    if begins is None:
        shape = (len(stream), length)
        return {
            "tokens": stream[:, :-1],
            "targets": stream[:, 1:],
            "loss_weights": np.broadcast_to(np.float32(1), shape),
            "segment_ids": np.broadcast_to(np.int32(1), shape),
            "positions": np.broadcast_to(places, shape),
        }
    positions = places - np.maximum.accumulate(np.where(begins[:, :-1], places, 0), axis=1)
    return {
        "tokens": stream[:, :-1].copy(),
        "targets": stream[:, 1:].copy(),
        "loss_weights": (~begins[:, 1:]).astype(np.float32),
        "segment_ids": 1 + np.cumsum(begins[:, :-1], axis=1, dtype=np.int32),
        "positions": positions.astype(np.int32),
    }
