"""Where arrays lie: one table from logical axis names to mesh axes, and nothing else.

A layout is changed by a line of gin: `train.layout = {'kv_heads': None}` keeps key heads whole on every device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig, abstract_decoder

Layout = Mapping[str, str | tuple[str, ...] | None]

# logical axis → mesh axis            a 13B Llama's arrays that have it, with their shapes
LAYOUT: Layout = {
    "layers": None,                 # everything in blocks: [40, ...]; the scan walks along it
    "vocab": "tensor",              # embed/tokens [97024, 5120], head/kernel [5120, 97024]
    "positions": None,              # embed/positions [2048, 5120] (GPT-2)
    "embed": "fsdp",                # every kernel: [5120, 40, 128], [40, 128, 5120], [5120, 13824] ...
    "heads": "tensor",              # query and output kernels
    "kv_heads": "tensor",           # key and value kernels
    "head_dim": None,
    "mlp": "tensor",                # gate, up and down kernels
    "norm": None,                   # scales and biases of norms [5120]
    "batch": ("data", "fsdp"),      # tokens [1024, 4096] and all activations
    "length": "context",
    "activation_embed": None,       # the residual stream [1024, 4096, 5120]
}  # fmt: skip


def partition_spec(
    names: tuple[str | None, ...], shape: tuple[int, ...], mesh: jax.sharding.Mesh, layout: Layout
) -> PartitionSpec:
    """The mesh axes of an array's axes.

    Raises:
      UserError: a name that the layout lacks, a size that its mesh axes do not divide, or a mesh axis used twice.
    """
    entries, used = [], set()
    for name, size in zip(names, shape, strict=True):
        if name is not None and name not in layout:
            raise UserError(
                f"the layout has no logical axis {name!r}; it has {', '.join(sorted(layout))}"
            )
        axes = layout[name] if name is not None else None
        axes = (axes,) if isinstance(axes, str) else tuple(axes or ())
        for axis in axes:
            if axis not in mesh.shape:
                raise UserError(
                    f"the layout sends {name!r} to {axis!r}; the mesh has {', '.join(mesh.shape)}"
                )
            if axis in used:
                raise UserError(f"the layout sends two axes of {names} to the mesh axis {axis!r}")
        used.update(axes)
        parts = 1
        for axis in axes:
            parts *= mesh.shape[axis]
        if size % parts:
            raise UserError(
                f"{name} = {size} is not divisible by the mesh axis {' x '.join(axes)} = {parts}; "
                f"change MeshConfig.{axes[-1]} or the model's {name}"
            )
        entries.append(axes if len(axes) > 1 else (axes[0] if axes else None))
    return PartitionSpec(*entries)


def complete_layout(changes: Layout | None) -> Layout:
    """`LAYOUT` with a caller's changes."""
    unknown = set(changes or ()) - set(LAYOUT)
    if unknown:
        raise UserError(
            f"layout has unknown logical axes {sorted(unknown)}; known are {', '.join(sorted(LAYOUT))}"
        )
    return {**LAYOUT, **(changes or {})}


def parameter_shardings(
    config: ModelConfig, mesh: jax.sharding.Mesh, layout: Layout | None = None
) -> dict[str, Any]:
    """The sharding of every parameter, as a nested dict like the parameters'."""
    _, parameters, axes = abstract_decoder(config)
    layout = complete_layout(layout)

    def sharding(array, names):
        return NamedSharding(mesh, partition_spec(names, array.shape, mesh, layout))

    return jax.tree.map(sharding, parameters, axes)


def batch_sharding(
    mesh: jax.sharding.Mesh, batch_size: int, length: int, layout: Layout | None = None
) -> NamedSharding:
    """The sharding of a batch's [batch, length] arrays."""
    spec = partition_spec(("batch", "length"), (batch_size, length), mesh, complete_layout(layout))
    return NamedSharding(mesh, spec)


def activation_constraint(mesh: jax.sharding.Mesh, layout: Layout | None = None):
    """The function that `models.constrained_by` wants: it lays activations out by their logical axis names."""
    layout = complete_layout(layout)

    def constraint(x, names):
        spec = partition_spec(names, x.shape, mesh, layout)
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))

    return constraint


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())
