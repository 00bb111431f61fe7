"""The mesh: devices arranged along six named axes, from the slowest links to the fastest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
from jax.experimental import mesh_utils

from llmjp_jax.errors import UserError

AXES = ("replica", "data", "fsdp", "expert", "context", "tensor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How many devices lie along each axis; one axis may be -1: all that the others leave.

    Attributes:
      replica: copies of the parameters in slices that only the data centre's network (DCN) joins; 1 within a slice.
      data: copies of the parameters, each with its part of the batch.
      fsdp: parts of the batch whose devices also share out the parameters and the optimizer state.
      expert: parts of the experts of a mixture of experts; they split the batch too.
      context: parts of each sequence.
      tensor: parts of each matrix product (heads, MLP width, vocabulary) and, between blocks, of each sequence.
      topology: the TPU slice that the sizes were chosen for, such as 'v4:4x4x8'; --dry_run compiles for it. Or else
      device_kind, device_count: the machine that they were chosen for, as JAX names it; --dry_run computes with them,
        and a run on another machine says so.
    """

    replica: int = 1
    data: int = -1
    fsdp: int = 1
    expert: int = 1
    context: int = 1
    tensor: int = 1
    topology: str | None = None
    device_kind: str | None = None
    device_count: int | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes as given, in the order of `AXES`."""
        return tuple(getattr(self, axis) for axis in AXES)

    def __post_init__(self):
        sizes = self.sizes
        for axis, size in zip(AXES, sizes, strict=True):
            if type(size) is not int or (size < 1 and size != -1):
                raise UserError(
                    f"MeshConfig.{axis} = {size!r} must be a positive whole number or -1"
                )
        if self.device_count is not None and self.device_count < 1:
            raise UserError(f"MeshConfig.device_count = {self.device_count} must be at least 1")
        if self.topology and (self.device_kind or self.device_count):
            raise UserError(
                f"MeshConfig.topology = {self.topology!r} gives the device's kind and count; leave device_kind and "
                "device_count out"
            )
        if sizes.count(-1) > 1:
            raise UserError(
                f"MeshConfig may leave one axis to be filled (-1), not {sizes.count(-1)}: {sizes}"
            )

    def shape(self, device_count: int) -> tuple[int, ...]:
        """The sizes for a number of devices, with -1 filled in."""
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

    Devices of several TPU slices are split along `replica` first, so that only that axis crosses the slower network.

    Raises:
      UserError: the sizes do not fit the number of devices, or `replica` not the number of slices.
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = config.shape(len(devices))
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    replica = shape[AXES.index("replica")]
    if replica % slices:
        raise UserError(
            f"MeshConfig.replica = {replica} must be a multiple of the {slices} slices that the devices form"
        )
    if slices > 1:
        grid = mesh_utils.create_hybrid_device_mesh(
            (replica // slices, *shape[1:]), (slices,) + (1,) * (len(AXES) - 1), devices,
            allow_split_physical_axes=True,
        )  # fmt: skip
    else:
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    automatic = (jax.sharding.AxisType.Auto,) * len(AXES)
    return jax.sharding.Mesh(grid, AXES, axis_types=automatic)
