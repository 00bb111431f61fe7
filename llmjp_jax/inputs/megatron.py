"""The order 'megatron': sample for sample what Megatron-LM's GPTDataset, BlendableDataset and sampler read.

The documents of each source are shuffled, joined, cut into samples, and the samples are shuffled; all epochs of a run
are one shuffle, apart from a last one that is needed in part. So the order depends on the number of samples of the
whole run, and a run cannot be lengthened. `megatron_indices.py` computes the order; here it is read, memory-mapped.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

import numpy as np

from llmjp_jax.inputs.megatron_indices import (
    BLEND_BLOCK,
    normalised,
    write_blend,
    write_sample_indices,
)
from llmjp_jax.inputs.sources import Source, Span
from llmjp_jax.inputs.stored_arrays import stored_arrays

_AT_ONCE = 1 << 22  # entries of an array that are searched at a time


class MegatronSamples:
    """The samples of one source in Megatron's order; the arrays lie beside its store (PREFIX.megatron.KEY/).

    Args:
      source, sequence_length, seed: as in `Inputs`; Megatron gives every data set the same seed.
      samples: how many the run needs of this source; there are as many more as the last epoch has.
    """

    def __init__(self, source: Source, sequence_length: int, seed: int, samples: int):
        self.source, self._length, store = source, sequence_length, source.store
        identity = {
            "what": "order of samples as in Megatron-LM llmjp0-mdx",
            "format": 1,
            "store": store.fingerprint,
            "sequences": store.num_sequences,
            "tokens": store.num_tokens,
            "sequence_length": sequence_length,
            "seed": seed,
            "samples": samples,
        }
        arrays = stored_arrays(
            store.prefix.with_name(f"{store.prefix.name}.megatron"),
            identity,
            lambda folder: write_sample_indices(folder, store, sequence_length, seed, samples),
        )
        self.documents, self.samples = arrays["documents"], arrays["samples"]
        self.shuffle = arrays["shuffle"]

    def __len__(self) -> int:
        return len(self.shuffle)

    def pick(self, within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The epoch and the sample of the source's samples number `within`: int64 of its shape.

        A sample's epoch is told by its place among the joined tokens: since the documents of several epochs are
        shuffled together, one of them may hold a document twice and another not at all.
        """
        samples = self.shuffle[within].astype(np.int64)
        return self._epochs(samples), samples

    def epochs(self, count: int) -> int:
        """How many epochs the source's first `count` samples reach into: all there are, since they are shuffled together."""
        return int(self._epochs(np.array(len(self) - 1))) + 1 if count else 0

    def find(
        self, document: int, epochs: Iterable[int], tokens: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every sample of these epochs with one of the document's `tokens`: (within, epoch, sample), each int64 [samples].

        Looks through all of the order once: about a second for 10^9 documents or samples.
        """
        found: set[int] = set()
        sequences = self.source.store.document_starts.sequences_of(document)
        lengths = self.source.store.sequence_lengths(np.arange(sequences.start, sequences.stop))
        start, stop, _ = tokens.indices(int(lengths.sum()))
        begins = np.cumsum(lengths) - lengths  # of each sequence in the document
        for place in _places(self.documents, sequences.start, sequences.stop):
            number = int(self.documents[place]) - sequences.start
            first = max(start - int(begins[number]), 0)
            last = min(stop - int(begins[number]), int(lengths[number])) - 1
            if first <= last:
                found.update(self._samples_of(place, first, last))
        samples = np.array(sorted(found), np.int64)
        samples = samples[np.isin(self._epochs(samples), list(epochs))]
        within = _positions(self.shuffle, samples)
        samples = self.shuffle[within].astype(np.int64)
        return within, self._epochs(samples), samples

    def read(self, sample: int, tokens: np.ndarray, begins: np.ndarray | None) -> None:
        """Writes the sample's L + 1 tokens into `tokens`, and into `begins` where a document begins after the first."""
        if begins is not None:
            begins[:] = False
        at = 0
        for start, stop in self._pieces(sample)[1]:
            if at and begins is not None and stop > start:
                begins[at] = True
            tokens[at : at + stop - start] = self.source.store.tokens(start, stop)
            at += stop - start

    def spans(self, sample: int) -> tuple[Span, ...]:
        """Where the sample's tokens lie, one span for each piece of a document."""
        sequences, pieces = self._pieces(sample)
        document_of = self.source.store.document_starts.document_of_sequence
        spans = []
        for sequence, (start, stop) in zip(sequences.tolist(), pieces, strict=True):
            if stop > start:
                spans.append(Span(start, stop, document := document_of(sequence), document + 1))
        return tuple(spans)

    def _pieces(self, sample: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """The sequences of a sample, and the tokens of the store that it takes of each."""
        (first, offset), (last, last_offset) = self.samples[sample : sample + 2].tolist()
        sequences = self.documents[first : last + 1]
        starts = self.source.store.sequence_starts(sequences)
        stops = starts + self.source.store.sequence_lengths(sequences)
        stops[-1] = starts[-1] + last_offset + 1
        starts[0] += offset
        return sequences, list(zip(starts.tolist(), stops.tolist(), strict=True))

    def _samples_of(self, place: int, first: int, last: int) -> range:
        """The samples with one of the tokens first..last of the sequence at a place of `documents`."""

        def begin(row: np.ndarray) -> tuple[int, int]:
            return int(row[0]), int(row[1])

        # A sample's last token is the next one's first.
        start = bisect.bisect_left(self.samples, (place, first), key=begin) - 1
        stop = bisect.bisect_right(self.samples, (place, last), key=begin)
        return range(max(start, 0), min(stop, len(self)))

    def _epochs(self, samples: np.ndarray) -> np.ndarray:
        return samples * self._length // self.source.store.num_tokens


class Blend:
    """Which source each sample of a run comes from in Megatron; the arrays lie beside the first source's store.

    Args:
      sources: in the order of Megatron's --data-path, which decides ties.
      size: samples of the run.
    """

    def __init__(self, sources: Sequence[Source], size: int):
        weights = normalised([float(source.weight) for source in sources])
        prefix = sources[0].store.prefix
        identity = {"what": "blend as in Megatron-LM llmjp0-mdx", "format": 1}
        arrays = stored_arrays(
            prefix.with_name(f"{prefix.name}.blend"),
            identity | {"weights": weights, "size": size},
            lambda folder: write_blend(folder, weights, size),
        )
        self.size, self._sources, self._before = size, arrays["sources"], arrays["counts"]

    def deal(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The sources of samples first..first+count-1, and which of its source's samples each is: int64."""
        block = first // BLEND_BLOCK
        begin = block * BLEND_BLOCK
        sources = self._sources[begin : first + count].astype(np.int64)
        within = np.empty_like(sources)
        for t in np.unique(sources).tolist():
            mine = sources == t
            within[mine] = self._before[block, t] + np.arange(np.count_nonzero(mine))
        return sources[first - begin :], within[first - begin :]

    def find(self, source: int, within: np.ndarray) -> np.ndarray:
        """The samples that are numbers `within` of a source; -1 for those that come after the run's end."""
        return np.array([self._find(source, number) for number in within.tolist()], np.int64)

    def counts(self, samples: int) -> list[int]:
        """How many of the first `samples` samples each source is dealt; of a run's end, what the run reads."""
        block = min(samples // BLEND_BLOCK, len(self._before) - 1)
        part = self._sources[block * BLEND_BLOCK : samples]
        last = np.bincount(part, minlength=self._before.shape[1])
        return (self._before[block] + last).tolist()

    def _find(self, source: int, within: int) -> int:
        block = bisect.bisect_right(self._before[:, source], within) - 1
        begin = block * BLEND_BLOCK
        places = np.flatnonzero(self._sources[begin : begin + BLEND_BLOCK] == source)
        number = within - int(self._before[block, source])
        return begin + int(places[number]) if number < len(places) else -1


def _places(documents: np.ndarray, start: int, stop: int) -> list[int]:
    """Where an array has a value in start..stop-1, a part of it at a time."""
    places = []
    for first in range(0, len(documents), _AT_ONCE):
        part = documents[first : first + _AT_ONCE]
        places += (first + np.flatnonzero((start <= part) & (part < stop))).tolist()
    return places


def _positions(shuffle: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Where `shuffle` has one of some samples: int64, ascending."""
    positions = [np.zeros(0, np.int64)]
    for first in range(0, len(shuffle), _AT_ONCE):
        positions.append(
            first + np.flatnonzero(np.isin(shuffle[first : first + _AT_ONCE], samples))
        )
    return np.concatenate(positions)
