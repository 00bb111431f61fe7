"""What a run will take, computed without touching a device: parameters, arithmetic, memory and hours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from llmjp_jax.models import ModelConfig, abstract_decoder, parameter_count, train_flops_per_token
from llmjp_jax.parallel import AXES, MeshConfig, complete_layout, partition_spec, rated_flops
from llmjp_jax.training.optimizer import OptimizerConfig
from llmjp_jax.training.sizes import check_sizes


def dry_run(
    *,
    model: ModelConfig,
    optimizer: OptimizerConfig,
    sequence_length: int,
    batch_size: int,
    total_steps: int,
    mesh: MeshConfig | None = None,
    layout: Mapping[str, Any] | None = None,
    accumulation: int = 1,
    **others: Any,
) -> None:
    """Prints the plan of `train` with the same arguments; reads and writes nothing.

    Raises:
      UserError: a size that its mesh axis does not divide.
    """
    print("\n".join(plan_lines(
        model=model, sequence_length=sequence_length, batch_size=batch_size, total_steps=total_steps,
        mesh=mesh or MeshConfig(), layout=layout, accumulation=accumulation,
    )))  # fmt: skip


def plan_lines(
    *, model, sequence_length, batch_size, total_steps, mesh, layout, accumulation
) -> list[str]:
    """The plan, a line each."""
    check_sizes(
        model, batch_size=batch_size, sequence_length=sequence_length, accumulation=accumulation
    )
    count = mesh.device_count or math.prod(size for size in mesh.sizes if size != -1)
    shape = mesh.shape(count)
    grid = jax.sharding.AbstractMesh(shape, AXES)
    flops = {
        kind: train_flops_per_token(model, sequence_length, causal=kind == "causal")
        for kind in ("causal", "full")
    }
    tokens = total_steps * batch_size * sequence_length
    memory = bytes_per_device(model, grid, layout, batch_size // accumulation, sequence_length)
    sizes = ", ".join(f"{axis} {size}" for axis, size in zip(AXES, shape, strict=True))
    return [
        f"model            {parameter_count(model):,} parameters",
        f"devices          {count} x {mesh.device_kind or 'unnamed'}: {sizes}",
        f"steps            {total_steps:,} of {batch_size:,} x {sequence_length:,} tokens ({accumulation} parts each)",
        f"tokens           {tokens:,}",
        f"FLOPs per token  {flops['causal']:.4g} (causal attention), {flops['full']:.4g} (full attention)",
        *[
            f"memory           {size / 2**30:9.3f} GiB per device: {kind}"
            for kind, size in memory.items()
        ],
        f"memory           {sum(memory.values()) / 2**30:9.3f} GiB per device, without the activations inside a block",
        *_hours(mesh.device_kind, count, flops["causal"] * tokens),
    ]


def bytes_per_device(model, grid, layout, rows, length) -> dict[str, int]:
    """Bytes of one device by kind, for the arrays whose sizes are known without a compiler.

    Args:
      model: the config. grid: a mesh, real or abstract. layout: changes to the layout table.
      rows: of the batch that are computed at once. length: tokens of a row.
    """
    layout = complete_layout(layout)
    _, parameters, axes = abstract_decoder(model)

    def share(names, shape, itemsize):
        parts = 1
        for entry in partition_spec(names, shape, grid, layout):
            for axis in (entry,) if isinstance(entry, str) else entry or ():
                parts *= grid.shape[axis]
        return math.prod(shape) * itemsize // parts

    held = sum(
        jax.tree.leaves(jax.tree.map(lambda a, names: share(names, a.shape, 4), parameters, axes))
    )
    stream = share(
        ("batch", "length", "activation_embed"),
        (rows, length, model.embed),
        jnp.dtype(model.dtype).itemsize,
    )
    chunk = (rows, length // model.loss_chunks, model.padded_vocab_size)
    return {
        "parameters (float32)": held,
        "gradients (float32)": held,
        "Adam's two moments (float32)": 2 * held,
        "residual stream kept for each block": stream * model.layers,
        "logits of a loss chunk and their gradient": 2
        * share(("batch", "length", "vocab"), chunk, 4),
    }


def _hours(kind: str | None, count: int, flops: float) -> list[str]:
    peak = rated_flops(kind) if kind else None
    if peak is None:
        return [f"time             not known: no data sheet's peak for devices of kind {kind!r}"]
    return [
        f"time             {flops / (peak * count * utilisation) / 3600:,.1f} hours at {utilisation:.0%} of "
        f"{peak / 1e12:.0f} TFLOP/s (bfloat16, causal attention)"
        for utilisation in (0.4, 0.5)
    ]
