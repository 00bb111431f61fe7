"""What the devices can do, and how the host's allocator serves them."""

from __future__ import annotations

import ctypes
import functools
import time

import jax
import jax.numpy as jnp

# Dense bfloat16 peak in FLOP/s per device, by the vendors' data sheets.
_PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
}


@functools.cache
def peak_flops(device: jax.Device) -> float | None:
    """The most FLOP/s that a device can do: a data sheet's figure, or for a CPU what a matrix product reaches here.

    None for a kind that the table lacks: utilisation is then not reported.
    """
    if device.platform == "cpu":
        # Virtual CPU devices share the cores: each can do its share.
        return _measured_cpu_flops() / len(jax.local_devices(backend="cpu"))
    return rated_flops(device.device_kind)


def rated_flops(device_kind: str) -> float | None:
    """The data sheet's dense bfloat16 FLOP/s of a device by the name that JAX gives it; None for one not listed."""
    kinds = [kind for kind in _PEAK_FLOPS if device_kind.startswith(kind)]
    return _PEAK_FLOPS[max(kinds, key=len)] if kinds else None


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

    XLA's CPU client otherwise maps its temporaries anew each step: tens of thousands of page faults, a seventh of a
    small model's step. Returns False where the C library has no `mallopt`.
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
