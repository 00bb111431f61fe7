"""Logical axis names in, places on devices out: the mesh, one layout table, and what the devices can do."""

from llmjp_jax.parallel.collectives import (
    Collective,
    Interconnect,
    by_kind,
    one_collective,
    read_collectives,
)
from llmjp_jax.parallel.devices import DataSheet, data_sheet, keep_freed_memory, peak_flops
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
from llmjp_jax.parallel.topology import Topology
from llmjp_jax.parallel.xla_log import caught_log, rematerialized

__all__ = [
    "AXES",
    "Collective",
    "DataSheet",
    "Interconnect",
    "LAYOUT",
    "MeshConfig",
    "Placement",
    "Topology",
    "batch_sharding",
    "by_kind",
    "caught_log",
    "read_collectives",
    "complete_layout",
    "data_sheet",
    "keep_freed_memory",
    "make_mesh",
    "one_collective",
    "parameter_shardings",
    "partition_spec",
    "peak_flops",
    "rematerialized",
    "replicated",
]
