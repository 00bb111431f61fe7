"""Matrix products and norms: the layers with parameters that blocks are made of."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from llmjp_jax.models.config import ModelConfig


def _dot(x: jax.Array, kernel: jax.Array, contracted: int) -> jax.Array:
    """The last `contracted` axes of x against the first of the kernel."""
    left = tuple(range(x.ndim - contracted, x.ndim))
    return jax.lax.dot_general(x, kernel, ((left, tuple(range(contracted))), ((), ())))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _fenced_dot(x: jax.Array, kernel: jax.Array, contracted: int) -> jax.Array:
    """`_dot` whose backward pass reads finished arrays.

    XLA's CPU backend otherwise fuses the element-wise chain before a product into the transposed copy that the
    gradient of the kernel reads, with strided access.
    """
    return _dot(x, kernel, contracted)


def _fenced_dot_forward(x, kernel, contracted):
    return _dot(x, kernel, contracted), (x, kernel)


def _fenced_dot_backward(contracted, saved, gradient):
    x, kernel = saved
    x, gradient = jax.lax.optimization_barrier((x, gradient))
    outputs = kernel.ndim - contracted
    right = tuple(range(gradient.ndim - outputs, gradient.ndim))
    x_gradient = jax.lax.dot_general(
        gradient, kernel, ((right, tuple(range(contracted, kernel.ndim))), ((), ()))
    )
    # As matrices [tokens, ...] the product needs no transposed copy of x: a twentieth of the step.
    rows = math.prod(x.shape[: x.ndim - contracted])
    x, gradient = x.reshape(rows, -1), gradient.reshape(rows, -1)
    kernel_gradient = jax.lax.dot_general(x, gradient, (((0,), (0,)), ((), ())))
    return x_gradient, kernel_gradient.reshape(kernel.shape)


_fenced_dot.defvjp(_fenced_dot_forward, _fenced_dot_backward)


@jax.custom_vjp
def fence_gradient(x: jax.Array) -> jax.Array:
    """x itself, whose gradient is finished before anything is done with it.

    XLA's CPU backend otherwise merges the transposition of a tied table's gradient into the product that makes it,
    which then misses the fast kernel: 3 % of a small GPT's step.
    """
    return x


fence_gradient.defvjp(
    lambda x: (x, None), lambda _, gradient: (jax.lax.optimization_barrier(gradient),)
)


class Linear(nnx.Module):
    """y = x @ kernel + bias over one or two trailing axes of x.

    kernel: [*inputs, *outputs] with logical `axes`; bias: [*outputs]. Products are computed in `config.dtype`.
    """

    def __init__(self, config: ModelConfig, inputs: tuple[int, ...], outputs: tuple[int, ...],
                 axes: tuple[str, ...], rngs: nnx.Rngs, *, residual: bool = False):  # fmt: skip
        std = config.initializer_std / (math.sqrt(2 * config.layers) if residual else 1.0)
        kernel = jax.random.normal(rngs.params(), inputs + outputs, jnp.float32) * std
        self.kernel = nnx.Param(kernel, out_sharding=axes)
        if config.bias:
            self.bias = nnx.Param(jnp.zeros(outputs), out_sharding=axes[len(inputs) :])
        self.config = config
        self.contracted = len(inputs)

    def __call__(self, x: jax.Array) -> jax.Array:
        dtype = self.config.dtype
        dot = _fenced_dot if self.config.barriers else _dot
        y = dot(x.astype(dtype), self.kernel[...].astype(dtype), self.contracted)
        if self.config.bias:
            y = y + self.bias[...].astype(dtype)
        return y


class Norm(nnx.Module):
    """LayerNorm or RMSNorm over the last axis, with statistics in float32.

    scale, bias: [embed]; RMSNorm has no bias.
    """

    def __init__(self, config: ModelConfig):
        self.scale = nnx.Param(jnp.ones((config.embed,)), out_sharding=("norm",))
        if config.norm == "layernorm":
            self.bias = nnx.Param(jnp.zeros((config.embed,)), out_sharding=("norm",))
        self.config = config

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        if self.config.norm == "layernorm":
            x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.config.norm_epsilon)
        x = x * self.scale[...]
        if self.config.norm == "layernorm":
            x = x + self.bias[...]
        return x.astype(self.config.dtype)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes each element with probability `rate` and scales the others up; does nothing without a key."""
    if key is None or rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))
