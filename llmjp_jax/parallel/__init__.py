"""Logical axis names in, places on devices out: the mesh, one layout table, and what the devices can do."""

from llmjp_jax.parallel.devices import keep_freed_memory, peak_flops, rated_flops
from llmjp_jax.parallel.layout import (
    LAYOUT,
    Placement,
    batch_sharding,
    complete_layout,
    parameter_shardings,
    partition_spec,
    replicated,
)
from llmjp_jax.parallel.mesh import AXES, MeshConfig, make_mesh

__all__ = [
    "AXES",
    "LAYOUT",
    "MeshConfig",
    "Placement",
    "batch_sharding",
    "complete_layout",
    "keep_freed_memory",
    "make_mesh",
    "parameter_shardings",
    "partition_spec",
    "peak_flops",
    "rated_flops",
    "replicated",
]
