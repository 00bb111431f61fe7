"""What a training order is: a dealing of sources to samples, and for each source an order of its own samples.

There are two. 'windows' is computed wherever it is asked for; 'megatron' is Megatron-LM's own, kept in arrays on disk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.megatron import Blend, MegatronSamples
from llmjp_jax.inputs.megatron_indices import normalised, samples_of_blend
from llmjp_jax.inputs.mixing import Dealing
from llmjp_jax.inputs.sources import Source, Span
from llmjp_jax.inputs.windows import Windows

_BLOCK = 512  # samples that are placed together
_BLOCKS_KEPT = 64


class Mix(Protocol):
    """Which source each sample comes from: `mixing.Dealing` or `megatron.Blend`."""

    def deal(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]: ...

    def find(self, source: int, within: np.ndarray) -> np.ndarray: ...

    def counts(self, samples: int) -> Sequence[int]: ...


class Samples(Protocol):
    """One source's samples: `windows.Windows` or `megatron.MegatronSamples`."""

    source: Source

    def pick(self, within: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def epochs(self, count: int) -> int: ...

    def find(
        self, document: int, epochs: Iterable[int], tokens: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...

    def read(self, sample: int, tokens: np.ndarray, begins: np.ndarray | None) -> None: ...

    def spans(self, sample: int) -> tuple[Span, ...]: ...


class Found(NamedTuple):
    """A sample of the run that was looked for: its number, and its epoch and number in its source."""

    index: int
    epoch: int
    sample: int


class Order:
    """The samples of a run, numbered from 0.

    Args:
      mix: deals the sources.
      samples: of each source, in the order of the mix.
      size: the number of samples; None has no end.
      identity: what the order depends on beside sources, weights, sequence length and seed.
    """

    def __init__(
        self, mix: Mix, samples: Sequence[Samples], size: int | None, identity: dict[str, Any]
    ):
        self.of_source, self.identity = tuple(samples), identity
        self._mix, self._size = mix, size
        self._placed = functools.lru_cache(_BLOCKS_KEPT)(self._place_block)

    def place(self, index: np.ndarray) -> tuple[list[int], list[int], list[int]]:
        """The source's number, the epoch and the number in its source of each sample of `index` [n], as lists.

        Raises:
          UserError: a sample lies beyond the end of the run.
        """
        if self._size is not None and index.size and int(index.max()) >= self._size:
            raise UserError(
                f"this order of the data ends after {self._size} samples and sample {int(index.max())} was asked for; "
                "begin a new run with more total_steps"
            )
        blocks = index // _BLOCK
        placed = np.empty((3, len(index)), np.int64)
        for block in np.unique(blocks).tolist():
            mine = blocks == block
            placed[:, mine] = self._placed(block)[:, index[mine] - block * _BLOCK]
        return tuple(placed.tolist())

    def epochs(self, source: int, samples: int) -> int:
        """How many epochs of a source the first `samples` samples reach into."""
        return self.of_source[source].epochs(self._mix.counts(samples)[source])

    def find(
        self, source: int, document: int, epochs: Iterable[int], tokens: slice = slice(None)
    ) -> list[Found]:
        """Every sample of these epochs of a source with one of the document's `tokens`."""
        within, epochs, samples = self.of_source[source].find(document, epochs, tokens)
        index = self._mix.find(source, within)
        found = [
            Found(*numbers)
            for numbers in zip(index.tolist(), epochs.tolist(), samples.tolist(), strict=True)
        ]
        return sorted(f for f in found if 0 <= f.index < (self._size or f.index + 1))

    def _place_block(self, block: int) -> np.ndarray:
        first = block * _BLOCK
        count = _BLOCK if self._size is None else min(_BLOCK, self._size - first)
        source, within = self._mix.deal(first, count)
        placed = np.stack([source, np.zeros_like(source), np.zeros_like(source)])
        for t, samples in enumerate(self.of_source):
            mine = np.flatnonzero(source == t)
            if mine.size:
                placed[1, mine], placed[2, mine] = samples.pick(within[mine])
        return placed


def window_order(
    sources: Sequence[Source], sequence_length: int, seed: int, size: int | None
) -> Order:
    """Sources by falling weight, then name, so that the order in which they are given does not matter; no end."""
    sources = sorted(sources, key=lambda source: (-source.weight, source.name))
    samples = [Windows(source, sequence_length, seed) for source in sources]
    # An order that gives other batches needs another name: run records hold it.
    identity = {"order": "windows, sources dealt by earliest deadline"}
    return Order(Dealing([source.weight for source in sources]), samples, None, identity)


def megatron_order(
    sources: Sequence[Source], sequence_length: int, seed: int, size: int | None
) -> Order:
    """The order of Megatron-LM's training script with --data-path `weight prefix weight prefix ...`.

    One source is a data set by itself, without a blend: `--data-path prefix`. The weights are taken as they are given:
    Megatron divides them by their sum in floating point, where 7, 2, 1 are not quite 0.7, 0.2, 0.1.

    Raises:
      UserError: the number of samples is not known, or a blend so short that rounding takes more of a source than the
        half per cent that Megatron has in reserve.
    """
    if size is None:
        raise UserError("order='megatron' needs total_steps, on which Megatron's shuffles depend")
    weights = [float(source.weight) for source in sources]
    needed = [size] if len(sources) == 1 else samples_of_blend(normalised(weights), size)
    samples = [
        MegatronSamples(source, sequence_length, seed, count)
        for source, count in zip(sources, needed, strict=True)
    ]
    mix: Mix = Dealing([1])
    if len(sources) > 1:
        mix = Blend(sources, size)
        for source, held, read in zip(sources, samples, mix.counts(size), strict=True):
            if read > len(held):
                raise UserError(
                    f"the blend reads {read} samples of {source.name}, for which Megatron provides {len(held)}; "
                    "raise total_steps or its weight"
                )
    identity = {
        "order": "megatron",
        "total_samples": size,
        "blend": [[source.name, source.weight] for source in sources],
    }
    return Order(mix, samples, size, identity)


ORDERS: dict[str, Callable[[Sequence[Source], int, int, int | None], Order]] = {
    "windows": window_order,
    "megatron": megatron_order,
}
