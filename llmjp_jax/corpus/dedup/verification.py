"""Candidate pairs compared: the exact Jaccard coefficient of their shingle sets, from the texts in the shards."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmjp_jax.corpus.dedup.exact import DUPLICATES
from llmjp_jax.corpus.dedup.external_sort import ExternalSort
from llmjp_jax.corpus.dedup.shards import (
    Progress,
    row_of,
    scratch_folder,
    shard_of,
    shard_path,
    text_of,
)
from llmjp_jax.corpus.dedup.shuffle import read_sections
from llmjp_jax.corpus.documents import parse_document
from llmjp_jax.files import atomic_write

_OPEN_SHARDS = 64


def offsets_path(work: str, shard: int) -> Path:
    """Where each line of a shard starts: uint64 [documents], raw."""
    return Path(work, "offsets", f"{shard:05d}.u8")


def similar_path(work: str, shard: int) -> Path:
    """The verified pairs whose later document lies in a shard: raw `DUPLICATES`, sorted by (place, kept)."""
    return Path(work, "similar", f"{shard:05d}.pairs")


@dataclass(frozen=True, kw_only=True)
class VerifyCandidates:
    """Per shard of the later document, the pairs at or above the threshold."""

    source: str
    work: str
    shards: int
    partitions: int
    order: int
    threshold: float
    memory_bytes: int
    name: str = "minhash_verify"

    @property
    def tasks(self) -> int:
        return self.shards

    def run(self, rank: int, progress: Progress) -> None:
        from llmjp_jax.corpus.dedup.shingles import jaccard

        with (
            scratch_folder(self.work, self.name, rank) as scratch,
            ExternalSort(DUPLICATES, ("place", "kept"), scratch, self.memory_bytes // 2) as sort,
            ShingleSets(
                self.source, self.work, self.order, memory_bytes=self.memory_bytes // 2
            ) as sets,
            atomic_write(similar_path(self.work, rank)) as file,
        ):
            for partition in range(self.partitions):
                sender = Path(self.work, "candidates", f"{partition:05d}")
                for records, _ in read_sections(sender, rank, DUPLICATES):
                    sort.add(records)
                    progress(records.nbytes)
            for pairs in without_repeats(sort.blocks()):
                similar = [
                    jaccard(sets[place], sets[kept]) >= self.threshold
                    for place, kept in pairs.tolist()
                ]
                file.write(pairs[np.array(similar, bool)].tobytes())


def without_repeats(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Sorted records, each once."""
    last = None
    for block in blocks:
        new = np.ones(len(block), bool)
        new[1:] = block[1:] != block[:-1]
        new[0] = last is None or block[0] != last
        last = block[-1]
        yield block[new]


class ShingleSets:
    """The shingle set of the document at a place, read from its shard; those used last stay in memory.

    Sets take 8 bytes a distinct shingle; `memory_bytes` bounds their sum, but for one document's own.
    """

    def __init__(self, source: str, work: str, order: int, *, memory_bytes: int):
        self._source, self._work, self._order, self._limit = source, work, order, memory_bytes
        self._sets: OrderedDict[int, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._open: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def __enter__(self) -> ShingleSets:
        return self

    def __exit__(self, *error) -> None:
        while self._open:
            self._close_one()

    def __getitem__(self, place: int) -> np.ndarray:
        from llmjp_jax.corpus.dedup.shingles import shingle_set

        found = self._sets.get(place)
        if found is not None:
            self._sets.move_to_end(place)
            return found
        found = shingle_set(self._text(place), self._order)
        self._sets[place] = found
        self._bytes += found.nbytes
        while self._bytes > self._limit and len(self._sets) > 1:
            _, dropped = self._sets.popitem(last=False)
            self._bytes -= dropped.nbytes
        return found

    def _text(self, place: int) -> str:
        place = np.uint64(place)
        shard, row = int(shard_of(place)), int(row_of(place))
        lines, offsets = self._files(shard)
        ends = np.frombuffer(os.pread(offsets, 16, 8 * row), "<u8").tolist()
        start, end = ends[0], ends[1] if len(ends) == 2 else os.fstat(lines).st_size
        line = os.pread(lines, end - start, start)
        return text_of(parse_document(line, f"{shard_path(self._source, shard)}, line {row + 1}"))

    def _files(self, shard: int) -> tuple[int, int]:
        if shard not in self._open:
            if len(self._open) == _OPEN_SHARDS:
                self._close_one()
            self._open[shard] = (
                os.open(shard_path(self._source, shard), os.O_RDONLY),
                os.open(offsets_path(self._work, shard), os.O_RDONLY),
            )
        self._open.move_to_end(shard)
        return self._open[shard]

    def _close_one(self) -> None:
        _, files = self._open.popitem(last=False)
        for file in files:
            os.close(file)
