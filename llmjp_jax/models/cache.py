"""What decoding keeps of tokens already read: each row's keys and values, and those of a prefix that all rows share.

A `Cache` is a dict:
  keys, values: [layers, batch, kv_heads, slots, head_dim], or apart, a tuple of one [batch * kv_heads, slots, head_dim] a layer;
  start: [batch] int32, the slots of left padding that each row begins with;
  length: the slots filled, a scalar; an int while it is known when a program is made.
A `Prefix` is one too:
  keys, values: [layers, kv_heads, slots, head_dim], or a tuple of one [kv_heads, slots, head_dim] a layer;
  length: scalar int32, the slots filled.

On accelerators the layers are scanned over. XLA's CPU backend copies what it takes out of an array of all layers, weights
and cache alike, for every token: there each layer is by itself, and rows and heads are one axis, as an axis of one row
would make XLA write the cache twice.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llmjp_jax.models.axes import constrain
from llmjp_jax.models.config import ModelConfig

Cache = dict[str, Any]
Prefix = dict[str, Any]

_AXES = ("layers", "batch", "kv_heads", None, "head_dim")


def empty_cache(config: ModelConfig, start: jax.Array, slots: int, apart: bool) -> Cache:
    """A cache of `slots` for each of the rows that begin at `start` [batch], in `config.dtype`."""
    shape = (config.layers, start.shape[0], config.kv_heads, slots, config.head_dim)
    if apart:
        flat = (shape[1] * shape[2], *shape[3:])
        keys, values = (
            tuple(jnp.zeros(flat, config.dtype) for _ in range(config.layers)) for _ in range(2)
        )
    else:
        keys = values = constrain(jnp.zeros(shape, config.dtype), *_AXES)
    return {"keys": keys, "values": values, "start": start, "length": 0}


def write(
    cached: jax.Array, new: jax.Array, layer: jax.Array | None, length: int | jax.Array
) -> jax.Array:
    """`cached`, keys or values of all layers or with `layer` None of one, with `new` [batch, new, kv_heads, head_dim] from slot `length` on."""
    new = new.swapaxes(1, 2).astype(cached.dtype)
    if layer is None:
        return jax.lax.dynamic_update_slice(cached, new.reshape(-1, *new.shape[2:]), (0, length, 0))
    # Only the new slots: a layer taken out, changed and put back would be copied for every token.
    return jax.lax.dynamic_update_slice(cached, new[None], (layer, 0, 0, length, 0))


def shared_prefix(cache: Cache, length: jax.Array) -> Prefix:
    """The first `length` slots of a cache of one row, as a prefix of others."""
    apart = isinstance(cache["keys"], tuple)  # One row's heads are the whole axis then.
    keys, values = (cache[name] if apart else cache[name][:, 0] for name in ("keys", "values"))
    return {"keys": keys, "values": values, "length": length}


def each_layer(blocks: dict[str, Any]) -> tuple[dict[str, Any], ...] | None:
    """The weights of each layer by itself, of `blocks` with a leading axis of layers, where that is faster: on one CPU device.

    They are views of the same memory where the layers lie at multiples of 64 bytes, as large matrices do; while they are
    kept, a program that is given the blocks as donated copies them.

    Returns:
      None on accelerators, and where the weights are spread over devices.
    """
    blocks = jax.tree.map(jnp.asarray, blocks)
    leaves = jax.tree.leaves(blocks)
    devices = set().union(*(leaf.devices() for leaf in leaves))
    if len(devices) > 1 or next(iter(devices)).platform != "cpu":
        return None
    (device,) = devices
    views = jax.tree.map(np.asarray, blocks)
    return tuple(
        jax.tree.map(lambda view: jax.device_put(view[layer], device), views)  # noqa: B023
        for layer in range(leaves[0].shape[0])
    )
