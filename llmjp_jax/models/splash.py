"""Attention by JAX's Pallas splash kernel for TPUs: what the causal mask empties is neither fetched nor computed.

The kernel wants whole blocks of 128 positions and head sizes of 128: this file pads, exactly, and takes the padding off.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Lanes of a TPU's vector registers: blocks and head sizes are multiples of it.
_LANES = 128
# The most positions in a block: 512 x 512 float32 scores are 1 MiB of a core's 16 MiB of vector memory or more.
_LARGEST_BLOCK = 512
_PADDING_ID = -1


def splash(query: jax.Array, key: jax.Array, value: jax.Array, query_ids: jax.Array | None,
           key_ids: jax.Array | None, *, shard: jax.Array | int, interpret: bool) -> jax.Array:  # fmt: skip
    """One shard's causal attention: its queries to the keys and values of the whole sequence.

    Args:
      query: [batch, queries, heads, head_dim], positions shard * queries and on.
      key, value: [batch, keys, kv_heads, head_dim]; keys / queries is the number of shards.
      query_ids, key_ids: [batch, queries] and [batch, keys] int32, or None for one segment a row.
      shard: which shard this is; on one device 0.
      interpret: emulate the kernel with XLA operations, on any platform: for tests, slow.

    Returns:
      [batch, queries, heads, head_dim] in the dtype of `query`; scores and softmax are float32.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import SegmentIds

    _, queries, heads, head_dim = query.shape
    shards = key.shape[1] // queries
    kernel = _kernel(heads, queries, shards, interpret)
    if shards > 1:
        kernel = jax.tree.map(lambda info: _part(info, shard, shards), kernel)
    segments = None
    if query_ids is not None:
        segments = SegmentIds(*(_pad(x, 1, _PADDING_ID) for x in (query_ids, key_ids)))
    # Zeros behind head_dim change no score; zeros behind the length are later than every real query.
    arrays = (query * head_dim**-0.5, key, value)
    arrays = (_pad(_pad(x, 1), 3).swapaxes(1, 2) for x in arrays)
    output = jax.vmap(kernel)(*arrays, segments)
    return output.swapaxes(1, 2)[:, :queries, :, :head_dim]


def _pad(x: jax.Array, axis: int, value: int = 0) -> jax.Array:
    """x with its axis made a multiple of 128 long by `value` behind."""
    missing = -x.shape[axis] % _LANES
    if not missing:
        return x
    widths = [(0, missing if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=value)


def _part(info: np.ndarray, shard, shards: int) -> jax.Array:
    """One shard's part of what the kernel knows of the mask: [1, blocks, width] by blocks, [positions] by positions."""
    axis = 1 if info.ndim == 3 else 0
    size = info.shape[axis] // shards
    return jax.lax.dynamic_slice_in_dim(jnp.asarray(info), shard * size, size, axis)


@functools.cache
def _kernel(heads: int, queries: int, shards: int, interpret: bool):
    """The kernel for a sequence of `shards` parts of `queries` positions each; its arrays hold all shards' parts."""
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        BlockSizes,
        MultiHeadMask,
        make_splash_mha,
    )

    padded = _ceil(queries)
    # A shard's padding behind its queries gets their next positions, of which no row of scores is empty.
    positions = np.arange(shards)[:, None] * queries + np.arange(padded)
    mask = _causal_mask(positions.reshape(-1).astype(np.int32), _ceil(queries * shards))
    block_q, block_kv = _block(padded), _block(_ceil(queries * shards))
    sizes = BlockSizes(
        block_q=block_q, block_kv=block_kv, block_q_dkv=block_q, block_kv_dkv=block_kv,
        block_q_dq=block_q, block_kv_dq=block_kv,
    )  # fmt: skip
    # Constants, not tracers: the kernel outlives the function that is being traced.
    with jax.ensure_compile_time_eval():
        kernel = make_splash_mha(
            MultiHeadMask([mask] * heads), block_sizes=sizes, head_shards=1, q_seq_shards=shards,
            interpret=interpret,
        )  # fmt: skip
    return jax.tree.map(np.asarray, kernel)


def _ceil(length: int) -> int:
    return -(-length // _LANES) * _LANES


def _block(padded: int) -> int:
    """The largest block that divides a padded length."""
    blocks = range(_LANES, _LARGEST_BLOCK + 1, _LANES)
    return max(block for block in blocks if padded % block == 0)


def _not_later(query_positions, key_positions):
    return query_positions >= key_positions


def _causal_mask(positions: np.ndarray, keys: int):
    """A causal mask whose row i is the query at positions[i], which need not be i: queries are a part, or padded.

    `q_sequence` and `mask_function` are the names by which the kernel finds that it can compute the mask itself.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import Mask

    class CausalMask(Mask):
        shape = (len(positions), keys)
        q_sequence = positions
        mask_function = staticmethod(_not_later)

        def __getitem__(self, index):
            rows, columns = index
            return _not_later(positions[rows, None], np.arange(keys)[None, columns])

    return CausalMask()
