"""TPU slices by name, 'v4:4x4x8': how many devices of which kind, and the devices themselves for compiling ahead.

Kind and count need nothing; `devices` needs libtpu, and no TPU: XLA then compiles for the slice on any x86 Linux machine.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import re

import jax

from llmjp_jax.errors import UserError
from llmjp_jax.parallel.xla_log import caught_log

# Generation → the name that JAX gives its devices, dimensions of the torus, and what libtpu must be told.
_GENERATIONS = {
    "v4": ("TPU v4", 3, {"chip_config_name": "megacore"}),  # else two devices a chip
    "v5e": ("TPU v5 lite", 2, {}),
    "v5p": ("TPU v5", 3, {}),
    "v6e": ("TPU v6 lite", 2, {}),
}
# A host's chips; libtpu builds slices of whole hosts.
_HOST = (2, 2, 1)


@dataclasses.dataclass(frozen=True)
class Topology:
    """One or more equal TPU slices.

    Attributes:
      name: 'v4:4x4x8', 'v5p:4x4x4', 'v5e:16x16', 'v6e:16x16' ...: generation and chips along each axis of the torus.
      slices: how many of them, joined by the data centre's network.
    """

    name: str
    slices: int = 1

    def __post_init__(self):
        generation, _, sizes = self.name.partition(":")
        if generation not in _GENERATIONS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", sizes):
            raise UserError(
                f"{self.name!r} is not a TPU topology; write a generation ({', '.join(_GENERATIONS)}) and the chips "
                "along each axis, as 'v4:4x4x8' or 'v5e:16x16'"
            )
        _, axes, _ = _GENERATIONS[generation]
        if len(self.shape) != axes:
            example = "x".join("4" * axes)
            raise UserError(
                f"{self.name!r} has {len(self.shape)} axes; a {generation} slice has {axes}, as '{generation}:{example}'"
            )
        if any(size % least for size, least in zip(self.shape, _HOST, strict=False)):
            raise UserError(
                f"{self.name!r} is no slice of whole hosts; the first two axes must be even"
            )
        if type(self.slices) is not int or self.slices < 1:
            raise UserError(f"{self.slices!r} slices of {self.name}: must be a whole number from 1")

    @property
    def shape(self) -> tuple[int, ...]:
        """Chips along each axis of the torus of a slice."""
        return tuple(int(size) for size in self.name.partition(":")[2].split("x"))

    @property
    def device_kind(self) -> str:
        """The name that JAX gives the devices."""
        return _GENERATIONS[self.name.partition(":")[0]][0]

    @property
    def device_count(self) -> int:
        """Chips of all slices; each is one device."""
        return math.prod(self.shape) * self.slices

    def devices(self) -> list[jax.Device]:
        """The devices, for shardings and compilation; they cannot run anything.

        Raises:
          UserError: libtpu is not installed, or refuses the topology.
        """
        if importlib.util.find_spec("libtpu") is None:
            raise UserError(
                f"compiling for {self.name} needs libtpu, which is not installed: pip install -e '.[tpu]'"
            )
        # libtpu otherwise lets one process a machine in, and asks a server that is not there for its type.
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v4-8")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        # Warnings too, among them XLA's of arrays that it must make whole: `rematerialized` reads them.
        os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "1")
        os.environ.setdefault("TPU_MIN_LOG_LEVEL", "1")
        from jax.experimental import topologies

        options = dict(_GENERATIONS[self.name.partition(":")[0]][2])
        if self.slices > 1:
            options["num_slices"] = self.slices
        try:
            with caught_log():
                described = topologies.get_topology_desc(
                    platform="tpu", topology_name=self.name, **options
                )
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"libtpu does not know the slice {self.name}: {reason}") from error
        return list(described.devices)
