"""The compiled programs of decoding: `read_prefix` reads what all prompts begin with, `prefill` the rest of each, and
`advance` adds tokens until a count or an end.

State is a dict of arrays that `advance` takes over and updates in place (its buffers are donated), so that streaming one
token at a time and generating all at once run the same program.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from llmjp_jax.decoding.sampling import next_tokens
from llmjp_jax.models import Decoder, assemble
from llmjp_jax.models.cache import Prefix, shared_prefix

State = dict[str, Any]


@functools.partial(jax.jit, static_argnames=("definition",))
def read_prefix(
    definition: nnx.GraphDef, parameters: Any, layers: Any, tokens: jax.Array, length: jax.Array
) -> Prefix:
    """The keys and values of the first `length` of `tokens` [slots], and those tokens."""
    decoder = assemble(definition, parameters)
    cache = decoder.empty_cache(jnp.zeros((1,), jnp.int32), tokens.shape[0], layers is not None)
    _, cache = decoder.extend(tokens[None], cache, None, layers)
    return shared_prefix(cache, length) | {"tokens": tokens}


@functools.partial(jax.jit, static_argnames=("definition", "steps", "room"))
def prefill(definition: nnx.GraphDef, steps: tuple[str, ...], room: int, parameters: Any, layers: Any, values: dict[str, jax.Array],
            stop_ids: jax.Array, prefix: Prefix | None, tokens: jax.Array, start: jax.Array, rows: jax.Array,
            active: jax.Array, seed: jax.Array) -> State:  # fmt: skip
    """Reads the prompts and chooses the first new token of each row.

    Args:
      definition, parameters: the decoder; layers: its blocks' weights as `models.cache.each_layer` gives them.
      steps, values: from a `Sampling`.
      room: the most new tokens that the state can hold.
      stop_ids: [any] int32; one of them ends a row. -1 is no id.
      prefix: what stands before all prompts; None: nothing.
      tokens: [batch, length] int32, the rest of them, left-padded; start: [batch] int32, where each row begins.
      rows: [batch] int32, which row's random numbers to use; active: [batch] bool, false for rows without a prompt.
      seed: scalar int32.

    Returns:
      tokens [batch, room] int32, the new tokens so far; lengths [batch]; finished [batch] bool; count, a scalar;
      and what the next step needs: cache, keys, seen.
    """
    decoder = assemble(definition, parameters)
    batch, length = tokens.shape
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), rows)
    cache = decoder.empty_cache(start, length + room, layers is not None)
    hidden, cache = decoder.extend(tokens, cache, prefix, layers)
    seen = None
    if "penalty" in steps:
        is_prompt = jnp.arange(length) >= start[:, None]
        seen = jnp.zeros((batch, decoder.config.padded_vocab_size), bool)
        seen = seen.at[jnp.arange(batch)[:, None], tokens].max(is_prompt)
        if prefix is not None:
            is_prefix = jnp.arange(prefix["tokens"].shape[0]) < prefix["length"]
            seen = seen.at[:, prefix["tokens"]].max(is_prefix)
    state = {
        "cache": cache | {"length": jnp.asarray(length, jnp.int32)},
        "keys": keys,
        "seen": seen,
        "tokens": jnp.zeros((batch, room), jnp.int32),
        "lengths": jnp.zeros((batch,), jnp.int32),
        "finished": ~active,
        "count": jnp.zeros((), jnp.int32),
    }
    return _choose(decoder, hidden, state, values, steps, stop_ids)


@functools.partial(jax.jit, static_argnames=("definition", "steps"), donate_argnames=("state",))
def advance(definition: nnx.GraphDef, steps: tuple[str, ...], parameters: Any, layers: Any, values: dict[str, jax.Array],
            stop_ids: jax.Array, prefix: Prefix | None, state: State, until: jax.Array) -> State:  # fmt: skip
    """Adds tokens until `state` counts `until` of them or every row has ended."""
    decoder = assemble(definition, parameters)

    def unfinished(state):
        return (state["count"] < until) & ~jnp.all(state["finished"])

    def step(state):
        last = jax.lax.dynamic_slice_in_dim(state["tokens"], state["count"] - 1, 1, axis=1)
        hidden, cache = decoder.extend(last, state["cache"], prefix, layers)
        return _choose(decoder, hidden, state | {"cache": cache}, values, steps, stop_ids)

    return jax.lax.while_loop(unfinished, step, state)


def _choose(decoder: Decoder, hidden: jax.Array, state: State, values: dict[str, jax.Array], steps: tuple[str, ...],
            stop_ids: jax.Array) -> State:  # fmt: skip
    """The state with one more token a row, chosen from the last of `hidden` [batch, new, embed]."""
    config, count, finished = decoder.config, state["count"], state["finished"]
    logits = decoder.logits(hidden[:, -1:])[:, 0]
    if config.padded_vocab_size > config.vocab_size:
        logits = jnp.where(
            jnp.arange(config.padded_vocab_size) < config.vocab_size, logits, -jnp.inf
        )
    keys = jax.vmap(jax.random.fold_in, (0, None))(state["keys"], count)
    token = next_tokens(logits, state["seen"], keys, values, steps)
    token = jnp.where(finished, 0, token)
    seen = state["seen"]
    if seen is not None:
        seen = seen.at[jnp.arange(token.shape[0]), token].max(~finished)
    return state | {
        "seen": seen,
        "tokens": jax.lax.dynamic_update_slice_in_dim(
            state["tokens"], token[:, None], count, axis=1
        ),
        "lengths": state["lengths"] + ~finished,
        "finished": finished | jnp.any(token[:, None] == stop_ids, axis=1),
        "count": count + 1,
    }
