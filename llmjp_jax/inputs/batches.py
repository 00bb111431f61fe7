"""Batches of training and of validation as pure functions of token stores.

There is no iterator and no state: `batch_at(inputs, step)` is the global batch of any step, in constant time, the same
on any number of hosts, and `where` and `steps_of_document` say which documents a step saw and which steps saw a
document. Making the stores is in `build.py`, the order's arithmetic in `order.py`.

The documents of a store, each with its end-of-document token, form one stream. Window w of a store covers tokens
[w L, w L + L], so that consecutive windows share one token: as targets, every token but the stream's first belongs to
exactly one window (the last, shorter one is dropped in training, as in Megatron).
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.order import mix, order_key, permute, unmix, unpermute
from llmjp_jax.inputs.token_store import TokenStore

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Source:
    """One store of a mixture: its Task's name, and its share of the tokens as an integer weight."""

    name: str
    weight: int
    store: TokenStore = field(repr=False)

    def __post_init__(self):
        if not isinstance(self.weight, int) or self.weight < 1:
            raise UserError(
                f"the weight of {self.name} is {self.weight!r}; it must be a positive integer"
            )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that decides which tokens a step sees.

    Args:
      sources: one for each Task; they are kept by falling weight, then name, so that their order does not matter.
      sequence_length: L, the tokens of a row.
      batch_size: rows of the global batch.
      seed: decides the order of the windows of each source in each epoch.
      document_mask: see `batch_at`.
    """

    sources: tuple[Source, ...]
    sequence_length: int
    batch_size: int
    seed: int = 0
    document_mask: bool = False

    def __post_init__(self):
        for name in ("sequence_length", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise UserError(f"the sources are {names}; give at least one, each once")
        ordered = tuple(sorted(self.sources, key=lambda source: (-source.weight, source.name)))
        object.__setattr__(self, "sources", ordered)
        for source in ordered:
            if self.windows(source) < 1:
                raise UserError(
                    f"the store {source.store.prefix} has {source.store.num_tokens} tokens, fewer than one window of "
                    f"sequence_length + 1 = {self.sequence_length + 1}; shorten the sequence or add text"
                )

    @functools.cached_property
    def weights(self) -> tuple[int, ...]:
        """The sources' weights, without their common divisor."""
        divisor = math.gcd(*(source.weight for source in self.sources))
        return tuple(source.weight // divisor for source in self.sources)

    def windows(self, source: Source) -> int:
        """How many windows an epoch of the source has."""
        return (source.store.num_tokens - 1) // self.sequence_length

    @functools.cached_property
    def identity(self) -> dict:
        """What the order of the data depends on, in words: two runs that agree in it see the same batches."""
        return {
            "sources": {
                source.name: {"weight": weight, "fingerprint": source.store.fingerprint}
                for source, weight in zip(self.sources, self.weights, strict=True)
            },
            "sequence_length": self.sequence_length,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "document_mask": self.document_mask,
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """The sha256 of `identity`, by which a continued run knows that its data have not changed."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


class Sample(NamedTuple):
    """One row of one step, and where it came from.

    `start, stop` are the tokens of the stream that the row's tokens and targets cover (L + 1 of them);
    `first_document, stop_document` the documents that these lie in.
    """

    step: int
    row: int
    source: str
    epoch: int
    window: int
    start: int
    stop: int
    first_document: int
    stop_document: int


def batch_at(inputs: Inputs, step: int, rows: slice = slice(None)) -> Batch:
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
      `tokens`, `targets`, `segment_ids`, `positions` int32 and `loss_weights` float32, each [rows, length].
    """
    if step < 0:
        raise ValueError(f"step is {step}; steps count from 0")
    selected = np.arange(inputs.batch_size)[rows]
    source_of, _, window_of = _locate(inputs, step * inputs.batch_size + selected)
    length = inputs.sequence_length
    stream = np.empty((len(selected), length + 1), np.int32)
    starts_document = np.zeros((len(selected), length + 1), bool)
    for t, source in enumerate(inputs.sources):
        mine = np.flatnonzero(source_of == t)
        starts = window_of[mine] * length
        for row, start in zip(mine.tolist(), starts.tolist(), strict=True):
            stream[row] = source.store.tokens(start, start + length + 1)
        if inputs.document_mask and mine.size:
            starts_document[mine] = _document_starts_within(source.store, starts, length + 1)
    return _batch(stream, starts_document)


def where(inputs: Inputs, step: int) -> list[Sample]:
    """The place in the sources of every row of a step."""
    index = step * inputs.batch_size + np.arange(inputs.batch_size)
    source_of, epoch_of, window_of = _locate(inputs, index)
    samples = []
    for row in range(inputs.batch_size):
        source = inputs.sources[source_of[row]]
        samples.append(_sample(inputs, source, step, row, int(epoch_of[row]), int(window_of[row])))
    return samples


def steps_of_document(
    inputs: Inputs, source_name: str, document: int, epochs: Iterable[int] = (0,)
) -> list[Sample]:
    """Every row that holds a token of a document, as input or target, in the given epochs of its source.

    Args:
      inputs: the sources and sizes.
      source_name: the Task of the document.
      document: its number in that Task's store.
      epochs: passes over the source, from 0.

    Returns:
      The rows by step; empty for a document in the dropped end of the stream.
    """
    names = [source.name for source in inputs.sources]
    if source_name not in names:
        raise UserError(f"there is no source {source_name}; the sources are {', '.join(names)}")
    t = names.index(source_name)
    source, length = inputs.sources[t], inputs.sequence_length
    if not 0 <= document < len(source.store):
        raise UserError(
            f"{source_name} has {len(source.store)} documents and no document {document}"
        )
    start, stop = (int(x) for x in source.store.document_starts[document : document + 2])
    if start == stop:
        return []
    count = inputs.windows(source)
    # Window w holds tokens w L to w L + L, both included.
    windows = np.arange(
        max(0, -(-(start - length) // length)), min(count - 1, (stop - 1) // length) + 1
    )
    samples = []
    for epoch in epochs:
        within = epoch * count + unpermute(
            windows, count, order_key(inputs.seed, source_name, epoch)
        )
        for window, index in zip(
            windows.tolist(), unmix(t, within, inputs.weights).tolist(), strict=True
        ):
            step, row = divmod(index, inputs.batch_size)
            samples.append(_sample(inputs, source, step, row, epoch, window))
    return sorted(samples)


def epoch_batches(
    store: TokenStore, sequence_length: int, batch_size: int, document_mask: bool = False
) -> Iterator[Batch]:
    """One pass over a store in its own order: every token but the stream's first is a target exactly once.

    The last window may be shorter and the last batch may have fewer windows; both are filled with token 0, segment 0
    and loss weight 0. The number of batches is ceil(ceil((tokens - 1) / sequence_length) / batch_size).
    """
    windows = -(-(store.num_tokens - 1) // sequence_length)
    for first in range(0, windows, batch_size):
        stream = np.zeros((batch_size, sequence_length + 1), np.int32)
        starts_document = np.zeros(stream.shape, bool)
        targets = np.zeros(batch_size, np.int64)
        for row, window in enumerate(range(first, min(first + batch_size, windows))):
            start = window * sequence_length
            ids = store.tokens(start, start + sequence_length + 1)
            stream[row, : len(ids)] = ids
            targets[row] = len(ids) - 1
            if document_mask:
                starts_document[row] = _document_starts_within(
                    store, np.array([start]), sequence_length + 1
                )
        batch = _batch(stream, starts_document)
        padding = np.arange(sequence_length) >= targets[:, None]
        for array in batch.values():
            array[padding] = 0
        yield batch


def _locate(inputs: Inputs, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, epoch and window of each sample: three int64 arrays of the shape of `index`."""
    source_of, within = mix(index, inputs.weights)
    epoch_of, window_of = np.zeros_like(within), np.zeros_like(within)
    for t, source in enumerate(inputs.sources):
        mine = np.flatnonzero(source_of == t)
        count = inputs.windows(source)
        epoch_of[mine] = within[mine] // count
        for epoch in np.unique(epoch_of[mine]).tolist():
            now = mine[epoch_of[mine] == epoch]
            key = order_key(inputs.seed, source.name, epoch)
            window_of[now] = permute(within[now] % count, count, key)
    return source_of, epoch_of, window_of


def _sample(inputs: Inputs, source: Source, step: int, row: int, epoch: int, window: int) -> Sample:
    start = window * inputs.sequence_length
    stop = start + inputs.sequence_length + 1
    first, last = source.store.document_starts.documents_of([start, stop - 1]).tolist()
    return Sample(step, row, source.name, epoch, window, start, stop, first, last + 1)


def _document_starts_within(store: TokenStore, starts: np.ndarray, length: int) -> np.ndarray:
    """Where a document begins after the first token of each window: bool [windows, length]."""
    marks = np.zeros((len(starts), length), bool)
    # Between the documents of the first and the last token lie the only ones that can begin inside.
    stops = np.minimum(starts + length, store.num_tokens)
    first = store.document_starts.documents_of(starts)
    last = store.document_starts.documents_of(stops - 1)
    for row in range(len(starts)):
        begins = store.document_starts[int(first[row]) + 1 : int(last[row]) + 1] - starts[row]
        marks[row, begins[begins < length]] = True
    return marks


def _batch(stream: np.ndarray, starts_document: np.ndarray) -> Batch:
    """The five arrays from windows of L + 1 tokens and the marks of the tokens that begin a new document."""
    length = stream.shape[1] - 1
    places = np.arange(length, dtype=np.int32)
    positions = places - np.maximum.accumulate(np.where(starts_document[:, :-1], places, 0), axis=1)
    return {
        "tokens": stream[:, :-1].copy(),
        "targets": stream[:, 1:].copy(),
        "loss_weights": (~starts_document[:, 1:]).astype(np.float32),
        "segment_ids": 1 + np.cumsum(starts_document[:, :-1], axis=1, dtype=np.int32),
        "positions": positions.astype(np.int32),
    }
