"""The raw files of a corpus, cut into parts that tasks can read side by side."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.readers import READERS, reader_of
from llmjp_jax.corpus.readers.jsonl import COMPRESSIONS
from llmjp_jax.errors import UserError

SPLIT_BYTES = 64 << 20
# Each part of a dump unpacks all of it, which costs a twentieth of parsing it: parts are larger.
_DUMP_SPLITS = 4
# Folders that a reader takes whole.
_FOLDER_READERS = frozenset({"python_files", "wikipedia_tfds"})


@dataclasses.dataclass(frozen=True)
class Split:
    """A part of a raw file.

    Attributes:
      path: absolute. name: as the user wrote it, relative to the input folder.
      reader: a name in `READERS`.
      size: bytes.
      options: what tells the reader which part; {}: the whole file.
    """

    path: str
    name: str
    reader: str
    size: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def find_splits(
    input_dir: str | os.PathLike,
    patterns: Sequence[str],
    reader: str | None,
    split_bytes: int = SPLIT_BYTES,
    without: str | os.PathLike | None = None,
) -> list[Split]:
    """The parts of all files that match, each file once, in the order of the patterns, then of names.

    Args:
      input_dir: what the patterns are relative to; `~` is the home folder.
      patterns: paths, also with `*`, `?`, `[...]` and `**`.
      reader: of all files; None: by each file's name.
      split_bytes: plain JSON lines are cut into parts of this size, dumps of Wikipedia into parts of four times it; any
        other file is one part.
      without: a folder whose files do not count: the output's.

    Raises:
      UserError: a pattern matches no file, or a file's name does not say what it holds.
    """
    if reader is not None and reader not in READERS:
        raise UserError(f"there is no reader {reader}; known are: {', '.join(READERS)}")
    base = Path(input_dir).expanduser()
    outside = None if without is None else Path(without).resolve()
    splits: list[Split] = []
    seen: set[Path] = set()
    for pattern in patterns:
        for path in _matching(base, pattern, reader in _FOLDER_READERS, outside):
            resolved = path.resolve()  # a link to a file is that file
            if resolved not in seen:
                seen.add(resolved)
                splits += _parts(path, base, reader or reader_of(path), split_bytes)
    return splits


def grouped(splits: Sequence[Split], split_bytes: int) -> list[tuple[Split, ...]]:
    """Splits for each task, in order: neighbours that together are no larger than one may be share a task."""
    groups: list[tuple[Split, ...]] = []
    size = 0
    for split in splits:
        if groups and size + split.size <= split_bytes:
            groups[-1] += (split,)
            size += split.size
        else:
            groups.append((split,))
            size = split.size
    return groups


def _matching(folder: Path, pattern: str, folders: bool, outside: Path | None) -> list[Path]:
    wanted = Path(pattern).expanduser()
    if wanted.is_absolute():
        folder, wanted = Path(wanted.anchor), wanted.relative_to(wanted.anchor)
    found = [folder] if str(wanted) == "." else sorted(folder.glob(str(wanted)))
    paths = [
        path
        for path in found
        if (path.is_dir() if folders else path.is_file())
        and (outside is None or not path.resolve().is_relative_to(outside))
    ]
    if not paths:
        kind = "folder" if folders else "file"
        raise UserError(
            f"no {kind} matches {folder / wanted}; check the path, or fetch the raw text with tools/download.py"
        )
    return paths


def _parts(path: Path, base: Path, reader: str, split_bytes: int) -> list[Split]:
    resolved = path.resolve()
    name = str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
    size = 0 if path.is_dir() else path.stat().st_size
    common = {"path": str(resolved), "name": name, "reader": reader}
    if reader == "wikipedia_dump" and size > split_bytes * _DUMP_SPLITS:
        parts = -(-size // (split_bytes * _DUMP_SPLITS))
        return [
            Split(**common, size=size // parts, options={"part": part, "parts": parts})
            for part in range(parts)
        ]
    if reader == "jsonl" and size > split_bytes and resolved.suffix not in COMPRESSIONS:
        bounds = [*range(0, size, split_bytes), size]
        return [
            Split(**common, size=end - start, options={"start": start, "end": end})
            for start, end in zip(bounds, bounds[1:], strict=False)
        ]
    return [Split(**common, size=size)]
