"""epoch_batches: a validation pass has every token once, in the store's own order."""

from __future__ import annotations

import numpy as np
import pytest

from llmjp_jax.inputs import TokenStore, epoch_batches


def whole(store: TokenStore) -> np.ndarray:
    return store.tokens(0, store.num_tokens)


@pytest.mark.parametrize("length, batch_size", [(16, 4), (7, 3), (1, 5), (5000, 2)])
def test_a_validation_pass_has_every_token_but_the_first_as_target_once(
    random_store, length, batch_size
):
    store = random_store("s")
    batches = list(epoch_batches(store, length, batch_size))
    windows = -(-(store.num_tokens - 1) // length)
    assert len(batches) == -(-windows // batch_size)
    real = np.concatenate([batch["loss_weights"].ravel() for batch in batches]) == 1
    targets = np.concatenate([batch["targets"].ravel() for batch in batches])
    tokens = np.concatenate([batch["tokens"].ravel() for batch in batches])
    segments = np.concatenate([batch["segment_ids"].ravel() for batch in batches])
    assert np.array_equal(targets[real], whole(store)[1:])
    assert np.array_equal(tokens[real], whole(store)[:-1])
    assert np.array_equal(segments == 1, real) and not targets[~real].any()
    assert all(batch["tokens"].shape == (batch_size, length) for batch in batches)


def test_a_validation_pass_can_keep_documents_apart(make_store):
    store = make_store("s", [[5, 6], [8], [9]])
    (batch,) = epoch_batches(store, 4, 2, document_mask=True)
    assert batch["segment_ids"].tolist() == [[1, 1, 1, 2], [1, 2, 0, 0]]
    assert batch["loss_weights"].tolist() == [[1, 1, 0, 1], [0, 1, 0, 0]]
    assert batch["positions"].tolist() == [[0, 1, 2, 0], [0, 0, 0, 0]]
