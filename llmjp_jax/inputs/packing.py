"""In which row and at which slot the examples of an epoch lie: packed by best fit, or padded one a row.

Sizes alone decide it. So that any epoch is as near as the first, the rows are planned once for places of given sizes;
each epoch deals the examples of one size to the places of that size anew, and puts the rows in a new order
(`example_order.py`). Nothing is read here and nothing is random.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmjp_jax.inputs.order import permute, unpermute


class PackedRows:
    """Places packed into rows of one length; the rows are dealt to the steps in any order.

    The last batch of an epoch is filled up with empty rows.

    Args:
      sizes: slots of each place, in falling order: [places].
      length: slots of a row.
      batch_size: rows of a step.

    Attributes:
      row_of, offset_of: the row and the first slot of each place: int64 [places].
      steps: of an epoch. slots: of all its batches.
    """

    def __init__(self, sizes: np.ndarray, length: int, batch_size: int):
        self.row_of, self.offset_of = best_fit(sizes, length)
        self._rows, self._length, self.batch_size = int(self.row_of.max()) + 1, length, batch_size
        self.steps = -(-self._rows // batch_size)
        self.slots = self.steps * batch_size * length

    def rows_at(self, step: int, key: Sequence[int]) -> np.ndarray:
        """The rows of a step of an epoch, -1 for an empty one: int64 [batch_size]."""
        turns = step * self.batch_size + np.arange(self.batch_size)
        there = turns < self._rows
        rows = np.full(self.batch_size, -1, np.int64)
        rows[there] = permute(turns[there], self._rows, key)
        return rows

    def turn_of(self, rows: np.ndarray, key: Sequence[int]) -> np.ndarray:
        """step * batch_size + row of the batch, for rows: the inverse of `rows_at`, int64 of their shape."""
        return unpermute(rows, self._rows, key)

    def length_at(self, step: int, key: Sequence[int]) -> int:
        """The slots of the step's rows."""
        return self._length


class PaddedRows:
    """One place a row; the rows of a batch are as long as the smallest bucket that holds all of them.

    Places are in order of their buckets and a batch is `batch_size` of them in a row, so that what does not fill a
    batch of one bucket goes to the next larger one. With buckets of 4 and 8 slots, batches of 2 and places of
    `3 2 4 | 7 5` slots, the batches are `3 2` of length 4, `4 7` of length 8, and `5` and an empty row of length 8.

    Args:
      buckets: the bucket of each place, in rising order: [places].
      lengths: slots of the rows of each bucket.
      batch_size: rows of a step.
    """

    def __init__(self, buckets: np.ndarray, lengths: Sequence[int], batch_size: int):
        self.row_of = np.arange(len(buckets))
        self.offset_of = np.zeros(len(buckets), np.int64)
        self.batch_size = batch_size
        self.steps = -(-len(buckets) // batch_size)
        last = np.minimum(np.arange(1, self.steps + 1) * batch_size, len(buckets)) - 1
        self._lengths = np.asarray(lengths)[buckets[last]]
        self.slots = int(self._lengths.sum()) * batch_size

    def rows_at(self, step: int, key: Sequence[int]) -> np.ndarray:
        """See `PackedRows.rows_at`."""
        batch = int(permute(step, self.steps, key))
        rows = batch * self.batch_size + np.arange(self.batch_size)
        return np.where(rows < len(self.row_of), rows, -1)

    def turn_of(self, rows: np.ndarray, key: Sequence[int]) -> np.ndarray:
        """See `PackedRows.turn_of`."""
        batches, within = np.divmod(rows, self.batch_size)
        return unpermute(batches, self.steps, key) * self.batch_size + within

    def length_at(self, step: int, key: Sequence[int]) -> int:
        """See `PackedRows.length_at`."""
        return int(self._lengths[permute(step, self.steps, key)])


def best_fit(sizes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Packs places into rows: each goes where it leaves the fewest slots free, or else into a new row.

    Since the sizes fall, this is best-fit-decreasing, which never needs more than 11/9 of the fewest possible rows and 4
    (Johnson, 'Near-optimal bin packing algorithms', MIT, 1973), and next to none more where most examples are short.
    For example, sizes `5 3 3 2 2` and rows of 8 slots become the rows `5 3` and `3 2 2`.

    Args:
      sizes: slots of each place, in falling order, 1 <= size <= length: [places].
      length: slots of a row.

    Returns:
      The row and the first slot of each place: int64 [places].
    """
    if len(sizes) and (sizes[0] > length or sizes[-1] < 1 or np.any(np.diff(sizes) > 0)):
        raise ValueError(f"sizes fall from at most {length} to at least 1")
    rows_with: list[list[int]] = [[] for _ in range(length + 1)]  # by the slots that they have free
    levels = 0  # bit f is set when a row has f slots free
    rows: list[int] = []
    offsets: list[int] = []
    opened = 0
    distinct, counts = np.unique(sizes, return_counts=True)
    for size, count in zip(distinct[::-1].tolist(), counts[::-1].tolist(), strict=True):
        while count:
            fitting = levels >> size
            if fitting:
                free = size + (fitting & -fitting).bit_length() - 1
                row = rows_with[free].pop()
                if not rows_with[free]:
                    levels ^= 1 << free
            else:
                row, free, opened = opened, length, opened + 1
            # What fits beside it fits best in the same row again.
            taken = min(count, free // size)
            rows += [row] * taken
            offsets += range(length - free, length - free + taken * size, size)
            count, free = count - taken, free - taken * size
            if free:
                rows_with[free].append(row)
                levels |= 1 << free
    return np.array(rows, np.int64), np.array(offsets, np.int64)
