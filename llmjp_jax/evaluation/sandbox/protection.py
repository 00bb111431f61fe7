"""What this machine offers to hold model-written code, and the refusal where it offers too little.

Seccomp is required: it alone stops sockets, processes, programs and, without Landlock, every write. Landlock (Linux
5.13 and newer, where the container allows it) lets the code write in its own folder and hides all other files but
Python's library. A root user's run becomes user `nobody` if that user can read Python's library, and gives up root's
capabilities in any case. Not the place where these are put on: that is `child.py`, in the new process.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
import sysconfig
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.sandbox.seccomp import AUDIT_ARCHITECTURES

NOBODY = 65534

_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_CREATE_RULESET_VERSION = 1


def protection_layers() -> tuple[str, ...]:
    """The layers that a run on this machine has, such as ('seccomp', 'landlock 7', 'nobody').

    Raises UserError where there is no seccomp for this system, so that model-written code cannot be held.
    """
    machine()
    abi = landlock_abi()
    layers = ["seccomp", *([f"landlock {abi}"] if abi else [])]
    if os.geteuid() == 0:
        layers.append("nobody" if nobody_can_run(folders_parent()) else "no capabilities")
    return tuple(layers)


def machine() -> str:
    """'x86_64' or 'aarch64'; raises UserError on any other system than 64-bit Linux on one of these."""
    name = platform.machine()
    if not sys.platform.startswith("linux"):
        raise _refusal(f"{platform.system() or sys.platform} has none of Linux's kernel filters")
    if name not in AUDIT_ARCHITECTURES or sys.maxsize < 2**32 or sys.byteorder != "little":
        raise _refusal(f"its kernel filter is written for 64-bit {' and '.join(AUDIT_ARCHITECTURES)}, not for {name}")  # fmt: skip
    return name


def refused(why: str) -> UserError:
    """The error for a kernel or a container that did not let the protection be put on."""
    return _refusal(f"the protection could not be put on ({why})")


@functools.cache
def landlock_abi() -> int:
    """The version of Landlock that the kernel offers; 0 if it has none or the container forbids it."""
    version = ctypes.CDLL(None, use_errno=True).syscall(
        _LANDLOCK_CREATE_RULESET,
        ctypes.c_void_p(None),
        ctypes.c_size_t(0),
        ctypes.c_uint32(_LANDLOCK_CREATE_RULESET_VERSION),
    )
    return max(version, 0)


def folders_parent() -> Path:
    """Where the private folders of the runs are made: the system's folder for temporary files."""
    import tempfile

    return Path(tempfile.gettempdir())


def nobody_can_run(folder: Path) -> bool:
    """Whether user `nobody` exists here and reaches Python's library and `folder`."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return False
    mapped = [tuple(map(int, line.split())) for line in lines]
    if not any(first <= NOBODY < first + count for first, _, count in mapped):
        return False
    library = [sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")]
    return _open_to_all(folder, 0o1) and all(_open_to_all(Path(path), 0o5) for path in library if path)  # fmt: skip


def _open_to_all(path: Path, rights: int) -> bool:
    path = path.resolve()
    passable = all(part.stat().st_mode & 0o001 for part in path.parents)
    return passable and path.stat().st_mode & rights == rights


def _refusal(why: str) -> UserError:
    return UserError(
        f"model-written code cannot be run safely on this machine: {why}; run it on Linux with seccomp, such as a "
        "Docker container or Colab, or leave the tasks with code_exec out"
    )
