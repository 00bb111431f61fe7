"""What the devices can do, and how the host's allocator serves them."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import time

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSheet:
    """What one device has, as its vendor states it; bandwidths in bytes per second.

    Attributes:
      peak_flops: dense bfloat16 FLOP/s.
      memory_bytes: HBM. program_bytes: the part of it that XLA gives to a program, as it says when one needs more
        (libtpu 0.0.42); None where it is not known, as on GPUs, where the allocator's settings decide.
      memory_bandwidth: of HBM.
      links, link_bandwidth: to other devices of the slice or node, and what one carries in one direction.
      torus: dimensions of the torus that the links form, two links each; None: a switch joins all devices.
      network_bandwidth: of the data centre's network (DCN), one direction, per device; None: not in the data sheet.
      source: where the figures are from.
    """

    peak_flops: float
    memory_bytes: float
    memory_bandwidth: float
    links: int
    link_bandwidth: float
    torus: int | None
    network_bandwidth: float | None
    source: str
    program_bytes: float | None = None


_GIB = 2**30
_TPU_V5E = DataSheet(
    peak_flops=197e12, memory_bytes=16 * _GIB, program_bytes=15.75 * _GIB, memory_bandwidth=819e9, links=4,
    link_bandwidth=50e9, torus=2, network_bandwidth=25e9 / 8,
    source="cloud.google.com/tpu/docs/v5e: 1600 Gbps over 4 ports, 6.4 Tbps of DCN for 256 chips",
)  # fmt: skip
_TPU_V5P = DataSheet(
    peak_flops=459e12, memory_bytes=95 * _GIB, program_bytes=95.74 * _GIB, memory_bandwidth=2765e9, links=6,
    link_bandwidth=100e9, torus=3, network_bandwidth=50e9 / 8,
    source="cloud.google.com/tpu/docs/v5p: 4800 Gbps over a 3D torus, 50 Gbps of DCN a chip",
)  # fmt: skip
_TPU_V6E = DataSheet(
    peak_flops=918e12, memory_bytes=32 * _GIB, program_bytes=31.25 * _GIB, memory_bandwidth=1638e9, links=4,
    link_bandwidth=100e9, torus=2, network_bandwidth=None,
    source="cloud.google.com/tpu/docs/v6e: 800 GB/s both ways over 4 ports",
)  # fmt: skip
_A100 = DataSheet(
    peak_flops=312e12, memory_bytes=40e9, memory_bandwidth=1555e9, links=12, link_bandwidth=25e9, torus=None,
    network_bandwidth=25e9, source="NVIDIA A100 (SXM, 40 GB) and DGX A100 data sheets: 8 x 200 Gb/s a node",
)  # fmt: skip
_A100_80 = dataclasses.replace(
    _A100, memory_bytes=80e9, memory_bandwidth=2039e9,
    source="NVIDIA A100 (SXM, 80 GB) and DGX A100 data sheets: 8 x 200 Gb/s a node",
)  # fmt: skip
_H100 = DataSheet(
    peak_flops=989e12, memory_bytes=80e9, memory_bandwidth=3350e9, links=18, link_bandwidth=25e9, torus=None,
    network_bandwidth=50e9, source="NVIDIA H100 (SXM) and DGX H100 data sheets: 8 x 400 Gb/s a node",
)  # fmt: skip

# By the name that JAX gives a device, or its beginning.
_DATA_SHEETS = {
    "TPU v4": DataSheet(
        peak_flops=275e12, memory_bytes=32 * _GIB, program_bytes=30.75 * _GIB, memory_bandwidth=1200e9, links=6,
        link_bandwidth=50e9, torus=3, network_bandwidth=None,
        source="cloud.google.com/tpu/docs/v4; arXiv 2304.01433, table 4: 6 links of 50 GB/s",
    ),
    "TPU v5 lite": _TPU_V5E,
    "TPU v5e": _TPU_V5E,
    "TPU v5": _TPU_V5P,
    "TPU v5p": _TPU_V5P,
    "TPU v6 lite": _TPU_V6E,
    "TPU v6e": _TPU_V6E,
    "NVIDIA A100": _A100,
    "NVIDIA A100-SXM4-80GB": _A100_80,
    "NVIDIA A100 80GB": _A100_80,
    "NVIDIA H100": _H100,
    "NVIDIA H200": dataclasses.replace(
        _H100, memory_bytes=141e9, memory_bandwidth=4800e9,
        source="NVIDIA H200 (SXM) and DGX H200 data sheets: 8 x 400 Gb/s a node",
    ),
}  # fmt: skip


def data_sheet(device_kind: str) -> DataSheet | None:
    """The data sheet of a device by the name that JAX gives it; None for one not listed."""
    kinds = [kind for kind in _DATA_SHEETS if device_kind.startswith(kind)]
    return _DATA_SHEETS[max(kinds, key=len)] if kinds else None


@functools.cache
def peak_flops(device: jax.Device) -> float | None:
    """The most FLOP/s that a device can do: a data sheet's figure, or for a CPU what a matrix product reaches here.

    None for a kind that the table lacks: utilisation is then not reported.
    """
    if device.platform == "cpu":
        # Virtual CPU devices share the cores: each can do its share.
        return _measured_cpu_flops() / len(jax.local_devices(backend="cpu"))
    sheet = data_sheet(device.device_kind)
    return sheet and sheet.peak_flops


@functools.cache
def _measured_cpu_flops(size: int = 1024, rounds: int = 8) -> float:
    """FLOP/s of the best of a few float32 products [size, size]."""
    x = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    product(x, x).block_until_ready()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        product(x, x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def keep_freed_memory() -> bool:
    """Tells glibc to keep memory that a training step frees for the next step; call it before the first computation.

    XLA's CPU client otherwise maps its temporaries anew each step: tens of thousands of page faults. Returns False
    where the C library has no `mallopt`.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    arena_max, mmap_threshold, trim_threshold, top_pad = -8, -3, -1, -2
    settings = (
        (arena_max, 1),
        (mmap_threshold, 1 << 30),
        (trim_threshold, (1 << 31) - 1),
        (top_pad, 1 << 28),
    )
    accepted = [mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(accepted)
