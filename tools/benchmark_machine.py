"""What a benchmark ran on: versions, processor."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of packages."""
    return {name: importlib.metadata.version(name) for name in packages}


def machine(threads: int) -> dict[str, Any]:
    """The processor and what of the environment moves the figures."""
    model = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    flags = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
    ]
    wide = [
        name
        for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        if flags and name in flags[0].split()
    ]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "vector_instructions": wide,
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "load_average_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "xla_flags": os.environ.get("XLA_FLAGS"),
    }  # fmt: skip
