"""A mixture of experts in place of a block's MLP: a router and SwiGLU experts (Mixtral, arXiv 2401.04088, section 2.1).

Each token goes to the `experts_per_token` experts that the router finds likeliest. No token is ever dropped: tokens are
sorted by expert and multiplied in groups of whatever size comes (`jax.lax.ragged_dot`: a TPU has an instruction for
that, on a CPU XLA multiplies every token with every expert and keeps what is asked for).

Over devices, the mesh axis of `experts` splits the experts and the batch. Each device gathers the tokens of its group,
computes those of its own experts and hands the sums back, so that the result is that of one device. The price is
memory: a device holds rows for experts_per_token x the tokens of its whole group, [rows, embed] and [rows, mlp], however
many of them are its own.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from llmjp_jax.models.axes import constrain, mesh_axes, sharded
from llmjp_jax.models.config import ModelConfig


class Balance(NamedTuple):
    """How evenly a router spreads its tokens, padding included.

    Attributes:
      loss: scalar float32, the load-balancing loss (Fedus et al., arXiv 2101.03961, equation 4): experts x the sum over
        experts of its share of the assignments x its mean probability, for each row of the batch, and the mean over
        rows. 1 when even, `experts` at most. As it is a mean over rows it depends neither on accumulation nor on devices,
        and equals Megatron's `aux_loss` with micro-batches of one row.
      shares: [experts] float32, each expert's share of all assignments.
    """

    loss: jax.Array
    shares: jax.Array


class Experts(nnx.Module):
    """x [batch, length, embed] → the weighted sum of its experts' outputs, and the router's `Balance`.

    router: [embed, experts]; gate, up: [experts, embed, mlp]; down: [experts, mlp, embed].
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        experts, embed, mlp = config.experts, config.embed, config.mlp
        std = config.initializer_std

        def matrix(shape, axes, std=std):
            draw = jax.random.normal(rngs.params(), shape, jnp.float32)
            return nnx.Param(draw * std, out_sharding=axes)

        inward = (experts, embed, mlp), ("experts", "embed", "mlp")
        self.router = matrix((embed, experts), ("embed", None))
        self.gate = matrix(*inward)
        self.up = matrix(*inward)
        self.down = matrix(
            (experts, mlp, embed), ("experts", "mlp", "embed"), std / math.sqrt(2 * config.layers)
        )
        self.config = config

    def __call__(self, x: jax.Array, length: str | None = "length") -> tuple[jax.Array, Balance]:
        """`length`: the logical name of that axis of x."""
        dtype = self.config.dtype
        chosen, weights, balance = self.route(x, length)
        kernels = [kernel[...].astype(dtype) for kernel in (self.gate, self.up, self.down)]
        inward, outward = ("experts", None, "mlp"), ("experts", "mlp", None)
        # The stream between blocks is split further than the tokens here, unless the layout says otherwise.
        split = _mesh_axes(length)
        finer = length is not None and mesh_axes("stream_length")[: len(split)] == split
        out_length = "stream_length" if finer else length
        tokens = ("batch", length, None)
        compute = sharded(
            functools.partial(_on_each_device, length, out_length),
            (tokens, tokens, tokens, inward, inward, outward),
            ("batch", out_length, None),
        )
        return compute(x.astype(dtype), chosen, weights, *kernels), balance

    def route(
        self, x: jax.Array, length: str | None = "length"
    ) -> tuple[jax.Array, jax.Array, Balance]:
        """The experts of each token and their weights [batch, length, experts_per_token], which sum to 1."""
        config = self.config
        router = self.router[...].astype(config.dtype)
        logits = jnp.einsum("ble,ex->blx", x, router, preferred_element_type=jnp.float32)
        probabilities = jax.nn.softmax(constrain(logits, "batch", length, None), axis=-1)
        weights, chosen = jax.lax.top_k(probabilities, config.experts_per_token)
        weights = weights / weights.sum(-1, keepdims=True)

        # The shares are counts: the loss moves the probabilities alone.
        counted = jax.nn.one_hot(chosen, config.experts, dtype=jnp.float32)
        shares = counted.sum(-2).mean(-2) / config.experts_per_token
        losses = config.experts * jnp.sum(shares * probabilities.mean(-2), axis=-1)
        return chosen, weights, Balance(losses.mean(), shares.mean(0))


def _on_each_device(in_length, out_length, x, chosen, weights, gate, up, down):
    """One device's part: x [rows, length, embed] and its experts' kernels in, the finished sums for its tokens out.

    Tokens are gathered along the axes that split the kernels too; along the same axes the results are summed, and
    scattered where the result is split.
    """
    split = (*mesh_axes("experts"), *mesh_axes("mlp"))
    rows, length, scattered = (
        tuple(axis for axis in _mesh_axes(name) if axis in split)
        for name in ("batch", in_length, out_length)
    )

    def gather(part):
        part = jax.lax.all_gather(part, rows, axis=0, tiled=True) if rows else part
        return jax.lax.all_gather(part, length, axis=1, tiled=True) if length else part

    x, chosen, weights = map(gather, (x, chosen, weights))
    axes = mesh_axes("experts")
    first = jax.lax.axis_index(axes) * gate.shape[0] if axes else 0
    y = apply_experts(
        x.reshape(-1, x.shape[-1]),
        chosen.reshape(-1, chosen.shape[-1]) - first,
        weights.reshape(-1, weights.shape[-1]),
        gate, up, down,
    ).reshape(x.shape)  # fmt: skip
    for axes, dimension in ((rows, 0), (scattered, 1)):
        if axes:
            y = jax.lax.psum_scatter(y, axes, scatter_dimension=dimension, tiled=True)
    rest = tuple(axis for axis in split if axis not in rows + scattered)
    return jax.lax.psum(y, rest) if rest else y


def _mesh_axes(name: str | None) -> tuple[str, ...]:
    return () if name is None else mesh_axes(name)


def apply_experts(x, chosen, weights, gate, up, down):
    """The experts' part of the sum over each token's experts.

    Args:
      x: [tokens, embed].
      chosen: [tokens, k] int32, numbers of experts; those outside 0 .. experts - 1 are computed elsewhere and add nothing.
      weights: [tokens, k] float32.
      gate, up: [experts, embed, mlp]; down: [experts, mlp, embed].

    Returns:
      [tokens, embed] in the dtype of x.
    """
    tokens, k = chosen.shape
    experts = gate.shape[0]
    absent = (chosen < 0) | (chosen >= experts)
    numbers = jnp.where(absent, experts, chosen).reshape(-1)
    order = jnp.argsort(numbers, stable=True)
    back = jnp.argsort(order)
    sizes = jnp.sum(numbers[:, None] == jnp.arange(experts), axis=0, dtype=jnp.int32)
    # What a grouped product leaves in rows beyond its groups is not defined: nothing may enter or leave there.
    ours = (jnp.arange(tokens * k) < sizes.sum())[:, None]

    def product(rows, kernels):
        return jnp.where(ours, jax.lax.ragged_dot(rows, kernels, sizes), 0)

    rows = jnp.where(ours, _permute(jnp.repeat(x, k, axis=0), order, back), 0)
    outputs = product(jax.nn.silu(product(rows, gate)) * product(rows, up), down)
    outputs = _permute(outputs, back, order).reshape(tokens, k, -1)
    y = jnp.einsum("tke,tk->te", outputs, weights, preferred_element_type=jnp.float32)
    return y.astype(x.dtype)


@jax.custom_vjp
def _permute(x: jax.Array, order: jax.Array, back: jax.Array) -> jax.Array:
    """x[order], whose gradient is gathered with the inverse `back`: a scatter would be far slower."""
    return x[order]


_permute.defvjp(
    lambda x, order, back: (x[order], back), lambda back, gradient: (gradient[back], None, None)
)
