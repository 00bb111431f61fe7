"""The decoder: tokens to logits, for GPT-2 and Llama alike, and the same forward pass over a key-value cache."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from llmjp_jax.models.attention import attend, attend_cached
from llmjp_jax.models.axes import constrain, relaid
from llmjp_jax.models.cache import Cache, Prefix, empty_cache, write
from llmjp_jax.models.config import ModelConfig
from llmjp_jax.models.linear import (
    Adapter,
    Linear,
    Norm,
    adapter_keys,
    dropout,
    fence_gradient,
    is_adapted,
)
from llmjp_jax.models.moe import Balance, Experts
from llmjp_jax.models.rope import rope_table, rotate

_STREAM = ("batch", "stream_length", "activation_embed")
# What enters attention and MLP: of the stream, the length that the tensor axis splits is gathered.
_INPUT = ("batch", "length", "activation_embed")
# In decoding a row grows by one token at a time: its length is never split.
_NEW = ("batch", None, "activation_embed")


class Attention(nnx.Module):
    """Multi-head causal self-attention with grouped keys and values."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        embed, head_dim = (config.embed,), config.head_dim
        heads, kv_heads = (config.heads, head_dim), (config.kv_heads, head_dim)
        inward, kv_inward = ("embed", "heads", "head_dim"), ("embed", "kv_heads", "head_dim")
        query_key = rngs.params()
        self.query = Linear(config, embed, heads, inward, query_key, target="query")
        self.key = Linear(config, embed, kv_heads, kv_inward, rngs.params(), target="key")
        self.value = Linear(config, embed, kv_heads, kv_inward, rngs.params(), target="value")
        self.output = Linear(config, heads, embed, ("heads", "head_dim", "embed"), rngs.params(),
                             target="output", residual=True)  # fmt: skip
        self.fused = is_adapted(config, "query_key_value")
        if self.fused:
            self.lora = Adapter(config, query_key, embed, ("embed",), query=(heads, inward[1:]),
                                key=(kv_heads, kv_inward[1:]), value=(kv_heads, kv_inward[1:]))  # fmt: skip
        self.config = config

    def project(self, x, table, length: str | None = "length", adapter_key=None):
        """x [batch, length, embed] → query, key, value [batch, length, heads, head_dim], rotated if `table` is given.

        `length`: the logical name of that axis; `adapter_key`: turns on the dropout of adapters.
        """
        query_key, key_key, value_key = adapter_keys(self.config, adapter_key, 3)
        query, key, value = self.query(x, query_key), self.key(x, key_key), self.value(x, value_key)
        if self.fused:
            # One matrix to PEFT: one A, and one mask of dropout.
            added = self.lora(x, query_key)
            query, key, value = query + added["query"], key + added["key"], value + added["value"]
        query = constrain(query, "batch", length, "heads", "head_dim")
        key = constrain(key, "batch", length, "kv_heads", "head_dim")
        value = constrain(value, "batch", length, "kv_heads", "head_dim")
        if table is not None:
            query, key = rotate(query, table), rotate(key, table)
        return query, key, value

    def __call__(self, x, table, segment_ids, dropout_key, adapter_key=None):
        inward_key, output_key = adapter_keys(self.config, adapter_key, 2)
        query, key, value = self.project(x, table, adapter_key=inward_key)
        y = attend(query, key, value, segment_ids, backend=self.config.attention,
                   rate=self.config.attention_dropout, dropout_key=dropout_key)  # fmt: skip
        return self.output(constrain(y, "batch", "length", "heads", "head_dim"), output_key)


class MLP(nnx.Module):
    """GELU or SwiGLU between two products."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        embed, mlp = (config.embed,), (config.mlp,)
        if config.activation == "swiglu":
            self.gate = Linear(config, embed, mlp, ("embed", "mlp"), rngs.params(), target="gate")
        self.up = Linear(config, embed, mlp, ("embed", "mlp"), rngs.params(), target="up")
        self.down = Linear(
            config, mlp, embed, ("mlp", "embed"), rngs.params(), target="down", residual=True
        )
        self.config = config

    def __call__(self, x: jax.Array, length: str | None = "length", adapter_key=None) -> jax.Array:
        """x [batch, length, embed] → the same; `length`: the logical name of that axis."""
        gate_key, up_key, down_key = adapter_keys(self.config, adapter_key, 3)
        up = self.up(x, up_key)
        if self.config.activation == "swiglu":
            y = jax.nn.silu(self.gate(x, gate_key)) * up
        else:
            y = jax.nn.gelu(up, approximate=self.config.activation == "gelu_tanh")
        return self.down(constrain(y, "batch", length, "mlp"), down_key)


def _gathered(x: jax.Array) -> jax.Array:
    """The normed stream, gathered over the tensor axis; its gradient, a sum over that axis, is scattered."""
    return relaid(x, _STREAM, _INPUT)


def _scattered(y: jax.Array) -> jax.Array:
    """What is added to the stream, a sum over the tensor axis that ends split; its gradient is gathered."""
    return relaid(y, _INPUT, _STREAM)


class Block(nnx.Module):
    """Pre-norm attention and MLP (or mixture of experts), each added to the residual stream."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.attention_norm = Norm(config)
        self.attention = Attention(config, rngs)
        self.mlp_norm = Norm(config)
        self.mlp = MLP(config, rngs) if config.experts is None else Experts(config, rngs)
        self.config = config

    def __call__(self, h, table, segment_ids, dropout_key):
        """The stream after this block, and the router's `Balance` (None without experts)."""
        keys = (None,) * 3 if dropout_key is None else jax.random.split(dropout_key, 3)
        # A stream of their own: the other masks are those of the model without adapters.
        lora_key = None if dropout_key is None else jax.random.fold_in(dropout_key, 3)
        attention_key, mlp_key = adapter_keys(self.config, lora_key, 2)
        x = _gathered(self.attention_norm(h))
        y = self.attention(x, table, segment_ids, keys[0], attention_key)
        h = self._add(h, dropout(_scattered(y), self.config.dropout, keys[1]))
        y, balance = self._feed_forward(h, mlp_key)
        return self._add(h, dropout(y, self.config.dropout, keys[2])), balance

    def extend(self, h, table, keys, values, layer, start, length, prefix):
        """The block on new tokens, and its keys and values with the new ones in.

        keys, values: all layers', of which this is number `layer`, or with `layer` None this one's; prefix: this layer's.
        """
        query, key, value = self.attention.project(self.attention_norm(h), table, None)
        keys, values = write(keys, key, layer, length), write(values, value, layer, length)
        own = (keys, values) if layer is None else (keys[layer], values[layer])
        h = self._add(
            h, self.attention.output(attend_cached(query, *own, start, length, prefix)), _NEW
        )
        y = self.mlp(self.mlp_norm(h), None)
        y = y if self.config.experts is None else y[0]
        return self._add(h, y, _NEW), keys, values

    def _feed_forward(self, h, adapter_key):
        x = _gathered(self.mlp_norm(h))
        # Experts leave their sums split as the stream is.
        if self.config.experts is not None:
            return self.mlp(x)
        return _scattered(self.mlp(x, adapter_key=adapter_key)), None

    def _add(self, h, y, names=_STREAM):
        # Without a barrier XLA's CPU backend recomputes the whole chain of sums in every consumer.
        h = constrain(h + y, *names)
        return jax.lax.optimization_barrier(h) if self.config.barriers else h


class Embedding(nnx.Module):
    """Token embedding [vocab, embed] and, for learned positions, a table [positions, embed]."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        std = config.initializer_std
        shape = (config.padded_vocab_size, config.embed)
        key = rngs.params()
        self.tokens = nnx.Param(
            jax.random.normal(key, shape) * std, out_sharding=("vocab", "embed")
        )
        self.adapted = is_adapted(config, "embedding")
        if self.adapted:
            output = (config.embed,), ("embed",)
            self.lora = Adapter(config, key, shape[:1], ("vocab",), table=True, b=output)
        if config.position == "learned":
            shape = (config.max_length, config.embed)
            self.positions = nnx.Param(
                jax.random.normal(rngs.params(), shape) * std, out_sharding=("positions", "embed")
            )
        self.config = config

    def __call__(self, tokens: jax.Array, positions: jax.Array, names=_STREAM) -> jax.Array:
        # The table's embed axis is gathered first: a lookup in a table that is sharded both ways is not partitioned.
        table = constrain(self.tokens[...].astype(self.config.dtype), "vocab", None)
        h = table[tokens]
        if self.adapted:
            h = h + self.lora.look_up(tokens)
        if self.config.position == "learned":
            h = h + constrain(self.positions[...].astype(self.config.dtype), None, None)[positions]
        return constrain(h, *names)


class Decoder(nnx.Module):
    """A decoder-only language model; weights are stacked over layers (axis 0 of everything in `blocks`).

    model(tokens[batch, length], segment_ids=None, positions=None) -> logits[batch, length, vocab] float32
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs | None = None):
        rngs = nnx.Rngs(0) if rngs is None else rngs
        # A trainer has chosen for its mesh; what is still 'auto' is chosen for parameters that may lie anywhere.
        config = config.on_platform(jax.default_backend(), placed=False)
        # Layout comes from `parallel` through out_shardings; NNX would otherwise ask for a mesh right here.
        with nnx.use_eager_sharding(False):
            self.embed = Embedding(config, rngs)
            self.blocks = _stacked_blocks(config, rngs)
            self.final_norm = Norm(config)
            if not config.tied_embeddings:
                shape = ((config.embed,), (config.padded_vocab_size,))
                self.head = _Head(config, *shape, ("embed", "vocab"), rngs)
        self.config = config

    def __call__(self, tokens, segment_ids=None, positions=None) -> jax.Array:
        return self.logits(self.hidden(tokens, segment_ids, positions))

    def hidden(self, tokens, segment_ids=None, positions=None, dropout_key=None) -> jax.Array:
        """Final hidden states [batch, length, embed], normed, in `config.dtype`.

        Args:
          tokens: [batch, length] int32.
          segment_ids: [batch, length] int32; attention stays within equal ids. None: one segment a row.
          positions: [batch, length] int32; None: 0, 1, 2 ...
          dropout_key: a PRNG key turns dropout on.
        """
        return self.hidden_and_balance(tokens, segment_ids, positions, dropout_key)[0]

    def hidden_and_balance(self, tokens, segment_ids=None, positions=None,
                           dropout_key=None) -> tuple[jax.Array, Balance | None]:  # fmt: skip
        """`hidden`, and each layer's `Balance` ([layers] and [layers, experts]; None without experts)."""
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        h = dropout(self.embed(tokens, positions), self.config.dropout, keys[0])
        table = self._table(positions)
        layer_keys = None if dropout_key is None else jax.random.split(keys[1], self.config.layers)
        definition, weights = nnx.split(self.blocks)

        def block(h, layer):
            weights, key = layer
            return nnx.merge(definition, weights)(h, table, segment_ids, key)

        block = _remat(block, self.config.remat)
        layers = (nnx.as_pure(weights), layer_keys)
        h, balance = jax.lax.scan(block, h, layers, unroll=self.config.unroll)
        return _gathered(self.final_norm(h)), balance

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[batch, length, embed] → [batch, length, vocab] float32."""
        if self.config.tied_embeddings:
            # Not through its transpose, which XLA's CPU backend would make for every token.
            table = self.embed.tokens[...]
            product, kernel = (
                "ble,ve->blv",
                fence_gradient(table) if self.config.barriers else table,
            )
        else:
            product, kernel = "ble,ev->blv", self.head.matrix()
        logits = jnp.einsum(
            product, hidden, kernel.astype(self.config.dtype), preferred_element_type=jnp.float32
        )
        return constrain(logits, "batch", "length", "vocab")

    def output_kernel(self) -> jax.Array:
        """[embed, vocab], the matrix that gives logits."""
        if self.config.tied_embeddings:
            kernel = self.embed.tokens[...].T
            return fence_gradient(kernel) if self.config.barriers else kernel
        return self.head.matrix()

    def empty_cache(self, start: jax.Array, slots: int, apart: bool = False) -> Cache:
        """A cache for `extend`.

        Args:
          start: [batch] int32, how many tokens of left padding each row begins with.
          slots: the most tokens a row will ever hold, padding included.
          apart: each layer by itself, for an `extend` that is given `layers`.
        """
        return empty_cache(self.config, start, slots, apart)

    def extend(self, tokens: jax.Array, cache: Cache, prefix: Prefix | None = None,
               layers: Sequence[dict] | None = None) -> tuple[jax.Array, Cache]:  # fmt: skip
        """Hidden states [batch, new, embed] of `tokens` [batch, new] that follow what `cache` holds, and the cache after them.

        Rows are left-padded: row b's token at slot s has position s - start[b], and the prefix's length more where one
        stands before all rows; padding slots are never attended to.

        Args:
          layers: the weights of each layer by itself, as `models.cache.each_layer` gives them; None: the blocks' own.
        """
        start, length = cache["start"], cache["length"]
        before = 0 if prefix is None else prefix["length"]
        own = jnp.maximum(length + jnp.arange(tokens.shape[1]) - start[:, None], 0)
        h, table = self.embed(tokens, before + own, _NEW), self._table(before + own)
        definition, weights = nnx.split(self.blocks)

        def block(carry, layer):
            (h, keys, values), (weights, number, shared) = carry, layer
            shared = None if shared is None else (*shared, before)
            block = nnx.merge(definition, weights)
            return block.extend(h, table, keys, values, number, start, length, shared), None

        keys, values = cache["keys"], cache["values"]
        shared = None if prefix is None else (prefix["keys"], prefix["values"])
        if layers is None:
            # The cache rides in the carry and is updated in place; as scanned inputs and outputs it would be copied.
            scanned = nnx.as_pure(weights), jnp.arange(self.config.layers), shared
            (h, keys, values), _ = jax.lax.scan(
                block, (h, keys, values), scanned, unroll=self.config.unroll
            )
        else:
            kept = []
            for number, weights in enumerate(layers):
                one = None if shared is None else (shared[0][number], shared[1][number])
                (h, *new), _ = block((h, keys[number], values[number]), (weights, None, one))
                kept.append(new)
            keys, values = zip(*kept, strict=True)
        cache = {"keys": keys, "values": values, "start": start, "length": length + tokens.shape[1]}
        return self.final_norm(h), cache

    def _table(self, positions):
        if self.config.position == "learned":
            return None
        return rope_table(positions, self.config.head_dim, self.config.rope_theta)


class _Head(nnx.Module):
    """The output matrix of a model whose embeddings are not tied."""

    def __init__(self, config, inputs, outputs, axes, rngs):
        key = rngs.params()
        kernel = jax.random.normal(key, inputs + outputs) * config.initializer_std
        self.kernel = nnx.Param(kernel, out_sharding=axes)
        self.adapted = is_adapted(config, "head")
        if self.adapted:
            self.lora = Adapter(config, key, inputs, axes[:1], b=(outputs, axes[1:]))

    def matrix(self):
        """[embed, vocab] with its adapter; the loss takes it whole and in pieces, so the adapter has no dropout."""
        kernel = self.kernel[...]
        return kernel + self.lora.product() if self.adapted else kernel


def _stacked_blocks(config: ModelConfig, rngs: nnx.Rngs) -> Block:
    """One Block whose weights have a leading axis of `layers`."""

    @nnx.split_rngs(splits=config.layers)
    @functools.partial(
        nnx.vmap, in_axes=(0,), out_axes=0, transform_metadata={nnx.PARTITION_NAME: "layers"}
    )
    def build(rngs):
        return Block(config, rngs)

    return build(rngs)


def _remat(function, policy: str):
    if policy == "none":
        return function
    policies = {"full": None, "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}
    return jax.checkpoint(function, policy=policies[policy], prevent_cse=False)
