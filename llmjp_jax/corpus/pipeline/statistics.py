"""What happened to a corpus, in numbers that add up over tasks: counts, histograms, samples, broken records."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import document_text

SAMPLES = 5  # kept of each step's dropped documents
SAMPLE_CHARACTERS = 2000
BROKEN_EXAMPLES = 20
LENGTH_EDGES = (0, *(2**power for power in range(25)))  # characters; the last bin is open
SCRIPTS = ("hiragana", "katakana", "han", "latin", "digit", "space", "other")
_RANGES = {
    "hiragana": [(0x3041, 0x309F)],
    "katakana": [(0x30A0, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)],
    "han": [(0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)],
    "latin": [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A)],
    "digit": [(0x30, 0x39), (0xFF10, 0xFF19)],
    "space": [(0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x2000, 0x200B), (0x3000, 0x3000)],
}  # fmt: skip


class Histograms:
    """Lengths of documents and the scripts that they are written in.

    Attributes:
      lengths: documents in each bin of `LENGTH_EDGES`. scripts: characters of each of `SCRIPTS`.
    """

    def __init__(self):
        self.lengths = np.zeros(len(LENGTH_EDGES), np.int64)
        self.scripts = np.zeros(len(SCRIPTS), np.int64)

    def add(self, text: str) -> None:
        self.lengths[min(len(text).bit_length(), len(LENGTH_EDGES) - 1)] += 1
        characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        self.scripts += np.bincount(_script_table()[characters], minlength=len(SCRIPTS))

    def json(self) -> dict[str, Any]:
        return {"length": self.lengths.tolist(), "script": dict(zip(SCRIPTS, self.scripts.tolist(), strict=True))}  # fmt: skip


@functools.cache
def _script_table() -> np.ndarray:
    table = np.full(0x110000, SCRIPTS.index("other"), np.uint8)
    for script, ranges in _RANGES.items():
        for first, last in ranges:
            table[first : last + 1] = SCRIPTS.index(script)
    return table


class Samples:
    """A random sample of different texts, the same however documents are dealt to tasks: those of the smallest hashes."""

    def __init__(self, size: int = SAMPLES):
        self._size = size
        self._kept: dict[int, dict[str, Any]] = {}

    def add(self, document: Document) -> None:
        import xxhash

        text = document_text(document)
        place = xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))
        if len(self._kept) == self._size and place > max(self._kept):
            return
        name = _name(document)
        if place in self._kept:  # of copies, the one of the smallest name
            self._kept[place]["id"] = min(name, self._kept[place]["id"])
            return
        cut = text[:SAMPLE_CHARACTERS]
        self._kept[place] = {"hash": place, "id": name, "text": cut, "characters": len(text)}
        if len(self._kept) > self._size:
            del self._kept[max(self._kept)]

    def json(self) -> list[dict[str, Any]]:
        return [self._kept[place] for place in sorted(self._kept)]


def _name(document: Document) -> str:
    """What the document calls itself."""
    meta = document["meta"]
    for key in ("id", "url", "docId", "title", "hexsha"):
        if isinstance(meta.get(key), str | int):
            return str(meta[key])
    return ""


class Broken:
    """Counts records that could not be read, and keeps the first of them as examples."""

    def __init__(self):
        self.total = 0
        self.by_reason: dict[str, int] = {}
        self.examples: list[dict[str, str]] = []

    def add(self, file: str, position: str, reason: str) -> None:
        self.total += 1
        kind = reason.partition(" (")[0]
        self.by_reason[kind] = self.by_reason.get(kind, 0) + 1
        if len(self.examples) < BROKEN_EXAMPLES:
            self.examples.append({"file": file, "position": position, "reason": reason})

    def json(self) -> dict[str, Any]:
        return {"total": self.total, "by_reason": self.by_reason, "examples": self.examples}


def add_counts(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """The sums of counts by name, in the order of first appearance."""
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def merge_steps(parts: Sequence[dict[str, list[int]]]) -> dict[str, list[int]]:
    """The counts of `Chain` summed over tasks."""
    total: dict[str, list[int]] = {}
    for part in parts:
        for label, counts in part.items():
            known = total.setdefault(label, [0] * len(counts))
            total[label] = [a + b for a, b in zip(known, counts, strict=True)]
    return total


def merge_histograms(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`Histograms.json` summed over tasks."""
    lengths = np.sum([np.array(part["length"], np.int64) for part in parts], axis=0)
    return {
        "length": lengths.tolist() if parts else [0] * len(LENGTH_EDGES),
        "script": add_counts([{script: 0 for script in SCRIPTS}, *(part["script"] for part in parts)]),
    }  # fmt: skip


def merge_samples(
    parts: Iterable[list[dict[str, Any]]], size: int = SAMPLES
) -> list[dict[str, Any]]:
    """`Samples.json` of the whole from those of the tasks, without the hashes."""
    kept: dict[int, dict[str, Any]] = {}
    for one in sorted((one for part in parts for one in part), key=lambda one: one["id"]):
        kept.setdefault(one["hash"], one)
    smallest = [kept[place] for place in sorted(kept)[:size]]
    return [{key: value for key, value in one.items() if key != "hash"} for one in smallest]


def merge_broken(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """`Broken.json` summed over tasks, with the first tasks' examples."""
    parts = list(parts)
    examples = [example for part in parts for example in part["examples"]]
    return {
        "total": sum(part["total"] for part in parts),
        "by_reason": add_counts(part["by_reason"] for part in parts),
        "examples": examples[:BROKEN_EXAMPLES],
    }
