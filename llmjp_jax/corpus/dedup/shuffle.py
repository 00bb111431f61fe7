"""Records on their way from the tasks of one stage to those of the next: one file a sender, a section a receiver.

Not sorted: the receiver sorts. A sender of S writes one file for all P receivers, not P files.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from llmjp_jax.files import atomic_write

_INDEX = np.dtype([("records", "<u8"), ("blobs", "<u8")])


class ShuffleWriter:
    """Writes `NAME.records`, `NAME.blobs` (where records carry text) and `NAME.index.npy`, whole or not at all.

    Records are held until `memory_bytes` are there, then written as one chunk, ordered by receiver. The index, written
    last, holds for each chunk where each receiver's section starts: `[chunks, partitions + 1]`, in records and in bytes
    of blobs.

    A record with a blob has the field `blob_bytes`, which this class fills.
    """

    def __init__(
        self,
        path: str | Path,
        partitions: int,
        dtype: np.dtype | list,
        *,
        memory_bytes: int = 32 << 20,
        blobs: bool = False,
    ):
        self._path = Path(path)
        self._partitions, self._dtype, self._limit = partitions, np.dtype(dtype), memory_bytes
        self._receivers: list[np.ndarray] = []
        self._records: list[np.ndarray] = []
        self._blobs: list[bytes] = []
        self._held = 0
        self._written = np.zeros((), _INDEX)
        self._index: list[np.ndarray] = []
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._temporaries = {
            kind: self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}.{kind}")
            for kind in (("records", "blobs") if blobs else ("records",))
        }
        self._files = {kind: path.open("wb") for kind, path in self._temporaries.items()}

    def __enter__(self) -> ShuffleWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            for file in self._files.values():
                file.close()
            for temporary in self._temporaries.values():
                temporary.unlink(missing_ok=True)

    def add(self, receivers: np.ndarray, records: np.ndarray, blobs: Iterable[bytes] = ()) -> None:
        """Sends `records[i]` (with `blobs[i]`) to the partition `receivers[i]`; copies what it is given."""
        if not len(records):
            return
        records = records.astype(self._dtype, copy=True)
        if "blobs" in self._files:
            blobs = list(blobs)
            records["blob_bytes"] = [len(blob) for blob in blobs]
            self._blobs += blobs
            self._held += int(records["blob_bytes"].sum()) + 48 * len(blobs)
        self._receivers.append(receivers.astype(np.int64))
        self._records.append(records)
        self._held += records.nbytes + 8 * len(records)
        if self._held >= self._limit:
            self._flush()

    def _flush(self) -> None:
        if not self._records:
            return
        receivers, records = np.concatenate(self._receivers), np.concatenate(self._records)
        order = np.argsort(receivers, kind="stable")
        records = records[order]
        starts = np.searchsorted(receivers[order], np.arange(self._partitions + 1))
        index = np.zeros(self._partitions + 1, _INDEX)
        index["records"] = self._written["records"] + starts.astype(np.uint64)
        records.tofile(self._files["records"])
        self._written["records"] += len(records)
        if "blobs" in self._files:
            ends = np.concatenate([[0], np.cumsum(records["blob_bytes"], dtype=np.uint64)])
            index["blobs"] = self._written["blobs"] + ends[starts].astype(np.uint64)
            self._files["blobs"].writelines(self._blobs[place] for place in order)
            self._written["blobs"] += ends[-1].astype(np.uint64)
        self._index.append(index)
        self._receivers, self._records, self._blobs, self._held = [], [], [], 0

    def _commit(self) -> None:
        self._flush()
        for kind, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            self._temporaries[kind].replace(_file(self._path, kind))
        index = np.array(self._index, _INDEX).reshape(-1, self._partitions + 1)
        with atomic_write(_file(self._path, "index.npy")) as file:
            np.save(file, index)


def read_sections(
    path: str | Path, partition: int, dtype: np.dtype | list
) -> Iterator[tuple[np.ndarray, bytes]]:
    """Yields (records, their blobs one after the other) for one receiver, chunk by chunk, as they were sent.

    A section is at most as large as the writer's `memory_bytes`. Without blobs the second part is `b""`.
    """
    path, dtype = Path(path), np.dtype(dtype)
    index = np.load(_file(path, "index.npy"), mmap_mode="r")
    blobs = _file(path, "blobs")
    with _file(path, "records").open("rb") as records:
        for chunk in index:
            first, last = chunk[partition], chunk[partition + 1]
            count = int(last["records"] - first["records"])
            if not count:
                continue
            records.seek(int(first["records"]) * dtype.itemsize)
            found = np.frombuffer(records.read(count * dtype.itemsize), dtype)
            size, text = int(last["blobs"] - first["blobs"]), b""
            if size:
                with blobs.open("rb") as file:
                    file.seek(int(first["blobs"]))
                    text = file.read(size)
            yield found, text


def partition_of(hashes: np.ndarray, partitions: int) -> np.ndarray:
    """The partition of 64-bit hashes, by their top 32 bits: equal slices of their range, in order."""
    return ((hashes >> np.uint64(32)) * np.uint64(partitions) >> np.uint64(32)).astype(np.int64)


def _file(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}.{kind}")
