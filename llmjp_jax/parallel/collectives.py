"""What a compiled TPU program sends between devices: how often, how much, and how long the links need for it.

Bytes are those that one device sends in one step. Times are lower bounds: every link busy, nothing waits.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

from llmjp_jax.parallel.devices import DataSheet
from llmjp_jax.parallel.hlo import Instruction, Program

# Between slices a program hands its part to the host's runtime, which does the rest over the network.
_BETWEEN_SLICES = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Interconnect:
    """The links between the devices of a program, in the order of its device ids.

    Attributes:
      coordinates: [devices, axes] place of each in its slice's torus. slices: [devices] its slice.
      shape: chips along each axis of a slice. sheet: what the links carry.
    """

    coordinates: np.ndarray
    slices: np.ndarray
    shape: tuple[int, ...]
    sheet: DataSheet

    @classmethod
    def of(cls, devices: Iterable, shape: tuple[int, ...], sheet: DataSheet) -> Interconnect:
        """Of a mesh's devices, `mesh.devices.flat`."""
        devices = list(devices)
        places = [device.coords[: len(shape)] for device in devices]
        slices = [getattr(device, "slice_index", None) or 0 for device in devices]
        return cls(np.array(places), np.array(slices), shape, sheet)

    def bandwidth(self, group: Sequence[int]) -> float:
        """Bytes per second that one device of a group within a slice can send to it.

        A torus axis that the group fills and that closes to a ring counts twice, any other that it spans once.
        """
        links = 0
        for axis, size in enumerate(self.shape):
            places = set(self.coordinates[list(group), axis].tolist())
            if len(places) > 1:
                links += 2 if len(places) == size and self._is_ring(axis) else 1
        return links * self.sheet.link_bandwidth

    def _is_ring(self, axis: int) -> bool:
        # Cubes of 4 x 4 x 4 close through optical switches; a two-dimensional pod only over its whole width.
        if len(self.shape) == 3:
            return all(size % 4 == 0 for size in self.shape)
        return self.shape[axis] == 16

    def by_slice(self, group: Sequence[int]) -> tuple[list[int], int]:
        """The members in the first member's slice, and the number of slices that the group spans."""
        own = self.slices[group[0]]
        return [i for i in group if self.slices[i] == own], len(set(self.slices[group].tolist()))


@dataclasses.dataclass(frozen=True)
class Collective:
    """What one collective, or all of one kind, cost in a step.

    Attributes:
      kind: of `KINDS`. operation: where it comes from in the program, as JAX named it.
      runs: how often one starts; bytes: what a device sends over the slice's links, network_bytes: over the data
        centre's network; seconds, network_seconds: the least that this takes; None: the data sheet does not say.
      certain: False where a loop's count could not be read: its body is then counted once.
    """

    kind: str
    operation: str
    runs: int
    bytes: float
    network_bytes: float
    seconds: float
    network_seconds: float | None
    certain: bool = True

    def times(self, runs: int) -> Collective:
        """The same, `runs` times as often."""
        network = None if self.network_seconds is None else runs * self.network_seconds
        return dataclasses.replace(
            self, runs=runs * self.runs, bytes=runs * self.bytes, network_bytes=runs * self.network_bytes,
            seconds=runs * self.seconds, network_seconds=network,
        )  # fmt: skip

    def __add__(self, other: Collective) -> Collective:
        network = None
        if self.network_seconds is not None and other.network_seconds is not None:
            network = self.network_seconds + other.network_seconds
        return Collective(
            self.kind, "", self.runs + other.runs, self.bytes + other.bytes,
            self.network_bytes + other.network_bytes, self.seconds + other.seconds, network,
            self.certain and other.certain,
        )  # fmt: skip


def read_collectives(text: str, interconnect: Interconnect) -> list[Collective]:
    """Every collective of a compiled program's text, with how often a step runs it."""
    seen, found = set(), []
    for instruction, computation, loops in Program.parse(text).walk():
        kind = _kind(instruction, computation)
        if kind is None:
            continue
        # XLA cuts a gathering into pieces that run beside products: one channel, several instructions.
        channel = re.search(r"channel_id=(\d+)", instruction.attributes)
        key = (channel[1] if channel else instruction.name, loops)
        if key in seen:
            continue
        seen.add(key)
        once = _cost(instruction, kind, interconnect)
        name = re.search(r'op_name="([^"]*)"', instruction.attributes)
        found.append(
            dataclasses.replace(
                once.times(math.prod(count or 1 for count in loops)),
                operation=f"{name[1] if name else instruction.name} {instruction.largest()}",
                certain=None not in loops,
            )
        )
    return found


def by_kind(found: Iterable[Collective]) -> list[Collective]:
    """The sum of each kind, in the order of `KINDS`."""
    sums: dict[str, Collective] = {}
    for one in found:
        sums[one.kind] = sums[one.kind] + one if one.kind in sums else one
    return [sums[kind] for kind in KINDS if kind in sums]


def one_collective(
    kind: str, operation: str, size: float, group: Sequence[int], interconnect: Interconnect
) -> Collective:
    """A collective over a group of device ids, run once, by the fastest known way: rings within slices, then across.

    Args:
      size: bytes of the whole array: the result of an all-gather, the operand of the others.
    """
    inner, slices = interconnect.by_slice(group)
    rounds = 2 if kind == "all-reduce" else 1
    if kind == "collective-permute":
        own = size if len(inner) > 1 else 0.0
        # XLA shifts both ways round a ring at once.
        seconds = own / (2 * interconnect.sheet.link_bandwidth)
        across = size if slices > 1 else 0.0
    else:
        own = rounds * size * (len(inner) - 1) / len(inner)
        seconds = own / interconnect.bandwidth(inner) if own else 0.0
        across = rounds * size / len(inner) * (slices - 1) / slices
    return Collective(
        kind, operation, 1, own, across, seconds, _network_seconds(across, interconnect)
    )


def _network_seconds(across: float, interconnect: Interconnect) -> float | None:
    if not across:
        return 0.0
    speed = interconnect.sheet.network_bandwidth
    return across / speed if speed else None


def _cost(instruction: Instruction, kind: str, interconnect: Interconnect) -> Collective:
    if instruction.opcode == "send":
        slices = len(set(interconnect.slices.tolist()))
        rounds = 2 if kind == "all-reduce" else 1
        across = rounds * instruction.arrays()[0] * (slices - 1) / slices
        return Collective(kind, "", 1, 0.0, across, 0.0, _network_seconds(across, interconnect))
    group = _group(instruction.attributes)
    size = float(sum(_payload(instruction)))
    if instruction.opcode.startswith("reduce-scatter"):
        size *= len(group)
    return one_collective(kind, "", size, group, interconnect)


def _kind(instruction: Instruction, computation: str) -> str | None:
    opcode = instruction.opcode.removesuffix("-start")
    if opcode == "send":
        between = _BETWEEN_SLICES.search(instruction.attributes)
        kind = between and between[1].lower().replace("_", "-")
        return kind if kind in KINDS else "collective-permute" if kind else None
    if opcode == "ragged-all-to-all":
        return "all-to-all"
    # A TPU program writes a reduce-scatter as an all-reduce within a fusion of this name.
    if opcode == "all-reduce" and computation.startswith("all-reduce-scatter"):
        return "reduce-scatter"
    return opcode if opcode in KINDS else None


def _payload(instruction: Instruction) -> Iterable[int]:
    """Bytes of the arrays that a collective gives; a `-start` lists its operands before them."""
    arrays = instruction.arrays()
    if instruction.opcode in ("all-gather-start", "collective-permute-start"):
        count = len(instruction.operands)
        return arrays[count : 2 * count]
    return arrays


def _group(attributes: str) -> list[int]:
    """Device ids of the first group: `{{0,2},{1,3}}`, `[2,4]<=[4,2]T(1,0)` or `mesh['a'=4,'b'=2] {'b'}`."""
    if pairs := re.search(r"source_target_pairs=\{(.*?)\}\}", attributes):
        for source, target in re.findall(r"\{(\d+),(\d+)", pairs[1]):
            if source != target:
                return [int(source), int(target)]
        return [0]
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return [int(member) for member in listed[1].split(",")]
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", attributes)
    if iota:
        groups, sizes = (_numbers(iota[i]) for i in (1, 2))
        ids = np.arange(math.prod(sizes)).reshape(sizes)
        ids = ids.transpose(_numbers(iota[3])) if iota[3] else ids
        return ids.reshape(groups)[0].tolist()
    named = re.search(
        r"replica_groups=mesh\[([^\]]+)\](?:, device_ids=\S+)? \{([^}]*)\}", attributes
    )
    if named:
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
        ids = np.arange(math.prod(sizes.values())).reshape(list(sizes.values()))
        wanted = re.findall(r"'(\w+)'", named[2])
        return ids[tuple(slice(None) if name in wanted else 0 for name in sizes)].ravel().tolist()
    raise ValueError(f"no groups of devices in: {attributes[:200]}")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
