"""The order 'windows': each store is cut into windows, and every epoch goes through them in an order of its own.

The documents of a store, each with its end-of-document token, form one stream. Window w of a store covers tokens
[w L, w L + L], so that consecutive windows share one token: as targets, every token but the stream's first belongs to
exactly one window (the last, shorter one is dropped in training, as in Megatron). Nothing is computed ahead and nothing
is stored: any epoch of any store is as near as the first.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.order import order_key, permute, unpermute
from llmjp_jax.inputs.sources import Source, Span
from llmjp_jax.inputs.token_store import TokenStore


class Windows:
    """The samples of one source: its windows, shuffled anew in each epoch.

    Raises:
      UserError: the store is shorter than one window.
    """

    def __init__(self, source: Source, sequence_length: int, seed: int):
        self.source, self._length, self._seed = source, sequence_length, seed
        self.count = (source.store.num_tokens - 1) // sequence_length  # windows of an epoch
        if self.count < 1:
            raise UserError(
                f"the store {source.store.prefix} has {source.store.num_tokens} tokens, fewer than one window of "
                f"sequence_length + 1 = {sequence_length + 1}; shorten the sequence or add text"
            )

    def pick(self, within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The epoch and the window of the source's samples number `within`: int64 of its shape."""
        epochs, places = np.divmod(within, self.count)
        windows = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            now = epochs == epoch
            windows[now] = permute(places[now], self.count, self._key(epoch))
        return epochs, windows

    def epochs(self, count: int) -> int:
        """How many epochs the source's first `count` samples reach into."""
        return -(-count // self.count)

    def find(
        self, document: int, epochs: Iterable[int], tokens: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every sample of these epochs with one of the document's `tokens`: (within, epoch, window), each int64 [samples]."""
        begin, end = self.source.store.document_starts[document : document + 2].tolist()
        start, stop, _ = tokens.indices(end - begin)
        start, stop = begin + start, begin + stop
        # Window w holds tokens w L to w L + L, both included.
        first = max(0, -(-(start - self._length) // self._length))
        last = min(self.count - 1, (stop - 1) // self._length) if stop > start else -1
        windows = np.arange(first, last + 1)
        epochs = list(epochs)
        within = [
            epoch * self.count + unpermute(windows, self.count, self._key(epoch))
            for epoch in epochs
        ]
        return (
            np.concatenate([np.zeros(0, np.int64), *within]),
            np.repeat(np.array(epochs, np.int64), len(windows)),
            np.tile(windows, len(epochs)),
        )

    def read(self, window: int, tokens: np.ndarray, begins: np.ndarray | None) -> None:
        """Writes the window's L + 1 tokens into `tokens`, and into `begins` where a document begins after the first."""
        start = window * self._length
        tokens[:] = self.source.store.tokens(start, start + self._length + 1)
        if begins is not None:
            begins[:] = begins_within(self.source.store, start, len(tokens))

    def spans(self, window: int) -> tuple[Span, ...]:
        """Where the window's tokens lie."""
        start = window * self._length
        stop = start + self._length + 1
        document_of = self.source.store.document_starts.document_of
        return (Span(start, stop, document_of(start), document_of(stop - 1) + 1),)

    def _key(self, epoch: int) -> tuple[int, ...]:
        return order_key(self._seed, self.source.name, epoch)


def begins_within(store: TokenStore, start: int, length: int) -> np.ndarray:
    """Which of the tokens start+1..start+length-1 is a document's first: bool [length], False at 0."""
    begins = np.zeros(length, bool)
    # Between the documents of the first and the last token lie the only ones that can begin inside.
    first = store.document_starts.document_of(start)
    last = store.document_starts.document_of(min(start + length, store.num_tokens) - 1)
    if last > first:
        places = store.document_starts[first + 1 : last + 1] - start
        begins[places[places < length]] = True
    return begins
