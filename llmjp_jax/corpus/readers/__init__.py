"""Readers: a raw file in, (position, record) out, `BrokenRecord` in place of what cannot be read.

    for position, record in read_raw(path, "jsonl"): ...

`READERS` names them; a file's name chooses one where the user does not. Records of most readers are rows as they stand in the file,
which `reformat` turns into documents; readers in `DOCUMENT_READERS` make documents themselves.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.errors import UserError

# name -> module, function. Modules are imported when they are used: each brings a library of its own.
READERS = {
    "jsonl": ("jsonl", "read_jsonl"),
    "parquet": ("parquet", "read_parquet"),
    "wikipedia_dump": ("wikipedia_dump", "read_wikipedia_dump"),
    "wikipedia_tfds": ("wikipedia_tfds", "read_wikipedia_tfds"),
    "warc": ("warc", "read_warc"),
    "tatoeba": ("tatoeba", "read_tatoeba"),
    "python_files": ("python_files", "read_python_files"),
}
DOCUMENT_READERS = frozenset(READERS) - {"jsonl", "parquet"}
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".warc": "warc",
    ".xml": "wikipedia_dump",
}
_COMPRESSIONS = {".gz", ".zst", ".bz2"}


def reader_of(path: str | os.PathLike) -> str:
    """The reader for a file's name, such as `jsonl` for `a.jsonl.zst`.

    Raises:
      UserError: the name says nothing.
    """
    suffixes = [suffix for suffix in Path(path).suffixes if suffix not in _COMPRESSIONS]
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    raise UserError(
        f"{path}: its name does not say what it holds; known are {', '.join(_SUFFIXES)}, also with .gz, .zst or "
        f".bz2, or give one of the readers {', '.join(READERS)}"
    )


def read_raw(
    path: str | os.PathLike, reader: str, options: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, dict[str, Any] | BrokenRecord]]:
    """Yields (position, record) of a raw file, or (position, `BrokenRecord`).

    Args:
      options: keyword arguments of the reader.

    Raises:
      UserError: there is no such reader, or it needs what is not there.
    """
    if reader not in READERS:
        raise UserError(f"there is no reader {reader}; known are: {', '.join(READERS)}")
    return reader_function(reader)(path, **(options or {}))


def reader_function(reader: str) -> Callable[..., Iterator[Any]]:
    module, name = READERS[reader]
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


__all__ = [
    "DOCUMENT_READERS",
    "READERS",
    "BrokenRecord",
    "read_raw",
    "reader_function",
    "reader_of",
]
