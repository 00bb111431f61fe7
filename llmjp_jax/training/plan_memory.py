"""The memory that a step takes on one device, estimated without a compiler: what must be there at the fullest moment.

That moment is in the backward pass of a block, or in the loss. The estimate filters layouts before XLA compiles them and
stands alone where XLA cannot compile ahead (GPU, CPU). How far it is off XLA's own figure is in docs/plans.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from llmjp_jax.models import ModelConfig, abstract_decoder
from llmjp_jax.parallel import complete_layout, partition_spec
from llmjp_jax.training.plan_job import Job
from llmjp_jax.training.state import split_trained

# Bytes of a device's score [heads, length, length] while a block's backward pass runs: float32 probabilities, and
# their gradient and themselves as products want them. What is kept by a kernel that never makes scores is small.
_SCORE_BYTES = {"reference": 12, "xla": 8, "blocked": 3}
# Numbers along the last axis of a TPU's registers.
_LANES = 128


def bytes_per_device(job: Job) -> dict[str, int]:
    """Bytes of one device at the fullest moment of a step, by kind; their sum is the estimate.

    Raises:
      UserError: a size that its mesh axes do not divide.
    """
    share = Share(job)
    held, frozen = share.trained(), share.frozen()
    inside, loss = block_bytes(job), loss_bytes(job)
    busy = (
        {"the backward pass of one block": inside}
        if inside >= loss
        else {"logits of a loss chunk, and the output matrix": loss}
    )
    return {
        **({f"frozen parameters ({job.model.dtype})": frozen} if frozen else {}),
        "parameters (float32)": held,
        "Adam's two moments (float32)": 2 * held,
        "gradients (float32)": held * (1 if job.accumulation == 1 else 2),
        "batch": share(("batch", "length"), (job.batch_size, job.sequence_length), 4)
        * (5 if job.options.get("document_mask") else 3),
        f"kept of each block (remat {job.model.remat})": kept_bytes(job),
        **busy,
    }


def kept_bytes(job: Job) -> int:
    """What the forward pass of all blocks keeps for the backward pass."""
    model, share = job.model, Share(job)
    stream = share.stream()
    layer = {"full": stream}
    # 'dots': the results of the products with kernels, next to the stream; 'none': everything between them as well.
    # The grouped products of experts are none of those that 'dots' keeps.
    products = 0 if model.experts else share.mlp(share.ups)
    layer["dots"] = stream * 3 + share.heads(model.heads + 2 * model.kv_heads) + products
    layer["none"] = (
        stream * 6
        + share.heads(4 * model.heads + 4 * model.kv_heads)
        + share.mlp(2 * share.ups + 1)
        + share.scores(_SCORE_BYTES.get(model.attention, 0) * 3 // 4)
    )
    return layer[model.remat] * model.layers


def block_bytes(job: Job) -> int:
    """What the backward pass of one block needs beside what is kept: its activations, their gradients, its kernels."""
    model, share = job.model, Share(job)
    # The stream whole along its length, and its gradient; the kernels of a layer gathered, and of the next.
    common = 2 * share.length_whole() + 2 * share.layer_kernels()
    attention = share.scores(_SCORE_BYTES.get(model.attention, 0)) + 2 * share.heads(
        2 * model.heads + 2 * model.kv_heads
    )
    mlp = 2 * share.mlp(share.ups + 1)
    if model.experts:
        # The tokens of a group of devices, once for each expert that they chose, and what the experts say.
        mlp += 4 * share.length_whole() * model.experts_per_token * job.sizes["expert"]
    return common + max(attention, mlp)


def loss_bytes(job: Job) -> int:
    """Logits of a chunk of the loss and their gradient, float32, and the output matrix gathered."""
    model, share = job.model, Share(job)
    length = job.sequence_length // model.loss_chunks
    logits = share(("batch", "length", "vocab"), (share.rows, length, model.padded_vocab_size), 4)
    kernel = share((None, "vocab"), (model.embed, model.padded_vocab_size), share.itemsize)
    return 2 * logits + 2 * kernel


@functools.cache
def _abstract(model: ModelConfig):
    return abstract_decoder(model)[1:]


@functools.cache
def _counts(
    model: ModelConfig, grid: jax.sharding.AbstractMesh, layout: tuple
) -> tuple[int, int, int]:
    """Numbers on one device: of the trained and the frozen parameters, and of the blocks' when whole along `embed`."""
    parameters, axes = _abstract(model)
    layout = dict(layout)

    def count(tree, axes, gathered=()):
        parts = jax.tree.map(
            lambda array, names: _part(
                tuple(None if name in gathered else name for name in names), array.shape, grid, layout
            ),
            tree, axes,
        )  # fmt: skip
        return sum(jax.tree.leaves(parts))

    trained, frozen = (
        count(tree, names)
        for tree, names in zip(
            split_trained(model, parameters), split_trained(model, axes), strict=True
        )
    )
    return trained, frozen, count(parameters["blocks"], axes["blocks"], ("embed",))


def _part(names: tuple, shape: tuple[int, ...], grid: jax.sharding.AbstractMesh, layout) -> int:
    """Numbers of an array on one device."""
    parts = 1
    for entry in partition_spec(names, shape, grid, layout):
        for axis in (entry,) if isinstance(entry, str) else entry or ():
            parts *= grid.shape[axis]
    return math.prod(shape) // parts


class Share:
    """A device's part of arrays, in bytes, given the logical names of their axes."""

    def __init__(self, job: Job):
        self.job, self.model = job, job.model
        self.layout = complete_layout(job.layout)
        self.rows = job.batch_size // job.accumulation
        self.itemsize = jnp.dtype(job.model.dtype).itemsize
        # Arrays of the MLP's width before its last product.
        self.ups = 2 if job.model.activation == "swiglu" else 1

    def __call__(self, names, shape, itemsize) -> int:
        return _part(names, shape, self.job.grid, self.layout) * itemsize

    def trained(self) -> int:
        return 4 * self._counts()[0]

    def frozen(self) -> int:
        """In the products' type: norms, which stay float32, are next to nothing."""
        return self.itemsize * self._counts()[1]

    def layer_kernels(self) -> int:
        """The kernels of one block in the products' type, whole along `embed`."""
        return self.itemsize * self._counts()[2] // self.model.layers

    def _counts(self) -> tuple[int, int, int]:
        # All ways of computing the same model have the same parameters; a search asks for hundreds.
        model = dataclasses.replace(self.model, remat="full", loss_chunks=1)
        layout = tuple(
            (name, tuple(axes) if isinstance(axes, list) else axes)
            for name, axes in self.layout.items()
        )
        return _counts(model, self.job.grid, layout)

    def stream(self) -> int:
        """[rows, length, embed] between blocks."""
        shape = (self.rows, self.job.sequence_length, self.model.embed)
        return self(("batch", "stream_length", "activation_embed"), shape, self.itemsize)

    def length_whole(self) -> int:
        """The same inside a block."""
        shape = (self.rows, self.job.sequence_length, self.model.embed)
        return self(("batch", "length", "activation_embed"), shape, self.itemsize)

    def heads(self, count: int) -> int:
        """[rows, length, count, head_dim]; the splash kernel fills head sizes up to whole lanes."""
        size = self.model.head_dim
        if self.model.attention.startswith("splash"):
            size = -(-size // _LANES) * _LANES
        one = (self.rows, self.job.sequence_length, self.model.heads, size)
        names = ("batch", "length", "heads", "head_dim")
        return self(names, one, self.itemsize) * count // self.model.heads

    def mlp(self, count: int) -> int:
        """`count` arrays [rows, length, mlp]; with experts, of the tokens of a group of devices for each chosen expert."""
        shape = (self.rows, self.job.sequence_length, self.model.mlp)
        one = self(("batch", "length", "mlp"), shape, self.itemsize)
        if self.model.experts:
            one *= self.model.experts_per_token * self.job.sizes["expert"]
        return one * count

    def logits_of_a_part(self) -> int:
        """[rows, length, vocab] in float32, all chunks together."""
        shape = (self.rows, self.job.sequence_length, self.model.padded_vocab_size)
        return self(("batch", "length", "vocab"), shape, 4)

    def scores(self, bytes_each: int) -> int:
        """[rows, heads, length, length]."""
        length = self.job.sequence_length
        shape = (self.rows, length, self.model.heads, length)
        return self(("batch", "length", "heads", None), shape, bytes_each)
