"""Arrays that are dear to compute and are kept on disk: computed once, then memory-mapped, and never believed unseen.

A folder NAME.KEY holds them as .npy files, KEY being the hash of everything they depend on, and `identity.json` says
that in words, with each file's size and CRC-32. The folder takes its name by one rename when all is written. One whose
files are not what `identity.json` says is thrown away and computed again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from llmjp_jax.errors import UserError

_IDENTITY = "identity.json"
_PIECE = 1 << 24  # bytes


def stored_arrays(
    place: Path, identity: dict, build: Callable[[Path], None]
) -> dict[str, np.ndarray]:
    """The arrays that `build` computes, by name, memory-mapped and read-only.

    Every file is read once for its checksum: about a second for each gigabyte. Several processes may ask at once: one
    builds and the others wait for it, if they share a file system with locks; if not, each builds the same.

    Args:
      place: the folder's path without its key.
      identity: everything the arrays depend on, as JSON.
      build: writes NAME.npy for each array into the folder that it is given.

    Raises:
      UserError: the folder cannot be written.
    """
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder = place.with_name(f"{place.name}.{key}")
    arrays = _opened(folder, identity)
    if arrays is not None:
        return arrays
    try:
        with locked(folder) as alone:
            arrays = _opened(folder, identity)
            if arrays is None:
                _build(folder, identity, build, alone)
                arrays = _opened(folder, identity)
    except OSError as error:
        raise UserError(
            f"cannot write {folder} ({error.strerror or error}), which the order of the data is kept in; make the "
            "folder writable, or free some space"
        ) from error
    if arrays is None:
        raise UserError(f"{folder} is not what was just written; check its disk")
    return arrays


def _build(folder: Path, identity: dict, build: Callable[[Path], None], alone: bool) -> None:
    if alone:
        for left in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
    temporary = Path(tempfile.mkdtemp(".tmp", f".{folder.name}.", folder.parent))
    try:
        build(temporary)
        files = {path.name: _described(path) for path in sorted(temporary.glob("*.npy"))}
        contents = {"identity": identity, "files": files}
        (temporary / _IDENTITY).write_text(json.dumps(contents, indent=1))
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        if _opened(folder, identity) is None:
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    except OSError as error:
        # Where there are no locks, another process may have been first.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _opened(folder: Path, identity: dict) -> dict[str, np.ndarray] | None:
    """The arrays of a folder that is whole and of this identity; None for any other."""
    try:
        contents = json.loads((folder / _IDENTITY).read_bytes())
        if contents["identity"] != json.loads(json.dumps(identity)):
            return None
        paths = {folder / name: described for name, described in contents["files"].items()}
        if any(_described(path) != described for path, described in paths.items()):
            return None
        return {path.stem: _mapped(path) for path in paths}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def _described(path: Path) -> dict:
    size = checksum = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            size += len(piece)
            checksum = zlib.crc32(piece, checksum)
    return {"bytes": size, "crc32": checksum}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Holds a lock on a file that stays beside the folder; False where the file system has no locks.

    The file stays because, were it removed, two processes could hold locks of one name.
    """
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            alone = True
        except OSError:
            alone = False
        yield alone
