"""Which of similar documents stay: decided in the order of the corpus, without chaining."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmjp_jax.corpus.dedup.exact import DUPLICATES, as_removed
from llmjp_jax.corpus.dedup.external_sort import read_blocks
from llmjp_jax.corpus.dedup.shards import Progress, row_of, shard_of, write_removed
from llmjp_jax.corpus.dedup.verification import offsets_path, similar_path


@dataclass(frozen=True, kw_only=True)
class SelectKept:
    """A document goes if it is similar to an earlier one that stays; the first such one is named as kept.

    One task, since each decision hangs on those before it. It reads the verified pairs once, in order, and holds one
    bit a document (125 MB for 10^9) and one shard's removed rows.
    """

    work: str
    shards: int
    name: str = "minhash_select"
    tasks: int = 1

    def run(self, rank: int, progress: Progress) -> None:
        sizes = [offsets_path(self.work, shard).stat().st_size // 8 for shard in range(self.shards)]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)
        removed_bits = np.zeros(int(starts[-1]) // 8 + 1, np.uint8)
        for shard in range(self.shards):
            removed = [np.empty(0, DUPLICATES)]
            for pairs in read_blocks(similar_path(self.work, shard), DUPLICATES):
                deciding = select(
                    _indices(pairs["place"], starts), _indices(pairs["kept"], starts), removed_bits
                )
                removed.append(pairs[deciding])
                progress(pairs.nbytes)
            write_removed(self.work, shard, as_removed(np.concatenate(removed)))


def _indices(place: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return (starts[shard_of(place).astype(np.int64)] + row_of(place)).astype(np.int64)


def select(later: np.ndarray, earlier: np.ndarray, removed_bits: np.ndarray) -> np.ndarray:
    """Which pairs of document indices, sorted by (later, earlier), remove their later document: bool [pairs].

    `removed_bits` uint8, one bit a document, says what was removed so far and is brought up to date. `earlier < later`, so
    that the earlier document's fate is final when a pair is reached.
    """
    from llmjp_jax.corpus.dedup.selection_kernel import select_pairs

    return select_pairs(later, earlier, removed_bits)
