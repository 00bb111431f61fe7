"""A background thread that reads the next batches, and puts them on the devices, while the present step runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from llmjp_jax.inputs.batches import Batch, TrainingInputs, batch_at


def prefetch(
    inputs: TrainingInputs,
    start_step: int,
    put: Callable[[Batch], Any],
    depth: int = 2,
    *,
    stop_step: int | None = None,
    rows: slice = slice(None),
) -> Iterator[tuple[int, Any]]:
    """Yields (step, put(batch_at(inputs, step, rows))) from `start_step` on, at most `depth` batches ahead.

    An exception of the thread is raised at the step at which it happened. The thread ends, and is waited for, when
    the iterator is closed, is exhausted, or is left by an exception. Nothing runs before the first `next`.

    Args:
      inputs: the sources and sizes; the batches of `Examples` may differ in length.
      start_step: the first step.
      put: what moves a batch onto the devices; called in the thread.
      depth: how many finished batches may wait, at least 1.
      stop_step: the step before which to end; None goes on for ever.
      rows: the part of each batch that this host reads.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}; it must be at least 1")
    return _prefetched(inputs, start_step, put, depth, stop_step, rows)


def _prefetched(inputs, start_step, put, depth, stop_step, rows):
    ready: queue.Queue = queue.Queue(maxsize=depth)
    closed = threading.Event()

    def offer(item) -> bool:
        """Waits for room, and gives up once the consumer is gone."""
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        step = start_step
        try:
            while stop_step is None or step < stop_step:
                if not offer((step, put(batch_at(inputs, step, rows)), None)):
                    return
                step += 1
            offer((step, None, StopIteration()))
        except BaseException as error:  # noqa: BLE001 -- raised again in the consumer
            offer((step, None, error))

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            step, batch, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield step, batch
    finally:
        closed.set()
        thread.join()
