"""How often each paragraph of the corpus occurs, exactly and nearly: the stages in order, and the exact counts.

Uzushio's statistics (`DeduplicateParagraphs.scala`, `MergeDedupStats.scala`), made over all shards at once instead of a year at
a time. What to do with frequent paragraphs is the filters' business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmjp_jax.corpus.dedup.external_sort import ExternalSort
from llmjp_jax.corpus.dedup.shards import (
    Progress,
    places,
    read_shard,
    scratch_folder,
    shard_of,
)
from llmjp_jax.corpus.dedup.shuffle import ShuffleWriter, partition_of, read_sections
from llmjp_jax.corpus.documents import Document
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

HASHED = np.dtype([("hash", "<u8"), ("place", "<u8")])
COUNTED = np.dtype([("hash", "<u8"), ("count", "<u8")])
_BATCH = 8192
# Uzushio's idea of white space within a line: control characters, space and no-break space.
_SPACES = re.compile("[\x00-\x01\x04-\x20\xa0]+")


def paragraph_stages(
    source: str,
    target: str,
    work: str,
    *,
    shards: int,
    partitions: int = 16,
    num_shifts: int = 5,
    candidate_bytes: int = 10 << 20,
    memory_bytes: int = 64 << 20,
) -> list:
    """The stages that set `exact_freq` and `near_freq` on each paragraph of a corpus.

    In: `source/<00000>.jsonl` for `shards` shards; a document without paragraphs gets one a line. Out: the same documents
    in `target`. `exact_freq` is how often the paragraph's text occurs in the corpus; `near_freq` the sum of these over its
    near group. Texts are compared after Uzushio's cleaning (`comparable_text`); a paragraph without content, and one
    that occurs once and has no near twin (Uzushio's `--no-ones`), has 1 for both.

    Near groups: paragraphs are sorted by a 128-bit SimHash rotated by each of `num_shifts` amounts, and each is compared by
    the rule of `simhash` with those before it, as far back as `candidate_bytes` reach (counted as Uzushio does, about 0.2 to
    1.2 KB a paragraph) and its first bits are shared: 6 bits in a corpus of more than 655,360 distinct paragraphs with
    the default buffer, fewer in a smaller one, none below 20,480. Groups are the connected components of all pairs found, named by
    their least hash. Uzushio's window compares paragraphs whose first bytes differ by less than 4, in ranges that it
    cuts the corpus into; and a group that it extends under one rotation keeps members behind that are not in the
    window at that time. Ours are the whole components, and do not depend on how the work was cut.

    Memory of a task: `memory_bytes` for sorts and shuffles, and while pairs are searched up to ten times `candidate_bytes`
    for two windows of paragraphs with their bitsets. One shard's index of sections and one document are the only other
    things held; no table of the corpus is. Texts are identified by 64-bit hashes, as in Uzushio: among 10^10 distinct
    paragraphs about three share one with another.

    Disk: 32 bytes a paragraph, and `num_shifts` times the distinct paragraphs' text in UTF-16.
    """
    if not 1 <= num_shifts <= 128:
        raise UserError(
            f"paragraph_stages: num_shifts is {num_shifts}; a signature of 128 bits has 1 to 128"
        )
    # Imported here: these modules import this one.
    from llmjp_jax.corpus.dedup.components import GroupParagraphs
    from llmjp_jax.corpus.dedup.frequencies import JoinGroups, JoinRows, SetFrequencies, SumGroups
    from llmjp_jax.corpus.dedup.near_paragraphs import FindNearParagraphs, SignParagraphs

    base = {"work": work, "shards": shards, "partitions": partitions, "memory_bytes": memory_bytes}
    near = {**base, "num_shifts": num_shifts, "candidate_bytes": candidate_bytes}
    return [
        HashParagraphs(source=source, **base),
        CountParagraphs(**base),
        SignParagraphs(source=source, **near),
        FindNearParagraphs(**near),
        GroupParagraphs(**near),
        JoinGroups(**base),
        SumGroups(**base),
        JoinRows(**base),
        SetFrequencies(source=source, target=target, **base),
    ]


def comparable_text(text: str) -> str:
    """A paragraph as it is compared: runs of white space as one space, lines stripped, empty lines dropped.

    Empty where the paragraph has no content: nothing but white space (the full-width space too).
    """
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def comparable_paragraphs(document: Document) -> list[str]:
    """`comparable_text` of each paragraph of a document, in order; "" for those without content."""
    from llmjp_jax.corpus.filters.paragraphs import paragraphs_of

    return [comparable_text(paragraph["text"]) for paragraph in paragraphs_of(document)]


def counts_path(work: str, partition: int) -> Path:
    """The distinct paragraphs of a partition of the hash: raw `COUNTED`, sorted by hash."""
    return Path(work, "counts", f"{partition:05d}.counted")


@dataclass(frozen=True, kw_only=True)
class ParagraphStage:
    """What all stages of the paragraphs share."""

    work: str
    shards: int
    partitions: int
    memory_bytes: int

    def sections(self, folder: str, receiver: int, dtype: np.dtype, progress: Progress) -> Iterator:
        """Yields the records that all tasks of an earlier stage, in `folder`, sent to a receiver."""
        senders = sorted(Path(self.work, folder).glob("*.index.npy"))
        for sender in senders:
            path = sender.with_name(sender.name.removesuffix(".index.npy"))
            for records, blobs in read_sections(path, receiver, dtype):
                yield records, blobs
                progress(records.nbytes + len(blobs))

    def writer(self, folder: str, rank: int, receivers: int, dtype: np.dtype, **options):
        path = Path(self.work, folder, f"{rank:05d}")
        return ShuffleWriter(path, receivers, dtype, memory_bytes=self.memory_bytes // 4, **options)

    def sort(self, dtype: np.dtype, keys: tuple[str, ...], scratch: Path) -> ExternalSort:
        return ExternalSort(dtype, keys, scratch, self.memory_bytes // 2)


@dataclass(frozen=True, kw_only=True)
class HashParagraphs(ParagraphStage):
    """Each paragraph's hash and place, sent to partitions of the hash."""

    source: str
    name: str = "paragraphs_hash"

    @property
    def tasks(self) -> int:
        return self.shards

    def run(self, rank: int, progress: Progress) -> None:
        import xxhash

        with self.writer("hashes", rank, self.partitions, HASHED) as writer:
            hashes: list[int] = []
            rows: list[int] = []
            first = 0
            for _, document in read_shard(self.source, rank, progress):
                texts = comparable_paragraphs(document)
                for row, text in enumerate(texts, first):
                    if text:
                        encoded = text.encode("utf-8", "surrogatepass")
                        hashes.append(xxhash.xxh3_64_intdigest(encoded))
                        rows.append(row)
                first += len(texts)
                if len(hashes) >= _BATCH:
                    self._send(writer, rank, hashes, rows)
                    hashes, rows = [], []
            self._send(writer, rank, hashes, rows)

    def _send(self, writer: ShuffleWriter, rank: int, hashes: list[int], rows: list[int]) -> None:
        records = np.empty(len(hashes), HASHED)
        records["hash"], records["place"] = hashes, places(rank, np.array(rows, np.uint64))
        writer.add(partition_of(records["hash"], self.partitions), records)


@dataclass(frozen=True, kw_only=True)
class CountParagraphs(ParagraphStage):
    """Per partition, how often each hash occurs; and the place of its first occurrence, sent to that shard."""

    name: str = "paragraphs_count"

    @property
    def tasks(self) -> int:
        return self.partitions

    def run(self, rank: int, progress: Progress) -> None:
        with (
            scratch_folder(self.work, self.name, rank) as scratch,
            self.sort(HASHED, ("hash", "place"), scratch) as sort,
            self.writer("firsts", rank, self.shards, HASHED) as writer,
            atomic_write(counts_path(self.work, rank)) as file,
        ):
            for records, _ in self.sections("hashes", rank, HASHED, progress):
                sort.add(records)
            last = np.empty(0, COUNTED)
            for block in sort.blocks():
                counted, first = _count(block)
                continues = len(last) and last["hash"][0] == counted["hash"][0]
                if continues:
                    counted["count"][0] += last["count"][0]
                    first = first[1:]
                elif len(last):
                    file.write(last.tobytes())
                file.write(counted[:-1].tobytes())
                last = counted[-1:]
                writer.add(shard_of(first["place"]), first)
            file.write(last.tobytes())


def _count(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of `HASHED` sorted by (hash, place): how often each hash occurs, and its first record."""
    hashes, starts, counts = np.unique(block["hash"], return_index=True, return_counts=True)
    counted = np.empty(len(hashes), COUNTED)
    counted["hash"], counted["count"] = hashes, counts
    return counted, block[starts]
