"""The items of several sources under one numbering, and how they are written into the arrays of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmjp_jax.inputs.example_items import Items
from llmjp_jax.inputs.example_order import Placed
from llmjp_jax.inputs.sources import Source, Span

_DTYPES = {
    "tokens": np.int32,
    "targets": np.int32,
    "loss_weights": np.float32,
    "segment_ids": np.int32,
    "positions": np.int32,
}


class ItemRows:
    """Reads items; they are numbered through all sources, in the order of these.

    Attributes:
      firsts: the number of each source's first item, and at the end the number of items.
      sizes: slots that each item takes: int64 [items].
    """

    def __init__(self, sources: Sequence[Source], items: Sequence[Items]):
        self._sources = tuple(sources)
        self.firsts = np.cumsum([0, *map(len, items)])
        self.sizes = np.concatenate([one.sizes for one in items])
        self._numbers = np.concatenate([one.numbers for one in items])
        self._begins = np.concatenate([one.begins for one in items])
        self._ends = np.concatenate([one.ends for one in items])

    def of_source(self, source: int) -> np.ndarray:
        """The numbers of a source's items: int64, rising by one."""
        return np.arange(self.firsts[source], self.firsts[source + 1])

    def source_of(self, item: int) -> int:
        """The source's number of an item."""
        return int(np.searchsorted(self.firsts, item, "right")) - 1

    def number_of(self, item: int) -> int:
        """Which example or pair of its source's store an item is."""
        return int(self._numbers[item])

    def item_of(self, source: int, number: int) -> int | None:
        """The item that is an example or pair of a source's store; None if that is dropped."""
        first, stop = self.firsts[source : source + 2].tolist()
        item = first + int(np.searchsorted(self._numbers[first:stop], number))
        return item if item < stop and self._numbers[item] == number else None

    def spans(self, item: int) -> tuple[Span, ...]:
        """The tokens of the store that an item holds: one span, or those of a pair's chosen and rejected sequence."""
        bounds = list(zip(self._begins[item].tolist(), self._ends[item].tolist(), strict=True))
        first = self.number_of(item) * len(bounds)
        return tuple(
            Span(begin, end, first + part, first + part + 1)
            for part, (begin, end) in enumerate(bounds)
        )

    def write(
        self,
        placed: Sequence[Placed],
        rows: range,
        length: int,
        values: Sequence[np.ndarray] | None = None,
        places: bool = False,
    ) -> dict[str, np.ndarray]:
        """The arrays of some rows of a batch; see `Examples.batch`.

        Args:
          placed: what lies in these rows, by row and from left to right.
          rows: their numbers in the batch.
          length: slots of a row.
          values: of each source, a value for each token of its store, that becomes `reference`.
          places: whether to give `places`.
        """
        shape = (len(rows), length)
        batch = {name: np.zeros(shape, dtype) for name, dtype in _DTYPES.items()}
        if values is not None:
            batch["reference"] = np.zeros(shape, np.float32)
        if places:
            batch["places"] = np.full(shape, -1, np.int64)
        index = {row: at for at, row in enumerate(rows)}
        numbers = np.array([one.item for one in placed], np.int64)
        sources = np.searchsorted(self.firsts, numbers, "right") - 1
        bounds = np.stack([self._begins[numbers], self._ends[numbers]], 2).tolist()
        counting, row, segment = np.arange(length), -1, 0
        for one, source, sequences in zip(placed, sources.tolist(), bounds, strict=True):
            if one.row != row:
                row, segment = one.row, 0
            at, slot, store = index[row], one.offset, self._sources[source].store
            for begin, end in sequences:
                segment += 1
                slots = slice(slot, slot := slot + end - begin - 1)
                ids = store.tokens(begin, end)
                batch["tokens"][at, slots] = ids[:-1]
                batch["targets"][at, slots] = ids[1:]
                batch["loss_weights"][at, slots] = store.mask[begin + 1 : end]
                batch["segment_ids"][at, slots] = segment
                batch["positions"][at, slots] = counting[: end - begin - 1]
                if values is not None:
                    batch["reference"][at, slots] = values[source][begin + 1 : end]
                if places:
                    batch["places"][at, slots] = np.arange(begin + 1, end)
        return batch
