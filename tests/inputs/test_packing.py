"""Best fit: nothing overlaps, nothing is lost, and it finds what the plainest best fit finds."""

from __future__ import annotations

import numpy as np
import pytest

from llmjp_jax.inputs.order import order_key
from llmjp_jax.inputs.packing import PackedRows, PaddedRows, best_fit


def plain_best_fit(sizes, length) -> int:
    """The number of rows, by looking at every row."""
    free: list[int] = []
    for size in sizes:
        fitting = [row for row, left in enumerate(free) if left >= size]
        if fitting:
            free[min(fitting, key=free.__getitem__)] -= size
        else:
            free.append(length - size)
    return len(free)


def lognormal_sizes(count: int, mean: int, longest: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).lognormal(np.log(mean) - 0.4, 0.9, count)
    return np.sort(np.clip(drawn, 1, longest).astype(np.int64))[::-1]


@pytest.mark.parametrize("seed", range(20))
def test_places_never_overlap_and_rows_are_filled_from_the_left(seed):
    random = np.random.default_rng(seed)
    length = int(random.integers(1, 40))
    sizes = np.sort(random.integers(1, length + 1, 200))[::-1]
    rows, offsets = best_fit(sizes, length)
    held = np.zeros((rows.max() + 1, length), int)
    for size, row, offset in zip(sizes, rows, offsets, strict=True):
        assert offset + size <= length
        held[row, offset : offset + size] += 1
    assert held.max() == 1 and held.sum() == sizes.sum()
    assert (np.diff(held, axis=1) <= 0).all() and held[:, 0].all()


@pytest.mark.parametrize("seed", range(20))
def test_it_needs_exactly_the_rows_of_the_plainest_best_fit(seed):
    sizes = lognormal_sizes(300, 20, 64, seed)
    assert best_fit(sizes, 64)[0].max() + 1 == plain_best_fit(sizes, 64)


def test_examples_of_ordinary_lengths_leave_next_to_nothing_free():
    sizes = lognormal_sizes(20_000, 300, 2048)
    rows = best_fit(sizes, 2048)[0].max() + 1
    assert sizes.sum() / (rows * 2048) > 0.998


def test_the_example_of_the_docstring():
    rows, offsets = best_fit(np.array([5, 3, 3, 2, 2]), 8)
    assert rows.tolist() == [0, 0, 1, 1, 1] and offsets.tolist() == [0, 5, 0, 3, 5]
    plan = PaddedRows(np.array([0, 0, 0, 1, 1]), (4, 8), 2)
    lengths = [plan.length_at(step, order_key(0, "", 0)) for step in range(3)]
    assert sorted(lengths) == [4, 8, 8] and plan.slots == 2 * (4 + 8 + 8)


@pytest.mark.parametrize("sizes", [[2, 3], [9], [0]])
def test_sizes_that_do_not_fall_or_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes fall from at most 8"):
        best_fit(np.array(sizes), 8)


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_an_epoch_has_every_row_once_and_the_turn_of_a_row_is_found(kind):
    if kind == "packed":
        plan = PackedRows(np.full(23, 8), 8, 5)
    else:
        plan = PaddedRows(np.sort(np.arange(23) % 3), (2, 4, 8), 5)
    for epoch in range(3):
        key = order_key(3, "rows", epoch)
        rows = np.concatenate([plan.rows_at(step, key) for step in range(plan.steps)])
        there = np.flatnonzero(rows >= 0)
        assert sorted(rows[there]) == list(range(23))
        assert plan.turn_of(rows[there], key).tolist() == there.tolist()
