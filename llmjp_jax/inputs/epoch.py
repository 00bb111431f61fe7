"""One pass over a store in its own order, for validation. Batches of training are in `batches.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from llmjp_jax.inputs.batches import Batch, arrays_of
from llmjp_jax.inputs.token_store import TokenStore
from llmjp_jax.inputs.windows import begins_within


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
        begins = np.zeros(stream.shape, bool)
        targets = np.zeros(batch_size, np.int64)
        for row, window in enumerate(range(first, min(first + batch_size, windows))):
            start = window * sequence_length
            ids = store.tokens(start, start + sequence_length + 1)
            stream[row, : len(ids)] = ids
            targets[row] = len(ids) - 1
            if document_mask:
                begins[row] = begins_within(store, start, sequence_length + 1)
        batch = arrays_of(stream, begins)
        padding = np.arange(sequence_length) >= targets[:, None]
        for array in batch.values():
            array[padding] = 0
        yield batch
