"""No process outlives the one that it was forked from, even when that is killed by kill -9. Linux alone can do it.

datatrove's workers and its manager would otherwise wait for ever when the run is killed, and hold its output open (seen).
A fork server imports this module before it forks workers; it ends by itself when the run has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1
# In the fork server, always; elsewhere only inside `none_left`.
_enabled = multiprocessing.current_process().name == "MainProcess" and "forkserver" in " ".join(
    sys.orig_argv
)


@contextlib.contextmanager
def none_left() -> Iterator[None]:
    """Processes that are forked in the body die with this one."""
    global _enabled
    before, _enabled = _enabled, True
    try:
        yield
    finally:
        _enabled = before


def _in_child() -> None:
    if _enabled and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


os.register_at_fork(after_in_child=_in_child)
