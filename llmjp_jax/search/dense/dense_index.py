"""Finds the documents of an index that are nearest in meaning to a text. Making the vectors is `building`."""

from __future__ import annotations

import heapq
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.dense.embedding import Embedder
from llmjp_jax.search.dense.layout import DENSE, PARTS, DenseModel, part_identity, read_part
from llmjp_jax.search.dense.vector_graph import VectorGraph
from llmjp_jax.search.folder import shard_name
from llmjp_jax.search.results import Counts, DocumentId, Hit, Results, Where

_CANDIDATES = 64  # at least so many vectors of each part are compared in full
_SHARE = 8  # of a part's vectors, one in so many is the most that the graph is asked for
_BLOCK = 1 << 15  # vectors that are compared at a time


class _Near(NamedTuple):
    """A document's passage: the cosine, and where it stands."""

    score: float
    document: DocumentId
    start: int
    stop: int


class DenseIndex:
    """The vectors of an index, open for reading; several threads may ask at once.

    Args:
      index: that `build_dense` gave vectors.
      model_dir: where the model lies now; None: where it lay then.
      device: see `Embedder`.

    Raises:
      UserError: there are no vectors, the model is not there or is another, or the extra `dense` is missing.
    """

    def __init__(
        self,
        index: CorpusIndex,
        model_dir: str | os.PathLike | None = None,
        device: str | None = None,
    ):
        self.index = index
        self.model = DenseModel.read(index.folder)
        if self.model is None:
            raise UserError(
                f"{index.folder} has no vectors; make them with tools/search_corpus.py dense --model=DIR"
            )
        self._embedder = Embedder(Path(model_dir or self.model.path), device)
        if self._embedder.fingerprint != self.model.fingerprint:
            raise UserError(
                f"{model_dir or self.model.path} is not the model that the vectors of {index.folder} were made with "
                f"({self.model.path}, fingerprint {self.model.fingerprint[:16]}); give that one, or embed again with --overwrite"
            )
        self._parts = {
            name: _Part(path, self.model.dimensions)
            for info in index.stores.values()
            for name in info.shards
            if (path := index.folder / DENSE / PARTS / name).is_dir()
            and (read_part(path) or {}).get("identity")
            == part_identity(index.folder, name, self.model)
        }

    def nearest(
        self,
        text: str,
        where: Where = Where(),
        limit: int = 10,
        exact: bool = False,
        characters: int = 240,
    ) -> Results:
        """The documents with the passages that are nearest to a text, the nearest first.

        Each document counts once, by its best passage, which its hit shows as `after`; the score is its cosine. `counts` are the
        documents that have a vector.

        Args:
          exact: compare with every vector, instead of with those that the graph leads to: slower, and misses none.
          characters: of the passage that is shown.

        Raises:
          UserError: the text is empty or too long for the model, or `where` names what is not there or has no vectors yet.
        """
        begin = time.perf_counter()
        if not text.strip():
            raise UserError("there is nothing to look for; give a text with at least one word")
        chosen = self._chosen(where)
        query = self._embedder.query(text)
        if not query.any():
            raise UserError("the embedding model knows nothing of this text; ask in other words")
        by_store: dict[tuple[str, str], Counts] = {}
        found: list[_Near] = []
        for store, first, part in chosen:
            before = by_store.get(store, Counts(0, 0))
            by_store[store] = Counts(before.documents + part.documents, 0)
            found += [
                _Near(score, DocumentId(*store, first + row), start, stop)
                for score, row, start, stop in part.nearest(query, limit, exact)
            ]
        best = heapq.nsmallest(limit, found, key=lambda near: (-near.score, near.document))
        hits = tuple(self._hit(near, characters) for near in best)
        return Results(
            counts=Counts(sum(counts.documents for counts in by_store.values()), 0),
            by_store=by_store,
            hits=hits,
            seconds=time.perf_counter() - begin,
        )

    def _hit(self, near: _Near, characters: int) -> Hit:
        document = self.index.document(near.document)
        return Hit(
            document=near.document, start=0, occurrences=0, before="", match="",
            after=document.text[near.start : near.stop][:characters],
            source=document.source, licence=document.licence, score=near.score,
        )  # fmt: skip

    def _chosen(self, where: Where) -> list[tuple[tuple[str, str], int, _Part]]:
        """The store, the number of the first document, and the vectors of each part to look into."""
        chosen, missing = [], {}
        for store, shard in self.index.chosen(where):
            part = self._parts.get(shard_name(*store, range(shard.first, shard.stop)))
            if part is None:
                missing["/".join(store)] = True
            else:
                chosen.append((store, shard.first, part))
        if missing:
            raise UserError(
                f"{self.index.folder} has no vectors yet of {', '.join(missing)}; embed them with tools/search_corpus.py dense, "
                "or look into the others alone with --subset"
            )
        return chosen


class _Part:
    """The vectors of one shard, memory-mapped.

    Raises:
      UserError: its files do not belong together.
    """

    def __init__(self, path: Path, dimensions: int):
        try:
            counts = read_part(path)["counts"]
            self.documents: int = counts["documents"]
            shape = (counts["vectors"], dimensions)
            # [passages, 4]: vector, row, start, stop; sorted
            self._passages = np.load(path / "passages.npy", mmap_mode="r", allow_pickle=False)
            if self._passages.shape != (counts["passages"], 4):
                raise ValueError(f"passages.npy has the shape {self._passages.shape}")
            self._vectors = np.zeros(shape, np.float16)
            self._graph = None
            if shape[0]:
                self._vectors = np.memmap(path / "vectors.bin", "<f2", "r", shape=shape)
                self._graph = VectorGraph(path, dimensions, shape[0])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UserError(f"the vectors in {path} are damaged ({error}); remove that folder and embed again") from None  # fmt: skip

    def nearest(
        self, query: np.ndarray, limit: int, exact: bool
    ) -> list[tuple[float, int, int, int]]:
        """The best passage of each of the `limit` nearest documents: (cosine, row, start, stop), the nearest first."""
        if self._graph is None or not limit:
            return []
        count, total = max(_CANDIDATES, 4 * limit), len(self._vectors)
        while True:
            # A graph that is asked for much of what it holds is slower than a look at everything, and may miss some.
            if exact or _SHARE * count >= total:
                count = min(count, total)
                numbers = self._all(query, count)
            else:
                numbers = self._graph.candidates(query, count)
            scores = self._cosines(query, self._vectors[numbers])
            order = np.lexsort((numbers, -scores))
            best = self._documents(numbers[order], scores[order], limit)
            if len(best) == limit or count == total:
                return best
            count *= 4

    def _documents(
        self, numbers: np.ndarray, scores: np.ndarray, limit: int
    ) -> list[tuple[float, int, int, int]]:
        """The documents of vectors, each once, in the vectors' order, and at most `limit`."""
        best: dict[int, tuple[float, int, int, int]] = {}
        column = self._passages[:, 0]
        begins = np.searchsorted(column, numbers, "left").tolist()
        ends = np.searchsorted(column, numbers, "right").tolist()
        for begin, end, score in zip(begins, ends, scores.tolist(), strict=True):
            for place in range(begin, end):
                _, row, start, stop = self._passages[place].tolist()
                best.setdefault(row, (score, row, start, stop))
                if len(best) == limit:
                    return list(best.values())
        return list(best.values())

    def _all(self, query: np.ndarray, count: int) -> np.ndarray:
        """The numbers of the `count` nearest of all vectors."""
        blocks = range(0, len(self._vectors), _BLOCK)
        scores = np.concatenate(
            [self._cosines(query, self._vectors[begin : begin + _BLOCK]) for begin in blocks]
        )
        return np.argsort(-scores, kind="stable")[:count]

    @staticmethod
    def _cosines(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        rows = np.asarray(vectors, np.float32)
        return rows @ query / np.linalg.norm(rows, axis=1)
