"""Compilation of the kernels of deduplication to machine code. Imports numba, so it is imported only by their modules."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numba
from numba import types
from numba.extending import intrinsic


def compiled(function: Callable) -> Callable:
    """Compiles on first call and keeps the machine code on disk for the next process.

    numba keeps it beside the source or in the user's cache folder; where neither may be written to (a read-only
    installation in a container), in the folder for temporary files.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        numba.config.CACHE_DIR = tempfile.mkdtemp(prefix="llmjp_jax-numba-")
        return numba.njit(cache=True, nogil=True)(function)


@intrinsic
def count_ones(typing_context, word):
    """The number of set bits of a uint64: one instruction, where numba has no function for it."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate
