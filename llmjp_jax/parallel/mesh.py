"""The mesh: devices arranged along four named axes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
from jax.experimental import mesh_utils

from llmjp_jax.errors import UserError

AXES = ("data", "fsdp", "tensor", "context")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How many devices lie along each axis; one axis may be -1: all that the others leave.

    Attributes:
      data: copies of the parameters, each with its part of the batch.
      fsdp: parts of the batch whose devices also share out the parameters and the optimizer state.
      tensor: parts of each matrix product (heads, MLP width, vocabulary).
      context: parts of each sequence.
      device_kind, device_count: the machine that the sizes were chosen for, as JAX names it; --dry_run computes with
        them, and a run on another machine says so.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    context: int = 1
    device_kind: str | None = None
    device_count: int | None = None

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """The four sizes as given."""
        return (self.data, self.fsdp, self.tensor, self.context)

    def __post_init__(self):
        sizes = self.sizes
        for axis, size in zip(AXES, sizes, strict=True):
            if type(size) is not int or (size < 1 and size != -1):
                raise UserError(
                    f"MeshConfig.{axis} = {size!r} must be a positive whole number or -1"
                )
        if self.device_count is not None and self.device_count < 1:
            raise UserError(f"MeshConfig.device_count = {self.device_count} must be at least 1")
        if sizes.count(-1) > 1:
            raise UserError(
                f"MeshConfig may leave one axis to be filled (-1), not {sizes.count(-1)}: {sizes}"
            )

    def shape(self, device_count: int) -> tuple[int, int, int, int]:
        """The four sizes for a number of devices, with -1 filled in."""
        sizes = self.sizes
        known = math.prod(size for size in sizes if size != -1)
        text = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
        if device_count % known:
            raise UserError(
                f"the mesh {text} does not divide the {device_count} devices; change MeshConfig"
            )
        if -1 not in sizes and known != device_count:
            raise UserError(
                f"the mesh {text} uses {known} of {device_count} devices; set one axis of MeshConfig to -1 to use all"
            )
        return tuple(device_count // known if size == -1 else size for size in sizes)


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """The mesh over `devices` (all by default), laid out for the fastest links of the platform.

    Raises:
      UserError: the sizes do not fit the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = config.shape(len(devices))
    grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    automatic = (jax.sharding.AxisType.Auto,) * len(AXES)
    return jax.sharding.Mesh(grid, AXES, axis_types=automatic)
