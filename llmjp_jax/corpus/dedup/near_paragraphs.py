"""Pairs of near-duplicate paragraphs: signatures under several rotations, sorted, and searched window by window."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmjp_jax.corpus.dedup.external_sort import ExternalSort
from llmjp_jax.corpus.dedup.paragraphs import (
    COUNTED,
    HASHED,
    ParagraphStage,
    comparable_paragraphs,
    counts_path,
)
from llmjp_jax.corpus.dedup.shards import Progress, read_shard, row_of, scratch_folder
from llmjp_jax.corpus.dedup.shuffle import ShuffleWriter
from llmjp_jax.files import atomic_write

PAIRS = np.dtype([("u", "<u8"), ("v", "<u8")])

_SIGNED = np.dtype([("high", "<u8"), ("low", "<u8"), ("hash", "<u8"), ("blob_bytes", "<u4")])
_SORTED = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("hash", "<u8"), ("offset", "<u8"), ("bytes", "<u4")]
)
# Into at most 64 ranges of the rotated signature, as Uzushio's default has, by its first 6 bits.
_MOST_RANGE_BITS = 6
# What a paragraph takes in the candidate buffer, from where a corpus is large enough for more ranges.
_LARGE_CANDIDATE = 1 << 10
_BATCH = 1024

# The order in which Uzushio takes rotations: 0..127 shuffled by fastutil's IntArrays with Java's Random(0xfeedbeef).
_ROTATIONS = (
    44, 72, 85, 35, 110, 45, 80, 68, 126, 34, 11, 4, 17, 70, 122, 41, 71, 58, 22, 73, 109, 74, 77, 20, 95, 88, 30, 25,
    29, 62, 39, 28, 111, 93, 60, 81, 2, 56, 96, 76, 121, 42, 115, 91, 6, 119, 99, 102, 97, 98, 27, 10, 118, 16, 101,
    117, 112, 0, 113, 50, 84, 82, 103, 13, 120, 31, 40, 104, 24, 32, 67, 23, 79, 8, 26, 83, 19, 48, 86, 92, 108, 78,
    66, 9, 18, 107, 33, 15, 7, 114, 106, 43, 89, 105, 54, 65, 12, 116, 87, 94, 53, 59, 127, 64, 38, 55, 100, 52, 124,
    5, 46, 21, 47, 125, 75, 123, 69, 14, 36, 3, 63, 49, 37, 57, 51, 90, 61, 1,
)  # fmt: skip


def rotations(num_shifts: int) -> tuple[int, ...]:
    """By how many bits signatures are rotated to the right, in each of `num_shifts` sorts: 35, 44, 72, 85, 110 for 5."""
    return tuple(sorted(_ROTATIONS[:num_shifts]))


def rotate_right(high: np.ndarray, low: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """128-bit numbers as two arrays uint64, rotated by `shift` bits."""
    if shift >= 64:
        high, low, shift = low, high, shift - 64
    if shift == 0:
        return high, low
    right, left = np.uint64(shift), np.uint64(64 - shift)
    return high >> right | low << left, low >> right | high << left


def _range_of(high: np.ndarray, bits: int) -> np.ndarray:
    """The first `bits` bits of signatures, int64; 0 for no bits."""
    return (high >> np.uint64(63 - bits) >> np.uint64(1)).astype(np.int64)


def pairs_path(work: str, rank: int) -> Path:
    """The near pairs that one task found: raw `PAIRS` of hashes."""
    return Path(work, "near_pairs", f"{rank:05d}.pairs")


@dataclass(frozen=True, kw_only=True)
class NearStage(ParagraphStage):
    num_shifts: int
    candidate_bytes: int

    @property
    def parts(self) -> int:
        """Into how many parts each rotation's ranges are dealt."""
        return min(self.partitions, 1 << _MOST_RANGE_BITS)

    def range_bits(self) -> int:
        """How many first bits of the signature compared paragraphs share: as many as leave windows full, 6 at most.

        A function of the number of distinct paragraphs, which the counts on disk give.
        """
        distinct = sum(
            counts_path(self.work, partition).stat().st_size // COUNTED.itemsize
            for partition in range(self.partitions)
        )
        windows = distinct * _LARGE_CANDIDATE // self.candidate_bytes
        return min(max(windows.bit_length() - 1, 0), _MOST_RANGE_BITS)


@dataclass(frozen=True, kw_only=True)
class SignParagraphs(NearStage):
    """The SimHash and the text of each distinct paragraph, where it occurs first, sent to ranges of each rotation."""

    source: str
    name: str = "paragraphs_sign"

    @property
    def tasks(self) -> int:
        return self.shards

    def run(self, rank: int, progress: Progress) -> None:
        from llmjp_jax.corpus.dedup import simhash

        with (
            scratch_folder(self.work, self.name, rank) as scratch,
            self.sort(HASHED, ("place",), scratch) as sort,
            self.writer(
                "signed", rank, self.num_shifts * self.parts, _SIGNED, blobs=True
            ) as writer,
        ):
            for records, _ in self.sections("firsts", rank, HASHED, progress):
                sort.add(records)
            hashes: list[int] = []
            signatures: list[np.ndarray] = []
            texts: list[bytes] = []
            for hash, text in self._first_occurrences(rank, sort, progress):
                units = simhash.code_units(text)
                hashes.append(hash)
                signatures.append(simhash.simhash(units))
                texts.append(units.tobytes())
                if len(hashes) == _BATCH:
                    self._send(writer, hashes, signatures, texts)
                    hashes, signatures, texts = [], [], []
            if hashes:
                self._send(writer, hashes, signatures, texts)

    def _first_occurrences(
        self, rank: int, sort: ExternalSort, progress: Progress
    ) -> Iterator[tuple[int, str]]:
        """Yields (hash, text) of the paragraphs of a shard at the places in `sort`, in order."""
        firsts = (
            pair
            for block in sort.blocks()
            for pair in zip(row_of(block["place"]).tolist(), block["hash"].tolist(), strict=True)
        )
        wanted, hash = next(firsts, (None, 0))
        row = 0
        for _, document in read_shard(self.source, rank, progress):
            for text in comparable_paragraphs(document):
                if row == wanted:
                    yield hash, text
                    wanted, hash = next(firsts, (None, 0))
                row += 1

    def _send(
        self,
        writer: ShuffleWriter,
        hashes: list[int],
        signatures: list[np.ndarray],
        texts: list[bytes],
    ) -> None:
        bits = self.range_bits()
        signed = np.array(signatures)
        records = np.zeros(len(hashes), _SIGNED)
        records["hash"] = hashes
        for place, shift in enumerate(rotations(self.num_shifts)):
            records["high"], records["low"] = rotate_right(signed[:, 0], signed[:, 1], shift)
            part = _range_of(records["high"], bits) * self.parts >> bits
            writer.add(place * self.parts + part, records, texts)


@dataclass(frozen=True, kw_only=True)
class FindNearParagraphs(NearStage):
    """Per part of a rotation, paragraphs sorted by signature, each compared with those before it in its window."""

    name: str = "paragraphs_near"

    @property
    def tasks(self) -> int:
        return self.num_shifts * self.parts

    def run(self, rank: int, progress: Progress) -> None:
        with (
            scratch_folder(self.work, self.name, rank) as scratch,
            self.sort(_SORTED, ("high", "low", "hash"), scratch) as sort,
            atomic_write(pairs_path(self.work, rank)) as file,
        ):
            texts_path = scratch / "texts"
            with texts_path.open("wb") as texts:
                for records, blobs in self.sections("signed", rank, _SIGNED, progress):
                    sort.add(_with_offsets(records, texts.tell()))
                    texts.write(blobs)
            with texts_path.open("rb") as texts:
                window = _Window(self.candidate_bytes, self.range_bits())
                for records in sort.blocks():
                    for part in _parts(records, self.candidate_bytes):
                        file.write(window.pairs(part, _read_texts(texts.fileno(), part)).tobytes())


def _with_offsets(records: np.ndarray, first: int) -> np.ndarray:
    result = np.empty(len(records), _SORTED)
    for field in ("high", "low", "hash"):
        result[field] = records[field]
    result["bytes"] = records["blob_bytes"]
    ends = np.cumsum(records["blob_bytes"], dtype=np.uint64)
    result["offset"] = np.uint64(first) + ends - records["blob_bytes"]
    return result


def _read_texts(file: int, records: np.ndarray) -> np.ndarray:
    """The texts of records, one after the other, as UTF-16 code units."""
    spans = zip(records["bytes"].tolist(), records["offset"].tolist(), strict=True)
    return np.frombuffer(
        b"".join(os.pread(file, size, offset) for size, offset in spans), np.uint16
    )


def candidate_sizes(lengths: np.ndarray) -> np.ndarray:
    """What Uzushio counts for a paragraph of so many code units in its buffer: bytes, int64.

    Objects and headers, the text at two bytes a unit, the long bitset from 30 units on and the short one up to 40.
    """
    sizes = 148 + 2 * lengths.astype(np.int64)
    sizes += np.where(lengths >= 30, 16 + 128 * 8, 0)
    return sizes + np.where(lengths <= 16, 16 + 4 * 8, np.where(lengths <= 40, 16 + 12 * 8, 0))


def _parts(records: np.ndarray, candidate_bytes: int) -> Iterator[np.ndarray]:
    """Cuts sorted records into parts of about a window each."""
    ends = np.cumsum(candidate_sizes(records["bytes"] // 2))
    parts = ends // max(1, candidate_bytes)
    cuts = np.flatnonzero(parts[1:] != parts[:-1]) + 1
    yield from np.split(records, cuts)


class _Window:
    """The last paragraphs of a sorted stream, as many as the candidate buffer holds, with all that comparing needs."""

    def __init__(self, candidate_bytes: int, range_bits: int):
        self._limit, self._range_bits = candidate_bytes, range_bits
        self._signatures = np.empty((0, 2), np.uint64)
        self._hashes = np.empty(0, np.uint64)
        self._units = np.empty(0, np.uint16)
        self._lengths = np.empty(0, np.int64)
        self._bitsets: tuple[np.ndarray, ...] | None = None

    def pairs(self, records: np.ndarray, units: np.ndarray) -> np.ndarray:
        """The near pairs (`PAIRS` of hashes) between the next paragraphs and those before each; slides on to them."""
        from llmjp_jax.corpus.dedup.near_search import bitsets, find_pairs

        first = len(self._hashes)
        lengths = records["bytes"].astype(np.int64) // 2
        made = bitsets(units, _starts(lengths))
        signatures = np.stack([records["high"], records["low"]], axis=1)
        self._signatures = np.concatenate([self._signatures, signatures])
        self._hashes = np.concatenate([self._hashes, records["hash"]])
        self._units = np.concatenate([self._units, units])
        self._lengths = np.concatenate([self._lengths, lengths])
        if self._bitsets is not None:
            made = tuple(np.concatenate(both) for both in zip(self._bitsets, made, strict=True))
        self._bitsets = made

        begins = _starts(candidate_sizes(self._lengths))
        oldest = np.searchsorted(begins, begins[:-1] - self._limit)
        ranges = _range_of(self._signatures[:, 0], self._range_bits)
        oldest = np.maximum(oldest, np.searchsorted(ranges, ranges))
        found = find_pairs(
            self._signatures, self._units, _starts(self._lengths), *self._bitsets, oldest, first
        )
        pairs = np.empty(len(found), PAIRS)
        pairs["u"], pairs["v"] = self._hashes[found[:, 0]], self._hashes[found[:, 1]]
        self._forget(int(np.searchsorted(begins, begins[-1] - self._limit)))
        return pairs

    def _forget(self, count: int) -> None:
        """Drops the first `count` paragraphs; copies the rest, so that the memory is given back."""
        self._units = self._units[int(self._lengths[:count].sum()) :].copy()
        self._signatures = self._signatures[count:].copy()
        self._hashes = self._hashes[count:].copy()
        self._lengths = self._lengths[count:].copy()
        self._bitsets = tuple(array[count:].copy() for array in self._bitsets)


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Where things of these sizes begin, one after the other, and where the last ends: int64 [things + 1]."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
