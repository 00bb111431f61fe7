"""Pairs of documents that share a MinHash bucket: seen, not yet compared. Large buckets give pairs in proportion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmjp_jax.corpus.dedup.exact import DUPLICATES
from llmjp_jax.corpus.dedup.external_sort import ExternalSort
from llmjp_jax.corpus.dedup.shards import Progress, scratch_folder, shard_of
from llmjp_jax.corpus.dedup.shuffle import ShuffleWriter, read_sections

BUCKETED = np.dtype([("bucket", "<u8"), ("place", "<u8")])


@dataclass(frozen=True, kw_only=True)
class FindCandidates:
    """Per partition, buckets sorted by place: each document pairs with the first `bucket_limit` of its bucket."""

    work: str
    shards: int
    partitions: int
    bucket_limit: int
    memory_bytes: int
    name: str = "minhash_candidates"

    @property
    def tasks(self) -> int:
        return self.partitions

    def run(self, rank: int, progress: Progress) -> None:
        with (
            scratch_folder(self.work, self.name, rank) as scratch,
            ExternalSort(BUCKETED, ("bucket", "place"), scratch, self.memory_bytes // 2) as sort,
            ShuffleWriter(
                Path(self.work, "candidates", f"{rank:05d}"),
                self.shards,
                DUPLICATES,
                memory_bytes=self.memory_bytes // 4,
            ) as writer,
        ):
            for shard in range(self.shards):
                sender = Path(self.work, "buckets", f"{shard:05d}")
                for records, _ in read_sections(sender, rank, BUCKETED):
                    sort.add(records)
                    progress(records.nbytes)
            for pairs in bucket_pairs(sort.blocks(), self.bucket_limit):
                writer.add(shard_of(pairs["place"]), pairs)


def bucket_pairs(blocks: Iterator[np.ndarray], limit: int) -> Iterator[np.ndarray]:
    """Pairs (place, kept = an earlier place) of `BUCKETED` records sorted by (bucket, place).

    The member with index i of a bucket (from 0) pairs with members 0 ... min(i, limit) - 1.

        one bucket a b c d, limit 2  ->  (b, a) (c, a) (d, a)  (c, b) (d, b)
    """
    first = np.empty(0, BUCKETED)
    for block in blocks:
        # The first members of a bucket that goes on from the block before stand in for all of it.
        known = len(first) if len(first) and first["bucket"][0] == block["bucket"][0] else 0
        block = np.concatenate([first[:known], block])
        bucket, place = block["bucket"], block["place"]
        new = np.ones(len(block), bool)
        new[1:] = bucket[1:] != bucket[:-1]
        start = np.maximum.accumulate(np.where(new, np.arange(len(block)), 0))
        index = np.arange(len(block)) - start
        members = np.arange(known, len(block))
        for partner in range(limit):
            members = members[index[members] > partner]
            if not len(members):
                break
            pairs = np.empty(len(members), DUPLICATES)
            pairs["place"] = place[members]
            pairs["kept"] = place[start[members] + partner]
            yield pairs
        first = block[start[-1] : start[-1] + limit].copy()
