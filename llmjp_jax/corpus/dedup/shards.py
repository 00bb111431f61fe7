"""Shards as deduplication sees them: each document's place in the corpus, and the rows that a step removed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from llmjp_jax.corpus.documents import Document, parse_document
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

Progress = Callable[[int], None]

# A place is one number, so that the order of places is the order of the corpus: shard, then row.
_ROW_BITS = 40

REMOVED = np.dtype([("row", "<u8"), ("kept_shard", "<u4"), ("kept_row", "<u8")])


def shard_path(folder: str | Path, shard: int) -> Path:
    return Path(folder) / f"{shard:05d}.jsonl"


def places(shard: int, rows: np.ndarray) -> np.ndarray:
    """The places of rows of a shard: `shard << 40 | row`, uint64."""
    return np.uint64(shard << _ROW_BITS) | np.asarray(rows, np.uint64)


def shard_of(place: np.ndarray) -> np.ndarray:
    return place >> np.uint64(_ROW_BITS)


def row_of(place: np.ndarray) -> np.ndarray:
    return place & np.uint64((1 << _ROW_BITS) - 1)


def read_shard(
    folder: str | Path, shard: int, progress: Progress | None = None
) -> Iterator[tuple[int, Document]]:
    """Yields (byte offset of its line, document) for each document of a shard, in order.

    Raises:
      UserError: the shard is missing, or a line is no document; names the file and the line.
    """
    path = shard_path(folder, shard)
    offset = reported = 0
    try:
        file = path.open("rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        raise UserError(f"there is no shard {path}; run the stage that writes it first") from None
    with file:
        for number, line in enumerate(file, 1):
            yield offset, parse_document(line, f"{path}, line {number}")
            offset += len(line)
            if progress is not None and offset - reported >= 1 << 20:
                progress(offset - reported)
                reported = offset
    if progress is not None and offset > reported:
        progress(offset - reported)


def text_of(document: Document) -> str:
    """The text of a document: what its paragraphs make, where it has any."""
    # Imported here: the filters' own imports are no business of a sort.
    from llmjp_jax.corpus.filters.paragraphs import document_text

    return document_text(document)


@contextlib.contextmanager
def scratch_folder(work: str | Path, stage: str, rank: int) -> Iterator[Path]:
    """A folder for one task's temporary files; what a killed run of the same task left there is removed first."""
    folder = Path(work) / "scratch" / f"{stage}-{rank:05d}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def removed_path(folder: str | Path, shard: int) -> Path:
    return Path(folder) / "removed" / f"{shard:05d}.npy"


def write_removed(folder: str | Path, shard: int, removed: np.ndarray) -> None:
    """Writes the removed rows of one shard: dtype `REMOVED`, sorted by row."""
    with atomic_write(removed_path(folder, shard)) as file:
        np.save(file, removed)


def removed_rows(folder: str | Path, shard: int) -> np.ndarray:
    """The rows that a deduplication removed from a shard, sorted, each with the document kept in its stead.

    Fields `row`, `kept_shard`, `kept_row`; memory-mapped, so that a reader may walk beside the shard.

    Raises:
      UserError: the deduplication in `folder` has not been run for this shard.
    """
    path = removed_path(folder, shard)
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise UserError(
            f"there is no list of removed rows {path}; run the deduplication first"
        ) from None


class Rows:
    """Whether a row is among sorted rows, asked for rows in rising order."""

    def __init__(self, rows: Iterable[int]):
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def __contains__(self, row: int) -> bool:
        while self._next is not None and self._next < row:
            self._next = next(self._rows, None)
        return self._next == row
