"""The directory of an export: it appears whole, and takes the place of nothing but an earlier export."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from llmjp_jax.checkpoints.safetensors_files import read_header
from llmjp_jax.errors import UserError

# In the header of every weight file; transformers wants the format, `written_by` marks an export of ours.
METADATA = {"format": "pt", "written_by": "llmjp_jax"}
_SUFFIXES = {".json", ".safetensors", ".model", ".txt", ".jinja"}


@contextlib.contextmanager
def new_directory(directory: Path, overwrite: bool) -> Iterator[Path]:
    """Yields an empty directory that takes the name `directory` when the body ends well, and vanishes when it does not.

    Raises:
      UserError: `directory` is a file, or holds something that is not an export of ours (see `overwrite`).
    """
    directory = directory.resolve()
    _check_replaceable(directory, overwrite)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _check_replaceable(directory, overwrite)
        _swap(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _swap(temporary: Path, directory: Path) -> None:
    if not directory.exists() or not any(directory.iterdir()):
        temporary.replace(directory)
        return
    old = directory.with_name(f".{directory.name}.{os.getpid()}.old")
    directory.replace(old)
    try:
        temporary.replace(directory)
    except BaseException:
        old.replace(directory)
        raise
    shutil.rmtree(old)


def _check_replaceable(directory: Path, overwrite: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file; give another directory for the export")
    if not directory.exists() or not any(directory.iterdir()) or _is_export(directory):
        return
    if not overwrite:
        raise UserError(
            f"{directory} holds files that are not an earlier export; choose another directory, or overwrite it"
        )
    if not any((directory / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise UserError(
            f"{directory} is not a model's directory, so it is not overwritten; choose another directory"
        )


def _is_export(directory: Path) -> bool:
    """Whether everything in a directory may have been written by `save_hf`, and the weights surely were."""
    files = list(directory.iterdir())
    weights = [file for file in files if file.suffix == ".safetensors"]
    if not weights or any(file.suffix not in _SUFFIXES or not file.is_file() for file in files):
        return False
    try:
        return all(
            read_header(file)[1].get("written_by") == METADATA["written_by"] for file in weights
        )
    except UserError:
        return False
