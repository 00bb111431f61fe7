"""Connected components of a graph larger than memory, by sorting alone: near groups from near pairs.

The alternating large-star and small-star of Kiveris, Lattanzi, Mirrokni, Rastogi and Vassilvitskii, "Connected
Components in MapReduce and Beyond" (SoCC 2014). Both keep components as they are and draw nodes towards the least of
theirs, until each node but it has one edge, to it. Rounds grow with the square of the logarithm of the nodes at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmjp_jax.corpus.dedup.external_sort import ExternalSort, read_blocks
from llmjp_jax.corpus.dedup.near_paragraphs import PAIRS, NearStage, pairs_path
from llmjp_jax.corpus.dedup.shards import Progress, scratch_folder
from llmjp_jax.corpus.dedup.verification import without_repeats
from llmjp_jax.files import atomic_write

GROUPED = np.dtype([("hash", "<u8"), ("group", "<u8")])

_Sort = Callable[[], ExternalSort]


def groups_path(work: str) -> Path:
    """The group of each paragraph that has a near twin: raw `GROUPED`, sorted by hash."""
    return Path(work, "groups.grouped")


@dataclass(frozen=True, kw_only=True)
class GroupParagraphs(NearStage):
    """The near groups of the corpus: one task, whose memory is that of its sorts. It sees pairs, never paragraphs."""

    name: str = "paragraphs_group"
    tasks: int = 1

    def run(self, rank: int, progress: Progress) -> None:
        with scratch_folder(self.work, self.name, rank) as scratch:

            def pairs() -> Iterator[np.ndarray]:
                for sender in range(self.num_shifts * self.parts):
                    for block in read_blocks(pairs_path(self.work, sender), PAIRS):
                        yield block
                        progress(block.nbytes)

            with atomic_write(groups_path(self.work)) as file:
                for block in connected_components(pairs(), scratch, self.memory_bytes):
                    file.write(block.tobytes())


def connected_components(
    pairs: Iterable[np.ndarray], folder: Path, memory_bytes: int = 64 << 20
) -> Iterator[np.ndarray]:
    """Yields (hash, group) sorted by hash for every node of an undirected graph; the group is its least node.

    `pairs`: blocks of `PAIRS`; a pair of a node with itself counts for nothing. Memory is bounded by `memory_bytes`, disk in
    `folder` by about 100 bytes a pair.
    """

    def sort() -> ExternalSort:
        return ExternalSort(PAIRS, ("u", "v"), folder, memory_bytes // 3)

    edges_path = Path(folder, "edges")
    with edges_path.open("wb") as file:
        for block in pairs:
            block[block["u"] != block["v"]].tofile(file)
    before = None
    while True:
        state, stars = _large_star(edges_path, sort)
        if state == before:
            break
        before = state
        with edges_path.open("wb") as file:
            for block in _small_star(stars):
                block.tofile(file)
    stars.close()
    with ExternalSort(GROUPED, ("hash", "group"), folder, memory_bytes // 3) as members:
        for block in read_blocks(edges_path, PAIRS):
            members.add(_grouped(block["u"], block["v"]))
            # A group's least node belongs to itself; its edges lie together or not, so it comes more than once.
            least = np.unique(block["v"])
            members.add(_grouped(least, least))
        yield from without_repeats(members.blocks())


def _large_star(edges: Path, sort: _Sort) -> tuple[tuple[int, int], ExternalSort]:
    """Ties each greater neighbour of a node to the least of its neighbours and itself.

    Returns a fingerprint of the edges that came in (their number and a sum of hashes, of each once), and those that go
    out, being sorted: (greater, less).
    """
    count = checksum = 0
    stars = sort()
    with sort() as both:
        for block in read_blocks(edges, PAIRS):
            both.add(block)
            both.add(_pairs(block["v"], block["u"]))
        for block, least in _with_least(without_repeats(both.blocks())):
            greater = block["v"] > block["u"]
            u, v = block["u"][greater], block["v"][greater]
            count += len(u)
            checksum = (checksum + int(np.sum(_hash(u, v), dtype=np.uint64))) % 2**64
            stars.add(_pairs(v, np.minimum(u, least[greater])))
    return (count, checksum), stars


def _small_star(stars: ExternalSort) -> Iterator[np.ndarray]:
    """Ties each lesser neighbour of a node, and the node, to the least of them: blocks of (greater, less)."""
    for block, least in _with_least(without_repeats(stars.blocks())):
        # The node's own edge to the least is its first edge; any other edge becomes one of the neighbour.
        own = block["v"] == least
        yield _pairs(np.where(own, block["u"], block["v"]), least)


def _with_least(blocks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (block, the least v of each record's u) of `PAIRS` sorted by (u, v), each once."""
    last_u = last_least = None
    for block in blocks:
        if not len(block):
            continue
        new = np.ones(len(block), bool)
        new[1:] = block["u"][1:] != block["u"][:-1]
        start = np.maximum.accumulate(np.where(new, np.arange(len(block)), 0))
        least = block["v"][start]
        if last_u is not None and block["u"][0] == last_u:
            least[: np.searchsorted(block["u"], last_u, "right")] = last_least
        last_u, last_least = block["u"][-1], least[-1]
        yield block, least


def _pairs(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    pairs = np.empty(len(u), PAIRS)
    pairs["u"], pairs["v"] = u, v
    return pairs


def _grouped(hashes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    grouped = np.empty(len(hashes), GROUPED)
    grouped["hash"], grouped["group"] = hashes, groups
    return grouped


def _hash(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each pair; the multiplications wrap."""
    mixed = (u ^ (v * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
