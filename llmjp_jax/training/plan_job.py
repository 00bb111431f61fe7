"""What is planned: the arguments of `train` that decide about time and memory, and the machine that they are for."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import ORDERS, checked_stages
from llmjp_jax.models import ModelConfig
from llmjp_jax.parallel import (
    AXES,
    DataSheet,
    Interconnect,
    MeshConfig,
    Topology,
    data_sheet,
    make_mesh,
)
from llmjp_jax.training.sizes import check_sizes, check_steps
from llmjp_jax.training.trainer import Trainer

_TRAINER_FIELDS = {field.name for field in dataclasses.fields(Trainer)} - {"mesh"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A run that is planned.

    Attributes:
      options: arguments of `Trainer`, all but the mesh. mesh: sizes, and the topology or kind and number of devices.
      total_steps: updates; None where the run is given `epochs`, and only its data know how many those are. stages: names of data sets and their steps, where there are several in turn.
    """

    options: Mapping[str, Any]
    mesh: MeshConfig
    total_steps: int | None
    epochs: float | None = None
    stages: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Job:
        """The job of the keyword arguments of `train`.

        Raises:
          UserError: a size that does not fit another, or the machine.
        """
        options = {name: arguments[name] for name in arguments if name in _TRAINER_FIELDS}
        order = arguments.get("order", "windows")
        if order not in ORDERS:
            raise UserError(f"train.order = {order!r} must be one of {', '.join(ORDERS)}")
        examples, objective = arguments.get("examples"), arguments.get("objective")
        if examples is not None:
            pairs = objective is not None and objective.pairs
            longest = examples.limits(arguments["sequence_length"], pairs).max_length
            options |= {"document_mask": examples.packing or pairs, "longest": longest}
            if not examples.packing:
                options["lengths"] = examples.row_lengths(arguments["sequence_length"])
        return cls(
            options=options,
            mesh=arguments.get("mesh") or MeshConfig(),
            total_steps=arguments.get("total_steps"),
            epochs=arguments.get("epochs"),
            stages=tuple(checked_stages(arguments.get("mixture_or_task_name") or "")),
        )

    def __post_init__(self):
        if self.epochs is None:
            check_steps(self.total_steps)
        checked = inspect.signature(check_sizes).parameters.keys() - {"model"}
        check_sizes(self.model, **{n: v for n, v in self.options.items() if n in checked})
        # Raises where the mesh does not fit the machine.
        self.sizes  # noqa: B018

    @property
    def batch_size(self) -> int:
        return self.options["batch_size"]

    @property
    def sequence_length(self) -> int:
        return self.options["sequence_length"]

    @property
    def accumulation(self) -> int:
        return self.options.get("accumulation", 1)

    @property
    def layout(self) -> Mapping[str, Any] | None:
        return self.options.get("layout")

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.batch_size * self.sequence_length

    @functools.cached_property
    def topology(self) -> Topology | None:
        """The TPU slices, `MeshConfig.replica` of them."""
        if self.mesh.topology is None:
            return None
        if self.mesh.replica == -1:
            raise UserError(
                f"MeshConfig.replica = -1: with topology {self.mesh.topology!r} it is the number of slices; write it"
            )
        return Topology(self.mesh.topology, self.mesh.replica)

    @property
    def device_kind(self) -> str | None:
        return self.topology.device_kind if self.topology else self.mesh.device_kind

    @property
    def device_count(self) -> int:
        if self.topology:
            return self.topology.device_count
        known = math.prod(size for size in self.mesh.sizes if size != -1)
        return self.mesh.device_count or known

    @property
    def data_sheet(self) -> DataSheet | None:
        return data_sheet(self.device_kind) if self.device_kind else None

    @functools.cached_property
    def sizes(self) -> dict[str, int]:
        """Devices along each axis of the mesh."""
        return dict(zip(AXES, self.mesh.shape(self.device_count), strict=True))

    @property
    def grid(self) -> jax.sharding.AbstractMesh:
        """The mesh without its devices."""
        return jax.sharding.AbstractMesh(tuple(self.sizes.values()), AXES)

    @functools.cached_property
    def model(self) -> ModelConfig:
        """The decoder, with its 'auto' choices made for the devices."""
        kind = self.device_kind or ""
        platform = (
            "tpu" if kind.startswith("TPU") else "gpu" if kind.startswith("NVIDIA") else "cpu"
        )
        return self.options["model"].on_platform(platform)

    @functools.cached_property
    def real_mesh(self) -> jax.sharding.Mesh:
        """The mesh of the topology's devices; needs libtpu."""
        return _real_mesh(self.topology, self.mesh)

    @functools.cached_property
    def interconnect(self) -> Interconnect:
        """The links between the devices of `real_mesh`."""
        return Interconnect.of(self.real_mesh.devices.flat, self.topology.shape, self.data_sheet)

    def group(self, axes: tuple[str, ...]) -> list[int]:
        """Ids of the devices that differ from the first along mesh axes only."""
        ids = np.arange(self.device_count).reshape(tuple(self.sizes.values()))
        return ids[tuple(slice(None) if axis in axes else 0 for axis in AXES)].ravel().tolist()

    def trainer(self) -> Trainer:
        """The trainer for the topology's devices; needs libtpu.

        Raises:
          UserError: a size that its mesh axes do not divide.
        """
        # How long the run is changes nothing in how a step is computed.
        optimizer = self.options["optimizer"].over(self.total_steps or 1000)
        return Trainer(mesh=self.real_mesh, **self.options | {"optimizer": optimizer})

    def changed(
        self,
        mesh: Mapping[str, int] | None = None,
        model: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Job:
        """This job with some sizes of the mesh, fields of the model, or arguments of the trainer replaced."""
        options = {**self.options, **options}
        options["model"] = dataclasses.replace(options["model"], **(model or {}))
        mesh = dataclasses.replace(self.mesh, **(mesh or {}))
        return dataclasses.replace(self, options=options, mesh=mesh)

    def describe(self) -> str:
        """What a search changes, in one line."""
        mesh = " x ".join(f"{axis} {size}" for axis, size in self.sizes.items() if size > 1)
        parts = (
            f", {self.accumulation} parts a batch" if self.accumulation > 1 else ", the batch whole"
        )
        return f"{mesh or 'one device'}{parts}, remat {self.model.remat}, {self.model.loss_chunks} loss chunks"


@functools.cache
def _devices(topology: Topology) -> list[jax.Device]:
    return topology.devices()


@functools.cache
def _real_mesh(topology: Topology, mesh: MeshConfig) -> jax.sharding.Mesh:
    # A search asks for the same mesh with each remat and number of parts.
    return make_mesh(mesh, _devices(topology))
