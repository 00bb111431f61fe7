"""Compilation of the kernels of deduplication to machine code. Imports numba, so it is imported only by their modules."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numba
from numba import types
from numba.extending import intrinsic


def compiled(function: Callable) -> Callable:
    """Compiles on first call and keeps the machine code on disk for the next process."""
    given = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(_cache_folder())
    try:
        return numba.njit(cache=True, nogil=True)(function)
    finally:
        numba.config.CACHE_DIR = given


@functools.cache
def _cache_folder() -> Path:
    """A folder for machine code, named by the source of all kernels.

    numba itself looks at the file of a function alone: after a change to a kernel that it calls from another file, it
    would go on with the old code. The folder is NUMBA_CACHE_DIR, or beside the source, or in the user's cache; where
    none of these may be written to (a read-only container), one of this process's own.
    """
    here = Path(__file__).parent
    sources = [path.read_bytes() for path in sorted(here.glob("*.py"))]
    kernels = b"".join(source for source in sources if b"@compiled" in source)
    name = f"kernels-{hashlib.sha256(kernels).hexdigest()[:16]}"
    for base in (numba.config.CACHE_DIR or here / "__pycache__", "~/.cache/llmjp_jax"):
        try:
            folder = Path(base).expanduser() / name
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except (OSError, RuntimeError):  # RuntimeError: there is no home
            continue
    return Path(tempfile.mkdtemp(prefix="llmjp_jax-kernels-"))


@intrinsic
def count_ones(typing_context, word):
    """The number of set bits of a uint64: one instruction, where numba has no function for it."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate
