"""Causal attention, one function with several backends, and attention over a key-value cache.

Every backend gives the reference's result; tests compare values and gradients. Arrays are
[batch, length, heads, head_dim]; keys and values may have fewer heads (grouped queries: query head h reads key head
h // (heads / kv_heads)).

Sequences that are split over devices (context parallelism): each device keeps its queries and gathers the keys and
values of the whole sequence, once a layer. Not a ring of partial results: with grouped heads keys and values are the
small part, any backend and any mask works on them unchanged, and softmax is taken once (Llama 3 trains so,
arXiv 2407.21783, section 3.3.2). The price: a sequence's keys and values of one layer must fit, and the last part of a
sequence sees the most keys: of c parts it has 2 - 1/c times the mean work, where the backend skips what is masked.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from llmjp_jax.models.axes import constrain, mesh_axes, sharded
from llmjp_jax.models.linear import dropout
from llmjp_jax.models.splash import splash

# Blocks of queries in the 'blocked' backend: 4 was the fastest on CPU at length 256 (2: +10 %, 8: +20 %).
_QUERY_BLOCKS = 4
_MASKED = -1e30
# Queries of a prompt whose scores exist at once when it is read into a cache.
_CACHED_QUERIES = 256

_QUERY = ("batch", "length", "heads", "head_dim")
_KEY = ("batch", "length", "kv_heads", "head_dim")


def attend(query: jax.Array, key: jax.Array, value: jax.Array, segment_ids: jax.Array | None, *,
           backend: str, rate: float = 0.0, dropout_key: jax.Array | None = None) -> jax.Array:  # fmt: skip
    """Softmax attention to positions that are not later and, given `segment_ids`, in the same segment.

    Args:
      query: [batch, length, heads, head_dim]; key, value: [batch, length, kv_heads, head_dim].
      segment_ids: [batch, length] int32, or None for one segment a row.
      backend: a choice of `ModelConfig.attention` other than 'auto'.
      rate: dropout rate on the attention weights, used when `dropout_key` is given; 'reference' and 'blocked' only.

    Returns:
      [batch, length, heads, head_dim] in the dtype of `query`.
    """
    if rate > 0 and dropout_key is not None:
        # What is dropped is drawn for the whole array: the same on every mesh, and XLA splits the work.
        key, value = (constrain(x, "batch", None, "kv_heads", "head_dim") for x in (key, value))
        return _in_blocks(query, key, value, segment_ids, segment_ids, 0,
                          _blocks(backend), rate, dropout_key)  # fmt: skip
    key_names = _KEY
    if mesh_axes("kv_heads") != mesh_axes("heads"):
        # A device's query heads need not be those of its key heads: give each its own.
        groups = query.shape[2] // key.shape[2]
        key, value = (jnp.repeat(x, groups, axis=2) for x in (key, value))
        key_names = _QUERY
    arrays, names = (query, key, value), (_QUERY, key_names, key_names)
    if segment_ids is not None:
        arrays, names = (*arrays, segment_ids), (*names, ("batch", "length"))
    part = functools.partial(_attend_part, backend=backend, axes=mesh_axes("length"))
    return sharded(part, names, _QUERY)(*arrays)


def _attend_part(query, key, value, segment_ids=None, *, backend, axes):
    """`attend` for the rows, heads and queries of one device; `axes`: the mesh axes that split the length, if any."""
    shard, key_ids = 0, segment_ids
    if axes:
        shard = jax.lax.axis_index(axes)
        gather = functools.partial(jax.lax.all_gather, axis_name=axes, axis=1, tiled=True)
        key, value = gather(key), gather(value)
        key_ids = None if segment_ids is None else gather(segment_ids)
    if backend in ("splash", "splash_interpret"):
        interpret = backend == "splash_interpret"
        return splash(query, key, value, segment_ids, key_ids, shard=shard, interpret=interpret)
    start = shard * query.shape[1]
    if backend in ("xla", "cudnn"):
        # Their own causal mask aligns the first query with the first key; a later part needs one made here, and
        # cuDNN then computes what it masks.
        mask = None if segment_ids is None else _same_segment(segment_ids, key_ids)
        if axes:
            mask = _causal(start, query.shape[1], key.shape[1], mask)
        mask = None if mask is None else mask[:, None]
        return jax.nn.dot_product_attention(
            query, key, value, mask=mask, is_causal=not axes, implementation=backend
        )
    return _in_blocks(
        query, key, value, segment_ids, key_ids, start, 1 if axes else _blocks(backend)
    )


def _blocks(backend: str) -> int:
    return _QUERY_BLOCKS if backend == "blocked" else 1


def _in_blocks(query, key, value, query_ids, key_ids, start, blocks, rate=0.0, dropout_key=None):
    """Plain softmax attention of queries at positions `start` and on, a block of them at a time.

    With more than one block, which `start` = 0 alone allows, keys after a block are left out of its product.
    """
    length = query.shape[1]
    size = -(-length // blocks)
    outputs = []
    for first in range(0, length, size):
        last = min(first + size, length)
        seen = last if blocks > 1 else key.shape[1]
        same = None
        if query_ids is not None:
            same = _same_segment(query_ids[:, first:last], key_ids[:, :seen])
        mask = _causal(start + first, last - first, seen, same)
        block_key = None if dropout_key is None else jax.random.fold_in(dropout_key, first)
        outputs.append(
            _softmax_attention(
                query[:, first:last], key[:, :seen], value[:, :seen], mask, rate, block_key
            )
        )
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=1)


def attend_cached(query: jax.Array, keys: jax.Array, values: jax.Array, start: jax.Array, length: int | jax.Array,
                  prefix: tuple[jax.Array, jax.Array, jax.Array] | None = None) -> jax.Array:  # fmt: skip
    """Attention of new tokens to a cache that already holds their keys and values, and to a prefix that all rows share.

    Args:
      query: [batch, new, heads, head_dim], at cache slots length .. length + new - 1.
      keys, values: [batch, kv_heads, slots, head_dim], or with the first two axes as one.
      start: [batch] int32, the first slot of each row that is not left padding.
      length: scalar int32, the slots filled before these tokens; an int, where it is known when the program is made,
        spares what lies behind each block of queries.
      prefix: keys and values [kv_heads, slots, head_dim], which stand before every row's own, and how many of their
        slots are filled. They are read once for the batch: a row's softmax is put together from its two parts.

    Returns:
      [batch, new, heads, head_dim] in the dtype of `query`.
    """
    batch, new, heads, head_dim = query.shape
    kv_heads = math.prod(keys.shape[:-2]) // batch
    grouped = (query * head_dim**-0.5).reshape(batch, new, kv_heads, -1, head_dim)
    grouped = grouped.transpose(0, 2, 3, 1, 4)
    outputs = []
    for first in range(0, new, _CACHED_QUERIES):
        last = min(first + _CACHED_QUERIES, new)
        seen = length + last if isinstance(length, int) else keys.shape[-2]
        slots = jnp.arange(seen)
        mask = slots <= length + jnp.arange(first, last)[:, None]
        mask = mask & (slots >= start[:, None, None])
        block = grouped[:, :, :, first:last]
        parts = [_own_part(block, keys[..., :seen, :], values[..., :seen, :], mask)]
        if prefix is not None:
            parts.append(_shared_part(block, *prefix))
        outputs.append(_joined(parts))
    output = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=3)
    return output.transpose(0, 3, 1, 2, 4).reshape(query.shape).astype(query.dtype)


def _own_part(query, keys, values, mask):
    """A `_part` over each row's own keys; query: [batch, kv_heads, groups, new, head_dim]; mask: [batch, new, slots]."""
    *shape, head_dim = query.shape
    flat = query.reshape(*keys.shape[:-2], -1, head_dim)
    scores = _scores(flat, keys).reshape(*shape, -1)
    weights, most, total = _part(scores + jnp.where(mask, 0.0, _MASKED)[:, None, None])
    flat = weights.reshape(*flat.shape[:-1], -1).astype(values.dtype)
    return _weighted(flat, values).reshape(query.shape), most, total


def _shared_part(query, keys, values, length):
    """A `_part` over the prefix: one product for each kv head, with the queries of all rows."""
    batch, kv_heads, *rest, head_dim = query.shape
    shape = (kv_heads, batch, *rest)
    flat = query.swapaxes(0, 1).reshape(kv_heads, -1, head_dim)
    scores = _scores(flat, keys)
    weights, most, total = _part(
        scores + jnp.where(jnp.arange(keys.shape[1]) < length, 0.0, _MASKED)
    )
    output = _weighted(weights.astype(values.dtype), values).reshape(*shape, head_dim)
    return tuple(
        x.swapaxes(0, 1) for x in (output, most.reshape(*shape, 1), total.reshape(*shape, 1))
    )


def _part(scores):
    """exp(scores - most), `most` of each row, and the row's sum: what softmax over a part of the keys is made of."""
    most = scores.max(-1, keepdims=True)
    weights = jnp.exp(scores - most)
    return weights, most, weights.sum(-1, keepdims=True)


def _joined(parts):
    """Softmax attention over all keys from the (sum of weighted values, largest score, sum of weights) of each part."""
    most = functools.reduce(jnp.maximum, [most for _, most, _ in parts])
    shares = [jnp.exp(part - most) for _, part, _ in parts]
    total = sum(total * share for (_, _, total), share in zip(parts, shares, strict=True))
    return sum(
        output * (share / total) for (output, _, _), share in zip(parts, shares, strict=True)
    )


def _scores(query, keys):
    """query [*, queries, head_dim] x keys [*, slots, head_dim] → [*, queries, slots] float32."""
    return _product(query, keys, keys.ndim - 1)


def _weighted(weights, values):
    """weights [*, queries, slots] x values [*, slots, head_dim] → [*, queries, head_dim] float32."""
    return _product(weights, values, values.ndim - 2)


def _product(left, right, contracted: int):
    # Not `einsum`, which may take the sides in the other order and then transposes what they give.
    batched = tuple(range(left.ndim - 2))
    return jax.lax.dot_general(left, right, (((left.ndim - 1,), (contracted,)), (batched, batched)),
                               preferred_element_type=jnp.float32)  # fmt: skip


def _causal(start, queries: int, keys: int, mask: jax.Array | None) -> jax.Array:
    """[batch or 1, queries, keys]: `mask` without the keys that are later than the queries at `start` and on."""
    causal = jnp.arange(keys)[None, :] <= start + jnp.arange(queries)[:, None]
    return causal[None] if mask is None else mask & causal


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
