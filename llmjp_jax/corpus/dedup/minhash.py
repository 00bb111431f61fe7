"""Near-duplicate documents by MinHash-LSH: the stages in order, and the signatures. Pairs and decisions are elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmjp_jax.corpus.dedup.candidates import BUCKETED, FindCandidates
from llmjp_jax.corpus.dedup.selection import SelectKept
from llmjp_jax.corpus.dedup.shards import Progress, Rows, places, read_shard, removed_rows, text_of
from llmjp_jax.corpus.dedup.shuffle import ShuffleWriter, partition_of
from llmjp_jax.corpus.dedup.verification import VerifyCandidates, offsets_path
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

_BATCH = 1024


def minhash_stages(
    source: str,
    work: str,
    *,
    shards: int,
    partitions: int = 16,
    order: int = 5,
    bands: int = 20,
    rows: int = 6,
    threshold: float = 0.8,
    bucket_limit: int = 32,
    seed: int = 1,
    without: str | None = None,
    memory_bytes: int = 64 << 20,
) -> list:
    """The stages that remove near-duplicate documents: those similar to an earlier document that is itself kept.

    In: `source/<00000>.jsonl` for `shards` shards, uncompressed. Out: `removed_rows(work, shard)` for each. `without` is the
    folder of an earlier deduplication of the same shards (`exact_stages`): what it removed takes no part.

    Two documents are similar when the sets of their character `order`-grams have a Jaccard coefficient of at least
    `threshold`, computed exactly for each candidate. Texts are compared as they are; the empty text is similar to none.
    Candidates share one of `bands` buckets, each a hash of `rows` MinHash values: a pair with coefficient s is one with
    probability 1 - (1 - s^rows)^bands. With 20 x 6 that is 0.998 at s = 0.8, 0.92 at 0.7, 0.27 at 0.5: nearly all that
    count are seen, and what is seen in vain costs one comparison. 9 x 13, datasketch's choice for 0.8, sees 0.40 of the
    pairs at 0.8; 14 x 8, datatrove's, 0.92.

    There is no chaining: where A ~ B ~ C but not A ~ C, B goes (for A) and C stays. So every removed document is
    similar to the one named as kept, and no two documents under the threshold are ever joined.

    Buckets of templates do not go quadratic: a document is compared with the first `bucket_limit` of its bucket alone
    (`candidates`), at most bands * bucket_limit comparisons a document. Where a bucket is larger than that, pairs whose
    earlier half is not among its first are not seen there. Such a bucket holds either one crowd of near-duplicates,
    for which the first is the one to compare with, or several crowds that share a template; these share few of their
    bands (s^rows of them, 0.12 for s = 0.7), and in the others each crowd has its own bucket.

    A task needs about `memory_bytes`, and the selection 1 bit a document of the corpus besides; disk for work is about
    16 * bands bytes a document. Nothing depends on `partitions`.
    """
    _check(order, bands, rows, threshold, bucket_limit)
    corpus = {"source": source, "work": work, "shards": shards, "memory_bytes": memory_bytes}
    return [
        SignDocuments(
            **corpus,
            partitions=partitions,
            order=order,
            bands=bands,
            rows=rows,
            seed=seed,
            without=without,
        ),
        FindCandidates(
            work=work,
            shards=shards,
            partitions=partitions,
            bucket_limit=bucket_limit,
            memory_bytes=memory_bytes,
        ),
        VerifyCandidates(**corpus, partitions=partitions, order=order, threshold=threshold),
        SelectKept(work=work, shards=shards),
    ]


def _check(order: int, bands: int, rows: int, threshold: float, bucket_limit: int) -> None:
    numbers = {"order": order, "bands": bands, "rows": rows, "bucket_limit": bucket_limit}
    for field, value in numbers.items():
        if value < 1:
            raise UserError(f"minhash: {field} is {value}; give a number of at least 1")
    if not 0 < threshold <= 1:
        raise UserError(
            f"minhash: threshold is {threshold}; a Jaccard coefficient lies above 0 and up to 1"
        )


@dataclass(frozen=True, kw_only=True)
class SignDocuments:
    """Each document's bands sent to partitions of their hash, and where each document's line starts in its shard."""

    source: str
    work: str
    shards: int
    partitions: int
    order: int
    bands: int
    rows: int
    seed: int
    without: str | None
    memory_bytes: int
    name: str = "minhash_sign"

    @property
    def tasks(self) -> int:
        return self.shards

    def run(self, rank: int, progress: Progress) -> None:
        from llmjp_jax.corpus.dedup import shingles

        functions = shingles.hash_functions(self.bands * self.rows, self.seed)
        gone = Rows(removed_rows(self.without, rank)["row"] if self.without else ())
        with (
            atomic_write(offsets_path(self.work, rank)) as offsets,
            ShuffleWriter(
                Path(self.work, "buckets", f"{rank:05d}"),
                self.partitions,
                BUCKETED,
                memory_bytes=self.memory_bytes // 2,
            ) as writer,
        ):
            signed: list[int] = []
            bands: list[np.ndarray] = []
            for row, (offset, document) in enumerate(read_shard(self.source, rank, progress)):
                offsets.write(offset.to_bytes(8, "little"))
                if row in gone:
                    continue
                hashes = shingles.shingle_hashes(
                    shingles.code_points(text_of(document)), self.order
                )
                if len(hashes):
                    signature = shingles.minhash(hashes, *functions)
                    signed.append(row)
                    bands.append(shingles.band_hashes(signature, self.bands, self.rows))
                if len(signed) == _BATCH:
                    self._send(writer, rank, signed, bands)
                    signed, bands = [], []
            if signed:
                self._send(writer, rank, signed, bands)

    def _send(
        self, writer: ShuffleWriter, rank: int, signed: list[int], bands: list[np.ndarray]
    ) -> None:
        records = np.empty(len(signed) * self.bands, BUCKETED)
        records["bucket"] = np.concatenate(bands)
        records["place"] = np.repeat(places(rank, np.array(signed)), self.bands)
        writer.add(partition_of(records["bucket"], self.partitions), records)
