"""Sorting of more fixed-width records than memory holds: sorted runs on disk, merged block by block. Knows no documents."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

# A merge reads each run in blocks of at least this many bytes: smaller ones make a disk seek, larger ones read.
_SMALLEST_BLOCK = 64 << 10


class ExternalSort:
    """Sorts structured numpy records by numeric fields; stable, and the same for any `memory_bytes`.

    Runs of `memory_bytes` / 4 are sorted in memory and written; then up to F runs at a time are merged, reading a block
    of each, in as many passes as it takes (F = `memory_bytes` / 256 KiB, at least 2). Memory is bounded by about
    `memory_bytes`, disk by twice the records. Time grows as n log n, each pass reads and writes in order.

    The runs lie in a folder of their own inside `folder`, which is removed when `blocks()` ends or is closed, or on
    `close()`. What a killed process leaves there is never read again: a new sort takes a new folder.

        with ExternalSort(dtype, ("hash", "place"), folder) as sort:
            sort.add(records)
            for block in sort.blocks(): ...
    """

    def __init__(
        self,
        dtype: np.dtype | list,
        keys: Sequence[str],
        folder: str | Path,
        memory_bytes: int = 64 << 20,
    ):
        self.dtype = np.dtype(dtype)
        self.keys = tuple(keys)
        for key in self.keys:
            if key not in (self.dtype.names or ()) or self.dtype[key].kind not in "iuf":
                raise ValueError(
                    f"{key!r} is no numeric field of {self.dtype}; sort by one that is"
                )
        if not self.keys:
            raise ValueError("a sort needs at least one key")
        self._parent = Path(folder)
        self._folder: Path | None = None
        self._run_records = max(1, memory_bytes // 4 // self.dtype.itemsize)
        self._fan_in = max(2, memory_bytes // (4 * _SMALLEST_BLOCK))
        self._block_records = max(1, memory_bytes // 4 // self._fan_in // self.dtype.itemsize)
        self._buffer: list[np.ndarray] = []
        self._buffered = 0
        self._runs: list[Path] = []
        self._made = 0

    def __enter__(self) -> ExternalSort:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def add(self, records: np.ndarray) -> None:
        """Takes records, in the order that ties keep; copies them, so that the caller may reuse the array."""
        if records.dtype != self.dtype:
            raise ValueError(f"records are {records.dtype}; this sort holds {self.dtype}")
        for start in range(0, len(records), self._run_records):
            part = records[start : start + self._run_records]
            if self._buffered + len(part) > self._run_records:
                self._spill()
            self._buffer.append(part.copy())
            self._buffered += len(part)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields all records in order, a block at a time; once, after the last `add`."""
        try:
            if not self._runs:
                if self._buffered:
                    yield self._take_buffer()
                return
            self._spill()
            while len(self._runs) > self._fan_in:
                self._merge_pass()
            yield from merge_runs([_Run(run, self) for run in self._runs], self.keys)
        finally:
            self.close()

    def close(self) -> None:
        """Forgets all records and removes the runs."""
        self._buffer, self._buffered, self._runs = [], 0, []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _take_buffer(self) -> np.ndarray:
        records = np.concatenate(self._buffer)
        self._buffer, self._buffered = [], 0
        return _in_order(records, self.keys)

    def _new_run(self) -> Path:
        if self._folder is None:
            self._parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=".sort-", dir=self._parent))
        self._made += 1
        return self._folder / f"{self._made:06d}"

    def _spill(self) -> None:
        if not self._buffered:
            return
        run = self._new_run()
        self._take_buffer().tofile(run)
        self._runs.append(run)

    def _merge_pass(self) -> None:
        """Merges each `fan_in` neighbouring runs into one: neighbours, so that ties keep their order."""
        merged = []
        for start in range(0, len(self._runs), self._fan_in):
            group = self._runs[start : start + self._fan_in]
            run = self._new_run()
            with run.open("wb") as file:
                for block in merge_runs([_Run(path, self) for path in group], self.keys):
                    block.tofile(file)
            for path in group:
                path.unlink()
            merged.append(run)
        self._runs = merged


class _Run:
    """A sorted file, of which one block is in memory."""

    def __init__(self, path: Path, sort: ExternalSort):
        self._path, self._dtype, self._count = path, sort.dtype, sort._block_records
        self._next = 0
        self._total = path.stat().st_size // sort.dtype.itemsize
        self.block = np.empty(0, sort.dtype)

    @property
    def on_disk(self) -> bool:
        return self._next < self._total

    def fill(self) -> None:
        # Opened for each block: a merge of hundreds of runs in several processes would use up the file handles.
        if not len(self.block) and self.on_disk:
            offset = self._next * self._dtype.itemsize
            self.block = np.fromfile(self._path, self._dtype, self._count, offset=offset)
            self._next += len(self.block)

    def take(self, count: int) -> np.ndarray:
        taken, self.block = self.block[:count], self.block[count:]
        return taken


def merge_runs(runs: list[_Run], keys: Sequence[str]) -> Iterator[np.ndarray]:
    """Yields the records of sorted runs in order; equal ones in the order of their runs.

    The pivot is the least of the last records in memory of those runs that go on on disk: all that is smaller is in
    memory. Of the records equal to it, only those up to the first run that has it as its last are certain to be
    complete, so that later runs keep theirs for the next round.
    """
    while True:
        for run in runs:
            run.fill()
        runs = [run for run in runs if len(run.block)]
        if not runs:
            return
        lasts = [
            (tuple(run.block[key][-1] for key in keys), place)
            for place, run in enumerate(runs)
            if run.on_disk
        ]
        if not lasts:
            parts = [run.take(len(run.block)) for run in runs]
        else:
            pivot, pivot_place = min(lasts)
            parts = []
            for place, run in enumerate(runs):
                below, up_to = _bounds(run.block, keys, pivot)
                parts.append(run.take(up_to if place <= pivot_place else below))
        yield _in_order(np.concatenate(parts), keys)


def _bounds(block: np.ndarray, keys: Sequence[str], pivot: tuple) -> tuple[int, int]:
    """How many records of a sorted block are less than `pivot`, and how many at most equal to it."""
    low, high = 0, len(block)
    for key, value in zip(keys, pivot, strict=True):
        column = block[key][low:high]
        high = low + int(np.searchsorted(column, value, "right"))
        low = low + int(np.searchsorted(column, value, "left"))
    return low, high


def _in_order(records: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    if len(keys) == 1:
        return records[np.argsort(records[keys[0]], kind="stable")]
    return records[np.lexsort([records[key] for key in reversed(keys)])]


def read_blocks(
    path: str | Path, dtype: np.dtype | list, start: int = 0, block_bytes: int = 4 << 20
) -> Iterator[np.ndarray]:
    """Yields the records of a file of raw records from record `start` on, a block at a time."""
    dtype = np.dtype(dtype)
    count = max(1, block_bytes // dtype.itemsize)
    with Path(path).open("rb") as file:
        file.seek(start * dtype.itemsize)
        while data := file.read(count * dtype.itemsize):
            yield np.frombuffer(data, dtype)
