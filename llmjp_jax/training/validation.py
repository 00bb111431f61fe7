"""Validation: the loss on each corpus' validation split, in nats a token and bits a byte."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from llmjp_jax.inputs import TokenStore, epoch_batches
from llmjp_jax.training.trainer import Trainer


def validate(
    trainer: Trainer, parameters: Any, stores: Mapping[str, TokenStore], batches: int | None = None
) -> dict[str, dict[str, float]]:
    """The loss on the first `batches` batches of each store (None: on every token but the first).

    Returns:
      {name: {"loss": nats per token, "bits_per_byte": ..., "tokens": number of targets}}. Bits per byte counts the
      store's own tokens per byte of text, end-of-document tokens included, and is left out for a store whose manifest
      does not say how many bytes its text has (Megatron's own files).
    """
    results = {}
    for name, store in stores.items():
        rows = epoch_batches(
            store, trainer.sequence_length, trainer.batch_size, trainer.document_mask
        )
        sums = [
            trainer.evaluate(parameters, trainer.put(_rows(batch, trainer.local_rows)))
            for batch in itertools.islice(rows, batches)
        ]
        entropy, tokens = np.sum(jax.device_get(sums), axis=0, dtype=np.float64).tolist()
        results[name] = {"loss": entropy / tokens, "tokens": int(tokens)}
        text_bytes = (store.manifest or {}).get("text_bytes")
        if text_bytes:
            bits_per_token = entropy / tokens / math.log(2)
            results[name]["bits_per_byte"] = bits_per_token * store.num_tokens / text_bytes
    return results


def unigram_bits_per_byte(train: TokenStore, validation: TokenStore, vocab_size: int) -> float:
    """Bits per byte of validation text under the token frequencies of the training text, each count plus one."""
    counts = np.ones(vocab_size) + _counts(train, vocab_size)
    bits = -np.log2(counts / counts.sum())
    return float(_counts(validation, vocab_size) @ bits / validation.manifest["text_bytes"])


def _counts(store: TokenStore, vocab_size: int, piece: int = 1 << 22) -> np.ndarray:
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, store.num_tokens, piece):
        tokens = store.tokens(start, min(start + piece, store.num_tokens))
        counts += np.bincount(tokens, minlength=vocab_size)
    return counts


def _rows(batch, rows: slice):
    return {field: array[rows] for field, array in batch.items()}
