"""Matrix products and norms: the layers with parameters that blocks are made of."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from llmjp_jax.models.axes import constrain
from llmjp_jax.models.config import ModelConfig
from llmjp_jax.models.lora import low_rank_product


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
    y = _dot(x.value, kernel.value, contracted)
    # Under adapters the kernel is frozen: its gradient is not asked for, and x need not be kept for it.
    return y, (x.value if kernel.perturbed else None, kernel.value)


def _fenced_dot_backward(contracted, saved, gradient):
    x, kernel = saved
    frozen = x is None
    if frozen:
        gradient = jax.lax.optimization_barrier(gradient)
    else:
        x, gradient = jax.lax.optimization_barrier((x, gradient))
    outputs = kernel.ndim - contracted
    right = tuple(range(gradient.ndim - outputs, gradient.ndim))
    x_gradient = jax.lax.dot_general(
        gradient, kernel, ((right, tuple(range(contracted, kernel.ndim))), ((), ()))
    )
    if frozen:
        return x_gradient, None
    # As matrices [tokens, ...] the product needs no transposed copy of x: a twentieth of the step.
    rows = math.prod(x.shape[: x.ndim - contracted])
    x, gradient = x.reshape(rows, -1), gradient.reshape(rows, -1)
    kernel_gradient = jax.lax.dot_general(x, gradient, (((0,), (0,)), ((), ())))
    return x_gradient, kernel_gradient.reshape(kernel.shape)


_fenced_dot.defvjp(_fenced_dot_forward, _fenced_dot_backward, symbolic_zeros=True)


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


def _product(config: ModelConfig, x: jax.Array, kernel: jax.Array, contracted: int) -> jax.Array:
    """`_dot` in `config.dtype`, with a barrier in its backward pass where the config says so."""
    dot = _fenced_dot if config.barriers else _dot
    return dot(x.astype(config.dtype), kernel.astype(config.dtype), contracted)


class Linear(nnx.Module):
    """y = x @ kernel + bias over one or two trailing axes of x, and what an adapter of the matrix adds.

    kernel: [*inputs, *outputs] with logical `axes`; bias: [*outputs]; lora: an `Adapter` where `config.lora` has
    `target`. Products are computed in `config.dtype`.
    """

    def __init__(self, config: ModelConfig, inputs: tuple[int, ...], outputs: tuple[int, ...],
                 axes: tuple[str, ...], key: jax.Array, *, target: str, residual: bool = False):  # fmt: skip
        std = config.initializer_std / (math.sqrt(2 * config.layers) if residual else 1.0)
        kernel = jax.random.normal(key, inputs + outputs, jnp.float32) * std
        self.kernel = nnx.Param(kernel, out_sharding=axes)
        if config.bias:
            self.bias = nnx.Param(jnp.zeros(outputs), out_sharding=axes[len(inputs) :])
        self.adapted = is_adapted(config, target)
        if self.adapted:
            self.lora = Adapter(config, key, inputs, axes[: len(inputs)], b=(outputs, axes[len(inputs) :]))  # fmt: skip
        self.config = config
        self.contracted = len(inputs)

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        """`dropout_key`: turns on the dropout of the adapter."""
        y = _product(self.config, x, self.kernel[...], self.contracted)
        if self.adapted:
            y = y + self.lora(x, dropout_key)["b"]
        if self.config.bias:
            y = y + self.bias[...].astype(self.config.dtype)
        return y


def is_adapted(config: ModelConfig, target: str) -> bool:
    """Whether `config.lora` adapts the matrix of this name."""
    return config.lora is not None and target in config.lora.targets


class Adapter(nnx.Module):
    """scale · (dropout(x) @ A) @ B: what LoRA adds to a matrix, or to several that share an A.

    a: [*inputs, rank]; each of `outputs`, by its name, [rank, *its axes]. Drawn as PEFT draws them: A uniform within
    1 / sqrt(inputs) and B zero; for a table that is looked up in, A zero and B normal. The stream of random numbers of
    `rngs` is left alone, so that the matrices are those of the model without adapters.
    """

    def __init__(self, config: ModelConfig, matrix_key: jax.Array, inputs: tuple[int, ...], input_axes: tuple[str, ...],
                 *, table: bool = False, **outputs: tuple[tuple[int, ...], tuple[str, ...]]):  # fmt: skip
        rank = config.lora.rank
        key = jax.random.fold_in(matrix_key, 1)
        bound = 0.0 if table else 1 / math.sqrt(math.prod(inputs))
        a = jax.random.uniform(key, (*inputs, rank), jnp.float32, -bound, bound)
        self.a = nnx.LoRAParam(a, out_sharding=(*input_axes, "lora_rank"))
        for name, (sizes, axes) in outputs.items():
            shape = (rank, *sizes)
            b = jax.random.normal(key, shape) if table else jnp.zeros(shape)
            setattr(self, name, nnx.LoRAParam(b, out_sharding=("lora_rank", *axes)))
        self.outputs = tuple(outputs)
        self.contracted = len(inputs)
        self.config = config

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> dict[str, jax.Array]:
        """x [..., *inputs] → what is added to each of the outputs, in `config.dtype`."""
        x = dropout(x, self.config.lora.dropout, dropout_key)
        low = _product(self.config, x, self.a[...], self.contracted) * self.config.lora.scale
        return {name: _product(self.config, low, getattr(self, name)[...], 1) for name in self.outputs}  # fmt: skip

    def look_up(self, tokens: jax.Array) -> jax.Array:
        """What is added to the embeddings of tokens [batch, length]: [batch, length, embed] in `config.dtype`."""
        table = constrain(self.a[...].astype(self.config.dtype), "vocab", None)
        low = table[tokens] * self.config.lora.scale
        return _product(self.config, low, self.b[...], 1)

    def product(self) -> jax.Array:
        """What is added to the matrix itself, float32."""
        return low_rank_product(self.a[...], self.b[...], self.config.lora.scale)


def adapter_keys(config: ModelConfig, dropout_key: jax.Array | None, count: int) -> tuple:
    """Keys for the dropout of `count` adapters; Nones where there is none, and no random number is drawn."""
    if dropout_key is None or config.lora is None or config.lora.dropout == 0:
        return (None,) * count
    return tuple(jax.random.split(dropout_key, count))


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
