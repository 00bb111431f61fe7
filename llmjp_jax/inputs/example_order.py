"""Which examples a step sees, and where in its rows: a pure function of (seed, step), and its inverse."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from llmjp_jax.inputs.order import order_key, permute
from llmjp_jax.inputs.packing import PackedRows, PaddedRows

_EPOCHS_KEPT = 4


class Placed(NamedTuple):
    """An item in a batch: its row, the row's slot with which it begins, and its number."""

    row: int
    offset: int
    item: int


class ExampleOrder:
    """Epochs of items, each item as often as it is given, in another order in each epoch.

    An epoch gives every item a rank by a permutation of its own. Of the places of one size (or bucket) the first takes
    the item of that size with the lowest rank, and so on; then the rows, or the padded batches, are permuted.

    Args:
      items: the numbers of an epoch's items, with repetitions: int64 [places].
      classes: the size or bucket of each, as a key that sorts them as the places of `rows` are sorted: int64 [places].
      rows: the plan of an epoch's rows.
      seed: of the permutations.
    """

    def __init__(
        self, items: np.ndarray, classes: np.ndarray, rows: PackedRows | PaddedRows, seed: int
    ):
        self.rows, self._items, self._classes, self._seed = rows, items, classes, seed
        self._by_row = np.argsort(rows.row_of, kind="stable")
        self._row_starts = np.append(0, np.cumsum(np.bincount(rows.row_of)))
        # The batches of one epoch come one after another; four are enough for two threads at two ends.
        self._copies_of_epoch = functools.lru_cache(_EPOCHS_KEPT)(self._deal)

    def place(self, step: int, rows: slice = slice(None)) -> tuple[int, int, list[Placed]]:
        """The length of the step's rows, its epoch, and what lies in `rows` of them, in their order and from left to right."""
        epoch, within = divmod(step, self.rows.steps)
        key, copies = self._row_key(epoch), self._copies_of_epoch(epoch)
        placed = []
        numbers = self.rows.rows_at(within, key).tolist()
        for row in range(len(numbers))[rows]:
            if numbers[row] >= 0:
                start, stop = self._row_starts[numbers[row] : numbers[row] + 2].tolist()
                places = self._by_row[start:stop]
                offsets, items = self.rows.offset_of[places], self._items[copies[places]]
                placed += map(Placed, [row] * len(places), offsets.tolist(), items.tolist())
        return self.rows.length_at(within, key), epoch, placed

    def find(self, item: int, epoch: int) -> list[tuple[int, int]]:
        """The (step, row of the batch) of every copy of an item in an epoch, sorted."""
        copies = self._copies_of_epoch(epoch)
        places = np.flatnonzero(self._items[copies] == item)
        turns = self.rows.turn_of(self.rows.row_of[places], self._row_key(epoch))
        batch_size = self.rows.batch_size
        steps = epoch * self.rows.steps + turns // batch_size
        return sorted(zip(steps.tolist(), (turns % batch_size).tolist(), strict=True))

    def _deal(self, epoch: int) -> np.ndarray:
        """The copy that lies in each place of an epoch: int64 [places]."""
        count = len(self._items)
        rank = permute(np.arange(count), count, order_key(self._seed, "examples", epoch))
        return np.lexsort((rank, self._classes))

    def _row_key(self, epoch: int) -> tuple[int, ...]:
        return order_key(self._seed, "rows of examples", epoch)
