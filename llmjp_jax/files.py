"""Files that appear whole or not at all, their checksums, and where the repository lies and stands."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Yields a file that takes the name `path` when the body ends well, and vanishes when it does not.

    The temporary file lies beside `path` (`.NAME.PID.tmp`), so that the rename stays on one file system. Text modes
    write UTF-8 with `\\n` line ends.

    Raises:
      OSError: the folder cannot be written to, or is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with temporary.open(mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sha256_file(path: str | os.PathLike) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def repository_root() -> Path:
    """The folder that holds `llmjp_jax/`, `gin_configs/` and `data/`."""
    return Path(__file__).resolve().parents[1]


def git_commit() -> str | None:
    """The commit of the code, with `-dirty` if tracked files were changed since; None outside a clone."""
    git = ["git", "-C", str(repository_root()), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        # --match of nothing: a tag's name is no commit.
        found = subprocess.run([*git, "--match="], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
