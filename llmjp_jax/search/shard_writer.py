"""Writes one shard: a part of a token store as ids, text and an inverted index. Which parts there are is `indexing`'s matter.

A shard is written beside its place and renamed when it is whole, so that a killed process leaves none that is half.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from llmjp_jax.inputs import TokenStore
from llmjp_jax.search.folder import SHARDS, shard_name
from llmjp_jax.search.terms import char_terms, id_terms, register, schema, word_terms
from llmjp_jax.search.texts import StoredText, licence_of, stored_texts
from llmjp_jax.tokenizer import Vocabulary, load_vocabulary

_HEAP_BYTES = 256_000_000  # of Tantivy's writer; it writes a segment when this is full
_REPORT_EVERY = 256  # documents between two reports of progress


@dataclass(frozen=True)
class ShardJob:
    """What one worker does: documents first..stop-1 of the store at `prefix` become a shard of the index in `folder`.

    Attributes:
      fingerprint: of the store, kept in the shard.
      decode: index decoded ids even where the source's text is known.
    """

    folder: str
    prefix: str
    subset: str
    split: str
    first: int
    stop: int
    fingerprint: str
    vocabulary: str
    decode: bool

    @property
    def name(self) -> str:
        return shard_name(self.subset, self.split, range(self.first, self.stop))

    @property
    def path(self) -> Path:
        return Path(self.folder) / SHARDS / self.name

    @property
    def identity(self) -> dict[str, Any]:
        """In what a shard that is there must agree to be this one."""
        names = ("subset", "split", "first", "stop", "fingerprint", "decode")
        return {name: value for name, value in asdict(self).items() if name in names}


def write_shard(job: ShardJob, progress: Callable[[int], None]) -> None:
    """Writes the shard of a job; `progress` is told how many more tokens are done, and may raise to end the work."""
    temporary = job.path.with_name(f".{job.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _fill(temporary, job, progress)
        temporary.rename(job.path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _fill(path: Path, job: ShardJob, progress: Callable[[int], None]) -> None:
    store, vocabulary = TokenStore(job.prefix), load_vocabulary(job.vocabulary)
    documents = range(job.first, job.stop)
    _write_ids(path, store, documents, vocabulary)
    index = _open_tantivy(path / "tantivy")
    writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)
    sizes, licences, characters, done = [], set(), 0, 0
    with (path / "text.bin").open("wb") as file:
        texts = stored_texts(store, vocabulary, documents, job.decode)
        for row, (number, stored) in enumerate(zip(documents, texts, strict=True)):
            ids = store[number]
            sizes.append(file.write(stored.text.encode()))
            characters += len(stored.text)
            licences.add(licence_of(stored.meta, None))
            writer.add_document(_document(row, ids, stored))
            done += len(ids)
            if row % _REPORT_EVERY == 0:
                progress(done)
                done = 0
        _sync(file)
    progress(done)
    writer.commit()
    writer.wait_merging_threads()
    _save_starts(path / "text", sizes)
    text = _mapped(path / "text.bin", np.uint8)
    np.save(path / "text.frequency.npy", _frequencies(text, 256))
    counts = {
        "tokens": _tokens(store, documents),
        "characters": characters,
        "text_bytes": len(text),
        "licences": sorted(licences - {None}),
    }
    with (path / "shard.json").open("w") as file:
        json.dump({"identity": job.identity, "dtype": store.dtype.name, **counts}, file)
        _sync(file)


def _document(row: int, ids: np.ndarray, stored: StoredText) -> Any:
    import tantivy

    document = tantivy.Document()
    document.add_unsigned("row", row)
    document.add_text("ids", " ".join(id_terms(ids.tolist())))
    document.add_text("chars", " ".join(char_terms(stored.text)))
    document.add_text("words", " ".join(word_terms(stored.text)))
    origin = {"meta": stored.meta, "place": stored.place}
    document.add_bytes("origin", json.dumps(origin, ensure_ascii=False).encode())
    return document


def _open_tantivy(path: Path) -> Any:
    import tantivy

    path.mkdir()
    index = tantivy.Index(schema(), path=str(path))
    register(index)
    return index


def _write_ids(path: Path, store: TokenStore, documents: range, vocabulary: Vocabulary) -> None:
    starts = store.document_starts[documents.start : documents.stop + 1]
    tokens = store.tokens(int(starts[0]), int(starts[-1]))
    with (path / "ids.bin").open("wb") as file:
        file.write(np.ascontiguousarray(tokens))
        _sync(file)
    np.save(path / "ids.starts.npy", np.asarray(starts, np.int64) - starts[0])
    np.save(path / "ids.frequency.npy", _frequencies(tokens, vocabulary.vocab_size))


def _tokens(store: TokenStore, documents: range) -> int:
    starts = store.document_starts
    return int(starts[documents.stop]) - int(starts[documents.start])


def _save_starts(stem: Path, sizes: list[int]) -> None:
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    np.save(stem.with_name(f"{stem.name}.starts.npy"), starts)


def _frequencies(units: np.ndarray, values: int) -> np.ndarray:
    """How often each value stands in an array of any length: int64 [values or more]."""
    counts = np.zeros(values, np.int64)
    for begin in range(0, len(units), 1 << 22):
        some = np.bincount(units[begin : begin + (1 << 22)], minlength=len(counts))
        if len(some) > len(counts):
            counts = np.pad(counts, (0, len(some) - len(counts)))
        counts += some
    return counts


def _mapped(path: Path, dtype: Any) -> np.ndarray:
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, "r").view(np.ndarray)


def _sync(file: IO) -> None:
    file.flush()
    os.fsync(file.fileno())
