"""Embeds the documents of one shard, on from where a killed process stopped. Which shards there are is `building`'s matter.

Vectors are appended to files, and `state.json` says how much of these counts; what lies behind that is cut off when the work goes
on. The part takes its name when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from llmjp_jax.files import atomic_write
from llmjp_jax.search.dense.embedding import Embedder
from llmjp_jax.search.dense.layout import PART_FILE
from llmjp_jax.search.dense.passages import cut
from llmjp_jax.search.dense.vector_graph import write_graph
from llmjp_jax.search.shard import Shard

BLOCK = 1024  # passages that are embedded together; the model sorts them by length
SAVE_SECONDS = 5.0  # so much work is lost by a kill


@dataclass
class _State:
    """How far the work is: the next row of the shard, and what is written of the files."""

    row: int = 0
    passages: int = 0
    vectors: int = 0


@dataclass
class _Work:
    """The files of a part that is being made."""

    path: Path
    identity: dict[str, Any]
    dimensions: int
    state: _State = field(default_factory=_State)

    @classmethod
    def begin(cls, path: Path, identity: dict[str, Any], dimensions: int) -> _Work:
        """Goes on with what is there, if it is of the same documents and model."""
        work = cls(path, identity, dimensions)
        try:
            content = json.loads((path / "state.json").read_bytes())
            if content["identity"] == identity:
                work.state = _State(**content["state"])
                os.truncate(path / "vectors.bin", work.state.vectors * dimensions * 2)
                os.truncate(path / "passages.bin", work.state.passages * 32)
                return work
        except (OSError, ValueError, KeyError, TypeError):
            pass
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return work

    def passages(self) -> np.ndarray:
        """What is saved: int64 [passages, 4] of (vector, row, start, stop)."""
        if not self.state.passages:
            return np.zeros((0, 4), np.int64)
        return np.fromfile(self.path / "passages.bin", "<i8").reshape(-1, 4)

    def save(self, files: tuple[IO, IO]) -> None:
        """What was written until now counts from now on."""
        for file in files:
            file.flush()
            os.fsync(file.fileno())
        with atomic_write(self.path / "state.json", "w") as file:
            json.dump({"identity": self.identity, "state": vars(self.state)}, file)


def write_part(
    path: Path,
    identity: dict[str, Any],
    shard: Shard,
    embedder: Embedder,
    progress: Callable[[int], None],
    batch_size: int = 32,
) -> None:
    """Makes the part of a shard.

    Args:
      path: it appears there.
      identity: `layout.part_identity` of it.
      progress: is told how many more documents are done.
    """
    work = _Work.begin(path.with_name(f".{path.name}.work"), identity, identity["dimensions"])
    progress(work.state.row)
    seen = _seen(work, shard)
    with (work.path / "vectors.bin").open("ab") as vectors, (work.path / "passages.bin").open("ab") as passages:  # fmt: skip
        _embed(work, shard, embedder, seen, (vectors, passages), progress, batch_size)
    _finish(work, path)


def _seen(work: _Work, shard: Shard) -> dict[bytes, int]:
    """The vector of each text that is embedded already, by its digest."""
    seen = {}
    for vector, row, start, stop in work.passages().tolist():
        seen[_digest(shard.document_text(row)[start:stop])] = vector
    return seen


def _embed(
    work: _Work,
    shard: Shard,
    embedder: Embedder,
    seen: dict[bytes, int],
    files: tuple[IO, IO],
    progress: Callable[[int], None],
    batch_size: int,
) -> None:
    limit, rows, saved = work.identity["passage_tokens"], shard.stop - shard.first, time.monotonic()
    waiting: list[tuple[int, int, int, str]] = []
    told = work.state.row
    for row in range(work.state.row, rows):
        text = shard.document_text(row)
        spans = cut(text, embedder.count_tokens, limit)
        waiting += [(row, start, stop, text[start:stop]) for start, stop in spans]
        if len(waiting) < BLOCK and row + 1 < rows:
            continue
        for begin in range(0, len(waiting), BLOCK):
            _append(work, waiting[begin : begin + BLOCK], embedder, seen, files, batch_size)
        waiting.clear()
        work.state.row = row + 1
        if time.monotonic() - saved >= SAVE_SECONDS:
            work.save(files)
            saved = time.monotonic()
        progress(row + 1 - told)
        told = row + 1
    work.save(files)


def _append(
    work: _Work,
    some: list[tuple[int, int, int, str]],
    embedder: Embedder,
    seen: dict[bytes, int],
    files: tuple[IO, IO],
    batch_size: int,
) -> None:
    """Embeds passages, each text once, and appends them to the files; a text that has no vector (-1) is left out."""
    new = {_digest(text): text for *_, text in some}
    new = {digest: text for digest, text in new.items() if digest not in seen}
    if new:
        vectors = embedder.documents(list(new.values()), batch_size)
        usable = vectors.any(axis=1)
        numbers = np.where(usable, work.state.vectors + np.cumsum(usable) - 1, -1)
        seen.update(zip(new, numbers.tolist(), strict=True))
        files[0].write(np.ascontiguousarray(vectors[usable], "<f2"))
        work.state.vectors += int(usable.sum())
    lines = [(seen[_digest(text)], row, start, stop) for row, start, stop, text in some]
    lines = [line for line in lines if line[0] >= 0]
    files[1].write(np.array(lines, "<i8").tobytes())
    work.state.passages += len(lines)


def _finish(work: _Work, path: Path) -> None:
    """Sorts the passages by their vectors, makes the graph and gives the part its name."""
    passages = work.passages()
    passages = passages[np.lexsort(passages.T[::-1])]
    np.save(work.path / "passages.npy", passages)
    shape = (work.state.vectors, work.dimensions)
    if work.state.vectors:
        write_graph(work.path, np.memmap(work.path / "vectors.bin", "<f2", "r", shape=shape))
    counts = vars(work.state) | {"documents": len(np.unique(passages[:, 1]))}
    with atomic_write(work.path / PART_FILE, "w") as file:
        json.dump({"identity": work.identity, "counts": counts}, file)
    (work.path / "passages.bin").unlink()
    (work.path / "state.json").unlink()
    work.path.rename(path)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
