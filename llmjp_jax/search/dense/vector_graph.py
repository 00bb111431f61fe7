"""The vectors of a part as a graph that leads to the nearest: USearch's HNSW, memory-mapped, with int8 numbers.

The graph names candidates; their cosines are computed from the float16 vectors, so that a score is what numpy says and the
coarser numbers of the graph cost no accuracy. Why USearch (2.26): it is kept up, maps its file into memory, and has wheels for
Python 3.11 to 3.13 (2 MB, and 11 MB of kernels). faiss-cpu (1.15) would do as well, in 19 MB; hnswlib (0.8, of 2023) has no
wheels and maps nothing.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.search.dense.embedding import INSTALL

FILE = "graph.usearch"
_LINKS, _WIDTH_BUILDING, _WIDTH_SEARCHING = 16, 128, 128  # of HNSW: M, efConstruction, ef
_STEP = 1 << 15
_LONG = 1 << 17  # vectors that are linked without a bar


def write_graph(folder: Path, vectors: np.ndarray) -> None:
    """Makes the graph of vectors: float16 [vectors, dimensions], of length one, none like another."""
    graph = _new(vectors.shape[1])
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    steps = range(0, len(vectors), _STEP)
    for begin in tqdm(steps, desc="link", leave=False, disable=len(vectors) < _LONG):
        some = np.asarray(vectors[begin : begin + _STEP])
        graph.add(np.arange(begin, begin + len(some), dtype=np.uint64), some, threads=threads)
    graph.save(str(folder / FILE))


class VectorGraph:
    """The graph of a part, open for several threads."""

    def __init__(self, folder: Path, dimensions: int, vectors: int):
        self._graph = _new(dimensions)
        self._graph.view(str(folder / FILE))
        if len(self._graph) != vectors or self._graph.ndim != dimensions:
            raise ValueError(f"{FILE} has {len(self._graph)} vectors of {vectors}")
        self._lock = threading.Lock()  # one search at a time keeps its scratch space in the graph

    def candidates(self, query: np.ndarray, count: int) -> np.ndarray:
        """The numbers of about the `count` nearest vectors: int64 [candidates]."""
        with self._lock:
            return self._graph.search(query, count, threads=1).keys.astype(np.int64)


def _new(dimensions: int) -> Any:
    try:
        from usearch.index import Index
    except ImportError as error:
        raise UserError(
            f"dense search needs the extra `dense`, which is not installed ({error}); install it: {INSTALL}"
        ) from None
    return Index(
        ndim=dimensions,
        metric="cos",
        dtype="i8",
        connectivity=_LINKS,
        expansion_add=_WIDTH_BUILDING,
        expansion_search=_WIDTH_SEARCHING,
        enable_key_lookups=False,
    )
