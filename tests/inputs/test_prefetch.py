"""prefetch: the same batches, ahead of time; errors arrive where they belong; nothing stays behind."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from llmjp_jax.inputs import Inputs, Source, batch_at, prefetch


@pytest.fixture
def inputs(random_store) -> Inputs:
    return Inputs(sources=(Source("ja", 1, random_store("ja")),), sequence_length=16, batch_size=4)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_batches_come_in_order_and_end_at_the_stop(inputs):
    steps = []
    for step, batch in prefetch(inputs, 5, lambda batch: batch["tokens"], stop_step=9):
        assert np.array_equal(batch, batch_at(inputs, step)["tokens"])
        steps.append(step)
    assert steps == [5, 6, 7, 8] and not threads()


def test_a_host_reads_only_its_rows(inputs):
    _, batch = next(prefetch(inputs, 0, lambda batch: batch["tokens"], rows=slice(2, 4)))
    assert np.array_equal(batch, batch_at(inputs, 0)["tokens"][2:4])


def test_an_error_is_raised_at_its_step_after_the_batches_before_it(inputs):
    def put(batch):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("device is gone")
        return batch

    calls: list[int] = []
    seen = []
    with pytest.raises(RuntimeError, match="device is gone"):
        for step, _ in prefetch(inputs, 0, put):
            seen.append(step)
    assert seen == [0, 1] and not threads()


def test_closing_ends_the_thread_even_when_the_queue_is_full(inputs):
    batches = prefetch(inputs, 0, lambda batch: batch)
    next(batches)
    assert threads()
    time.sleep(0.3)
    batches.close()
    assert not threads()


def test_it_runs_ahead_by_the_depth_and_no_further(inputs):
    made = []
    batches = prefetch(inputs, 0, lambda batch: made.append(1), depth=3)
    next(batches)
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    # One was taken, three wait, one is in the thread's hand.
    assert len(made) == 5
    batches.close()


def test_a_depth_of_nothing_is_refused_at_once(inputs):
    with pytest.raises(ValueError, match="depth is 0"):
        prefetch(inputs, 0, lambda batch: batch, depth=0)
