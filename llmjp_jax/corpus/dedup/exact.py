"""Exact deduplication of documents over any number of shards: of documents with equal text the first one is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmjp_jax.corpus.dedup.external_sort import ExternalSort
from llmjp_jax.corpus.dedup.shards import (
    REMOVED,
    Progress,
    places,
    read_shard,
    row_of,
    scratch_folder,
    shard_of,
    text_of,
    write_removed,
)
from llmjp_jax.corpus.dedup.shuffle import ShuffleWriter, partition_of, read_sections

_HASHED = np.dtype([("high", "<u8"), ("low", "<u8"), ("place", "<u8")])
DUPLICATES = np.dtype([("place", "<u8"), ("kept", "<u8")])
_BATCH = 8192


def exact_stages(
    source: str,
    work: str,
    *,
    shards: int,
    partitions: int = 16,
    memory_bytes: int = 64 << 20,
) -> list:
    """The stages that find documents whose text occurred before, in the order of (shard, row).

    In: `source/<00000>.jsonl` for `shards` shards. Out: `removed_rows(work, shard)` for each shard. Texts are compared by
    their 128-bit XXH3 hash: among 10^10 documents the chance of any false match is below 10^-18.
    Each task needs about `memory_bytes`; `work` takes 64 bytes a document on disk. The result does not depend on
    `partitions`.
    """
    shared = {
        "source": source,
        "work": work,
        "shards": shards,
        "partitions": partitions,
        "memory_bytes": memory_bytes,
    }
    return [HashDocuments(**shared), FindExactDuplicates(**shared), CollectRemoved(**shared)]


@dataclass(frozen=True, kw_only=True)
class _ExactStage:
    source: str
    work: str
    shards: int
    partitions: int
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class HashDocuments(_ExactStage):
    """Each shard's texts, hashed and sent to partitions of the hash."""

    name: str = "exact_hash"

    @property
    def tasks(self) -> int:
        return self.shards

    def run(self, rank: int, progress: Progress) -> None:
        path = Path(self.work, "hashes", f"{rank:05d}")
        with ShuffleWriter(
            path, self.partitions, _HASHED, memory_bytes=self.memory_bytes // 2
        ) as writer:
            digests: list[bytes] = []
            row = 0
            for row, (_, document) in enumerate(read_shard(self.source, rank, progress), 1):
                digests.append(_digest(text_of(document)))
                if len(digests) == _BATCH:
                    self._send(writer, rank, row - len(digests), digests)
                    digests = []
            self._send(writer, rank, row - len(digests), digests)

    def _send(self, writer: ShuffleWriter, rank: int, first: int, digests: list[bytes]) -> None:
        hashes = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2)
        records = np.empty(len(digests), _HASHED)
        records["high"], records["low"] = hashes[:, 0], hashes[:, 1]
        records["place"] = places(rank, np.arange(first, first + len(digests)))
        writer.add(partition_of(records["high"], self.partitions), records)


@dataclass(frozen=True, kw_only=True)
class FindExactDuplicates(_ExactStage):
    """Per partition, equal hashes side by side in the order of the corpus: all but the first go."""

    name: str = "exact_find"

    @property
    def tasks(self) -> int:
        return self.partitions

    def run(self, rank: int, progress: Progress) -> None:
        with (
            scratch_folder(self.work, self.name, rank) as scratch,
            ExternalSort(
                _HASHED, ("high", "low", "place"), scratch, self.memory_bytes // 2
            ) as sort,
            ShuffleWriter(
                Path(self.work, "duplicates", f"{rank:05d}"),
                self.shards,
                DUPLICATES,
                memory_bytes=self.memory_bytes // 4,
            ) as writer,
        ):
            for shard in range(self.shards):
                for records, _ in read_sections(
                    Path(self.work, "hashes", f"{shard:05d}"), rank, _HASHED
                ):
                    sort.add(records)
                    progress(records.nbytes)
            before = None
            for block in sort.blocks():
                duplicates, before = _repeats(block, before)
                writer.add(shard_of(duplicates["place"]), duplicates)


@dataclass(frozen=True, kw_only=True)
class CollectRemoved(_ExactStage):
    """Per shard, the removed rows in order."""

    name: str = "exact_collect"

    @property
    def tasks(self) -> int:
        return self.shards

    def run(self, rank: int, progress: Progress) -> None:
        senders = [
            Path(self.work, "duplicates", f"{partition:05d}")
            for partition in range(self.partitions)
        ]
        found = [np.empty(0, DUPLICATES)]
        for sender in senders:
            for records, _ in read_sections(sender, rank, DUPLICATES):
                found.append(records)
                progress(records.nbytes)
        # One shard's removed rows fit into memory: 16 bytes for each of its documents at most.
        duplicates = np.sort(np.concatenate(found), order="place")
        write_removed(self.work, rank, as_removed(duplicates))


def as_removed(duplicates: np.ndarray) -> np.ndarray:
    """`DUPLICATES` of one shard, sorted by place, in the form of `removed_rows`."""
    removed = np.empty(len(duplicates), REMOVED)
    removed["row"] = row_of(duplicates["place"])
    removed["kept_shard"] = shard_of(duplicates["kept"])
    removed["kept_row"] = row_of(duplicates["kept"])
    return removed


def _digest(text: str) -> bytes:
    import xxhash

    return xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))


def _repeats(block: np.ndarray, before: tuple | None) -> tuple[np.ndarray, tuple]:
    """Records whose hash is the one before's, with the first place of that hash.

    `before`: (high, low, first place) of the last hash of the block before this one; returned for the next.
    """
    new = np.ones(len(block), bool)
    new[1:] = (block["high"][1:] != block["high"][:-1]) | (block["low"][1:] != block["low"][:-1])
    continues = before is not None and (block["high"][0], block["low"][0]) == before[:2]
    new[0] = not continues
    # The row that each record's hash began in; where it began in an earlier block, row 0 stands for it.
    start = np.maximum.accumulate(np.where(new, np.arange(len(block)), 0))
    kept = block["place"][start]
    if continues:
        kept[: int(np.argmax(new)) if new.any() else len(block)] = before[2]
    duplicates = np.empty(int((~new).sum()), DUPLICATES)
    duplicates["place"], duplicates["kept"] = block["place"][~new], kept[~new]
    return duplicates, (block["high"][-1], block["low"][-1], kept[-1])
