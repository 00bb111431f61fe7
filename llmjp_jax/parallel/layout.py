"""Where arrays lie: one table from logical axis names to mesh axes, and nothing else.

A layout is changed by a line of gin: `train.layout = {'kv_heads': None}` keeps key heads whole on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
    "experts": "expert",            # the expert kernels of a mixture of experts [8, 5120, 13824]
    "lora_rank": None,              # the narrow side of adapters: query's [5120, 8] and [8, 40, 128]
    "norm": None,                   # scales and biases of norms [5120]
    "batch": ("replica", "data", "fsdp", "expert"),     # tokens [1024, 4096] and all activations
    "length": "context",
    "stream_length": ("context", "tensor"),     # the residual stream [1024, 4096, 5120] between blocks, and its norms
    "activation_embed": None,
}  # fmt: skip


def partition_spec(
    names: tuple[str | None, ...], shape: tuple[int, ...], mesh: jax.sharding.Mesh, layout: Layout
) -> PartitionSpec:
    """The mesh axes of an array's axes.

    Raises:
      UserError: a name that the layout lacks, a size that its mesh axes do not divide, or a mesh axis used twice.
    """
    spec = named_spec(names, mesh, layout)
    for name, size, entry in zip(names, shape, spec, strict=True):
        axes = (entry,) if isinstance(entry, str) else tuple(entry or ())
        parts = math.prod(mesh.shape[axis] for axis in axes)
        if size % parts:
            raise UserError(
                f"{name} = {size} is not divisible by the mesh axis {' x '.join(axes)} = {parts}; "
                f"change MeshConfig.{axes[-1]}, this size, or what the layout says of {name}"
            )
    return spec


def named_spec(
    names: tuple[str | None, ...], mesh: jax.sharding.Mesh, layout: Layout
) -> PartitionSpec:
    """`partition_spec` of an array whose sizes are not known yet."""
    entries, used = [], set()
    for name in names:
        axes = () if name is None else mesh_axes_of(name, mesh, layout)
        for axis in axes:
            if axis in used:
                raise UserError(f"the layout sends two axes of {names} to the mesh axis {axis!r}")
        used.update(axes)
        entries.append(axes if len(axes) > 1 else (axes[0] if axes else None))
    return PartitionSpec(*entries)


def mesh_axes_of(name: str, mesh: jax.sharding.Mesh, layout: Layout) -> tuple[str, ...]:
    """The mesh axes that a logical axis is sent to, those of one device included."""
    if name not in layout:
        raise UserError(
            f"the layout has no logical axis {name!r}; it has {', '.join(sorted(layout))}"
        )
    axes = layout[name]
    axes = (axes,) if isinstance(axes, str) else tuple(axes or ())
    for axis in axes:
        if axis not in mesh.shape:
            raise UserError(
                f"the layout sends {name!r} to {axis!r}; the mesh has {', '.join(mesh.shape)}"
            )
    return axes


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


class Placement:
    """A mesh seen through the names of axes, for `models.placed_by` while a function is traced."""

    def __init__(self, mesh: jax.sharding.Mesh, layout: Layout | None = None):
        self.mesh = mesh
        self.layout = complete_layout(layout)

    def constrain(self, x: jax.Array, names: tuple[str | None, ...]) -> jax.Array:
        spec = partition_spec(names, x.shape, self.mesh, self.layout)
        return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, spec))

    def sharded(self, function: Callable, in_names: tuple, out_names: tuple) -> Callable:
        def call(*arrays: jax.Array) -> jax.Array:
            inputs = tuple(
                partition_spec(names, x.shape, self.mesh, self.layout)
                for names, x in zip(in_names, arrays, strict=True)
            )
            # Pallas kernels cannot say over which axes their results vary, so the check is off.
            return jax.shard_map(
                function,
                mesh=self.mesh,
                in_specs=inputs,
                out_specs=named_spec(out_names, self.mesh, self.layout),
                check_vma=False,
            )(*arrays)

        return call

    def mesh_axes(self, name: str) -> tuple[str, ...]:
        axes = mesh_axes_of(name, self.mesh, self.layout)
        return tuple(axis for axis in axes if self.mesh.shape[axis] > 1)


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())
