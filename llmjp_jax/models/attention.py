"""Causal attention, one function with several backends, and attention over a key-value cache.

Every backend gives the reference's result; tests compare values and gradients. Arrays are
[batch, length, heads, head_dim]; keys and values may have fewer heads (grouped queries: query head h reads key head
h // (heads / kv_heads)).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from llmjp_jax.models.linear import dropout

# Blocks of queries in the 'blocked' backend: 4 was the fastest on CPU at length 256 (2: +10 %, 8: +20 %).
_QUERY_BLOCKS = 4
_MASKED = -1e30


def attend(query: jax.Array, key: jax.Array, value: jax.Array, segment_ids: jax.Array | None, *,
           backend: str, rate: float = 0.0, dropout_key: jax.Array | None = None) -> jax.Array:  # fmt: skip
    """Softmax attention to positions that are not later and, given `segment_ids`, in the same segment.

    Args:
      query: [batch, length, heads, head_dim]; key, value: [batch, length, kv_heads, head_dim].
      segment_ids: [batch, length] int32, or None for one segment a row.
      backend: 'reference', 'blocked', 'xla' or 'cudnn'.
      rate: dropout rate on the attention weights, used when `dropout_key` is given.

    Returns:
      [batch, length, heads, head_dim] in the dtype of `query`.
    """
    if backend in ("xla", "cudnn"):
        same = None if segment_ids is None else _same_segment(segment_ids, segment_ids)[:, None]
        return jax.nn.dot_product_attention(
            query, key, value, mask=same, is_causal=True, implementation=backend
        )
    blocks = _QUERY_BLOCKS if backend == "blocked" else 1
    length = query.shape[1]
    size = -(-length // blocks)
    outputs = []
    for start in range(0, length, size):
        stop = min(start + size, length)
        mask = jnp.arange(stop)[None, :] <= jnp.arange(start, stop)[:, None]
        mask = mask[None]
        if segment_ids is not None:
            mask = mask & _same_segment(segment_ids[:, start:stop], segment_ids[:, :stop])
        block_key = None if dropout_key is None else jax.random.fold_in(dropout_key, start)
        outputs.append(
            _softmax_attention(
                query[:, start:stop], key[:, :stop], value[:, :stop], mask, rate, block_key
            )
        )
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=1)


def attend_cached(query: jax.Array, keys: jax.Array, values: jax.Array, start: jax.Array,
                  length: jax.Array) -> jax.Array:  # fmt: skip
    """Attention of new tokens to a cache that already holds their keys and values.

    Args:
      query: [batch, new, heads, head_dim], at cache slots length .. length + new - 1.
      keys, values: [batch, slots, kv_heads, head_dim].
      start: [batch] int32, the first slot of each row that is not left padding.
      length: scalar int32, the slots filled before these tokens.
    """
    slots = jnp.arange(keys.shape[1])
    causal = slots[None, :] <= (length + jnp.arange(query.shape[1]))[:, None]
    mask = causal[None] & (slots >= start[:, None])[:, None, :]
    return _softmax_attention(query, keys, values, mask, 0.0, None)


def _same_segment(query_ids: jax.Array, key_ids: jax.Array) -> jax.Array:
    return query_ids[:, :, None] == key_ids[:, None, :]


def _softmax_attention(query, key, value, mask, rate, dropout_key):
    """mask: [batch or 1, queries, keys]. Scores and softmax in float32; a row that may see nothing sees all alike."""
    batch, queries, heads, head_dim = query.shape
    groups = heads // key.shape[2]
    query = query.reshape(batch, queries, key.shape[2], groups, head_dim)
    scores = jnp.einsum(
        "bqkgd,bskd->bkgqs", query * head_dim**-0.5, key, preferred_element_type=jnp.float32
    )
    scores = scores + jnp.where(mask, 0.0, _MASKED)[:, None, None]
    weights = jax.nn.softmax(scores, axis=-1)
    weights = dropout(weights, rate, dropout_key).astype(value.dtype)
    return jnp.einsum("bkgqs,bskd->bqkgd", weights, value).reshape(batch, queries, heads, head_dim)
