"""Frequencies on their way back to the paragraphs: summed by group, joined by hash, written by shard.

Every join is of two sorted streams; no table of the corpus is held.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmjp_jax.corpus.dedup.components import GROUPED, groups_path
from llmjp_jax.corpus.dedup.external_sort import read_blocks
from llmjp_jax.corpus.dedup.paragraphs import COUNTED, HASHED, ParagraphStage, counts_path
from llmjp_jax.corpus.dedup.shards import (
    Progress,
    read_shard,
    row_of,
    scratch_folder,
    shard_of,
    shard_path,
)
from llmjp_jax.corpus.dedup.shuffle import partition_of
from llmjp_jax.corpus.documents import Document, write_documents

_MEMBER = np.dtype([("group", "<u8"), ("hash", "<u8"), ("count", "<u8")])
_SUM = np.dtype([("group", "<u8"), ("near", "<u8")])
_NEAR = np.dtype([("hash", "<u8"), ("near", "<u8")])
_FREQUENCY = np.dtype([("place", "<u8"), ("exact", "<u4"), ("near", "<u4")])
# Uzushio's frequencies are Java's int.
_MOST = np.uint64(2**31 - 1)


class SortedTable:
    """A stream of records sorted by a unique key, asked for keys in rising order."""

    def __init__(self, blocks: Iterator[np.ndarray], key: str, value: str):
        self._blocks, self._key, self._value = blocks, key, value
        self._block: np.ndarray | None = next(blocks, None)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(values uint64, found bool) of `keys`, sorted and none less than the last asked for; 0 where not found."""
        values, found = np.zeros(len(keys), np.uint64), np.zeros(len(keys), bool)
        done = 0
        while done < len(keys) and self._block is not None:
            known = self._block[self._key]
            end = int(np.searchsorted(keys, known[-1], "right"))
            place = np.searchsorted(known, keys[done:end])
            hit = known[place] == keys[done:end]
            found[done:end] = hit
            values[done:end][hit] = self._block[self._value][place[hit]]
            done = max(done, end)
            if done < len(keys):
                self._block = next(self._blocks, None)
        return values, found


@dataclass(frozen=True, kw_only=True)
class JoinGroups(ParagraphStage):
    """Per partition of the hash, the members of groups with their exact counts, sent to partitions of the group."""

    name: str = "paragraphs_join_groups"

    @property
    def tasks(self) -> int:
        return self.partitions

    def run(self, rank: int, progress: Progress) -> None:
        groups = groups_path(self.work)
        start = _first_of_partition(groups, rank, self.partitions)
        table = SortedTable(read_blocks(groups, GROUPED, start), "hash", "group")
        with self.writer("members", rank, self.partitions, _MEMBER) as writer:
            for counted in read_blocks(counts_path(self.work, rank), COUNTED):
                group, found = table.find(counted["hash"])
                members = np.empty(int(found.sum()), _MEMBER)
                members["group"] = group[found]
                members["hash"], members["count"] = counted["hash"][found], counted["count"][found]
                writer.add(partition_of(members["group"], self.partitions), members)
                progress(counted.nbytes)


def _first_of_partition(groups: Path, partition: int, partitions: int) -> int:
    """The first record of `GROUPED`, sorted by hash, in a partition: by bisection, without reading what lies before."""
    low, high = 0, groups.stat().st_size // GROUPED.itemsize
    with groups.open("rb") as file:
        while low < high:
            middle = (low + high) // 2
            data = os.pread(file.fileno(), GROUPED.itemsize, middle * GROUPED.itemsize)
            if partition_of(np.frombuffer(data, GROUPED)["hash"], partitions)[0] < partition:
                low = middle + 1
            else:
                high = middle
    return low


@dataclass(frozen=True, kw_only=True)
class SumGroups(ParagraphStage):
    """Per partition of the group, the sum of its members' counts, sent to each member's partition of the hash."""

    name: str = "paragraphs_sum_groups"

    @property
    def tasks(self) -> int:
        return self.partitions

    def run(self, rank: int, progress: Progress) -> None:
        with (
            scratch_folder(self.work, self.name, rank) as scratch,
            self.sort(_MEMBER, ("group", "hash"), scratch) as sort,
            self.writer("near", rank, self.partitions, _NEAR) as writer,
        ):
            for records, _ in self.sections("members", rank, _MEMBER, progress):
                sort.add(records)
            # A group may be larger than memory: its sum is known after the first reading, and sent in the second.
            members, sums = scratch / "members", scratch / "sums"
            with members.open("wb") as members_file, sums.open("wb") as sums_file:
                last = np.empty(0, _SUM)
                for block in sort.blocks():
                    block.tofile(members_file)
                    summed = _sum_groups(block)
                    if len(last) and last["group"][0] == summed["group"][0]:
                        summed["near"][0] += last["near"][0]
                    else:
                        last.tofile(sums_file)
                    summed[:-1].tofile(sums_file)
                    last = summed[-1:]
                last.tofile(sums_file)
            table = SortedTable(read_blocks(sums, _SUM), "group", "near")
            for block in read_blocks(members, _MEMBER):
                near = np.empty(len(block), _NEAR)
                near["hash"], near["near"] = block["hash"], table.find(block["group"])[0]
                writer.add(partition_of(near["hash"], self.partitions), near)


def _sum_groups(block: np.ndarray) -> np.ndarray:
    groups, starts = np.unique(block["group"], return_index=True)
    summed = np.empty(len(groups), _SUM)
    summed["group"], summed["near"] = groups, np.add.reduceat(block["count"], starts)
    return summed


@dataclass(frozen=True, kw_only=True)
class JoinRows(ParagraphStage):
    """Per partition of the hash, both frequencies of each paragraph that has any above 1, sent to its shard."""

    name: str = "paragraphs_join_rows"

    @property
    def tasks(self) -> int:
        return self.partitions

    def run(self, rank: int, progress: Progress) -> None:
        with (
            scratch_folder(self.work, self.name, rank) as scratch,
            self.sort(HASHED, ("hash", "place"), scratch) as rows,
            self.sort(_NEAR, ("hash",), scratch) as near,
            self.writer("frequencies", rank, self.shards, _FREQUENCY) as writer,
        ):
            for records, _ in self.sections("hashes", rank, HASHED, progress):
                rows.add(records)
            for records, _ in self.sections("near", rank, _NEAR, progress):
                near.add(records)
            counts = SortedTable(
                read_blocks(counts_path(self.work, rank), COUNTED), "hash", "count"
            )
            nears = SortedTable(near.blocks(), "hash", "near")
            for block in rows.blocks():
                exact, _ = counts.find(block["hash"])
                near_sum, found = nears.find(block["hash"])
                near_sum = np.where(found, near_sum, exact)
                more = near_sum > 1
                frequencies = np.empty(int(more.sum()), _FREQUENCY)
                frequencies["place"] = block["place"][more]
                frequencies["exact"] = np.minimum(exact[more], _MOST)
                frequencies["near"] = np.minimum(near_sum[more], _MOST)
                writer.add(shard_of(frequencies["place"]), frequencies)


@dataclass(frozen=True, kw_only=True)
class SetFrequencies(ParagraphStage):
    """Per shard, the documents with `exact_freq` and `near_freq` on each paragraph."""

    source: str
    target: str
    name: str = "paragraphs_set"

    @property
    def tasks(self) -> int:
        return self.shards

    def run(self, rank: int, progress: Progress) -> None:
        with (
            scratch_folder(self.work, self.name, rank) as scratch,
            self.sort(_FREQUENCY, ("place",), scratch) as sort,
        ):
            for records, _ in self.sections("frequencies", rank, _FREQUENCY, lambda size: None):
                sort.add(records)
            documents = self._documents(rank, sort.blocks(), progress)
            write_documents(shard_path(self.target, rank), documents)

    def _documents(
        self, rank: int, blocks: Iterator[np.ndarray], progress: Progress
    ) -> Iterator[Document]:
        from llmjp_jax.corpus.filters.paragraphs import paragraphs_of

        frequencies = (
            (row, exact, near)
            for block in blocks
            for row, (_, exact, near) in zip(
                row_of(block["place"]).tolist(), block.tolist(), strict=True
            )
        )
        wanted, exact, near = next(frequencies, (None, 1, 1))
        row = 0
        for _, document in read_shard(self.source, rank, progress):
            for paragraph in paragraphs_of(document):
                paragraph["exact_freq"] = paragraph["near_freq"] = 1
                if row == wanted:
                    paragraph["exact_freq"], paragraph["near_freq"] = exact, near
                    wanted, exact, near = next(frequencies, (None, 1, 1))
                row += 1
            yield document
