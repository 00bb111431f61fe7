"""Python source files below a folder: one file is one document."""

from __future__ import annotations

import os
import platform
import sysconfig
from collections.abc import Collection, Iterator
from pathlib import Path

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.readers.broken import BrokenRecord


def standard_library() -> str:
    """The folder of the running Python's standard library."""
    return sysconfig.get_path("stdlib")


def read_python_files(
    path: str | os.PathLike,
    *,
    source: str | None = None,
    licence: str,
    skip_folders: Collection[str] = (),
) -> Iterator[tuple[str, Document | BrokenRecord]]:
    """Yields (path, document) of each *.py file, sorted by path; a file that is not UTF-8 is broken.

    Args:
      source: what the documents' ids begin with; None: `python-<version>` of the running Python.
      licence: of all files.
      skip_folders: names of folders that are left out, wherever they lie.
    """
    root, skip = Path(path), set(skip_folders)
    source = source or f"python-{platform.python_version()}"
    files = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in skip]
        relative = Path(folder).relative_to(root)
        files += [relative / name for name in names if name.endswith(".py")]
    for file in sorted(files, key=lambda file: file.parts):
        position = file.as_posix()
        try:
            text = (root / file).read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            yield position, BrokenRecord(root, position, f"the file is not UTF-8 ({error})")
        else:
            meta = {"id": f"{source}/{position}", "source": source, "licence": licence}
            yield position, {"text": text, "meta": meta}
