"""From the documents of a Task to arrays of token ids, in chunks that can be resumed between.

JSONL Tasks are read and tokenised here in batches on all cores; any other Task runs through SeqIO as its author wrote
it. Writing what comes out is in `build.py`.
"""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.store_writer import PLACE
from llmjp_jax.tasks import read_texts
from llmjp_jax.tokenizer import Vocabulary

# Large enough that the threads of one call share the work evenly, small enough to hold several.
_BATCH_BYTES = 2_000_000


@dataclass(frozen=True)
class Chunk:
    """Some documents in order: their ids joined [tokens], lengths [documents], and places [documents] or None.

    `text_bytes` is their text's size in UTF-8, `position` where to go on after them.
    """

    ids: np.ndarray
    lengths: np.ndarray
    places: np.ndarray | None
    text_bytes: int
    position: Any


def jsonl_chunks(
    files: Sequence[str],
    vocabulary: Vocabulary,
    position: Sequence[int] | None,
    num_threads: int | None,
) -> Iterator[Chunk]:
    """The documents of JSONL files, each ended by `vocabulary.eos_id`.

    Two batches are in the tokenizer at a time: while one of them is turned from lists into arrays, which only one core
    can do, the other keeps the rest busy.

    Args:
      files: JSONL files in order.
      vocabulary: encodes on `num_threads` threads (default: every core).
      position: a chunk's `position`, to go on after it; None begins at the beginning.
      num_threads: of the tokenizer.
    """
    threads = num_threads or os.cpu_count() or 1

    def tokenised(texts: list, places: np.ndarray, size: int, position: tuple) -> Chunk:
        rows = vocabulary.encode_batch(texts, threads)
        ids, lengths = _joined(rows, vocabulary.eos_id)
        return Chunk(ids, lengths, places, size, position)

    with ThreadPoolExecutor(2) as pool:
        waiting: collections.deque = collections.deque()
        try:
            for batch in _text_batches(files, position):
                waiting.append(pool.submit(tokenised, *batch))
                if len(waiting) == 3:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _text_batches(
    files: Sequence[str], position: Sequence[int] | None
) -> Iterator[tuple[list[str], np.ndarray, int, tuple[int, int, int]]]:
    """(texts, places, bytes of text, position after them), of about `_BATCH_BYTES` of text each."""
    first_file, first_offset, first_line = position or (0, 0, 1)
    for number in range(first_file, len(files)):
        start = (first_offset, first_line) if number == first_file else (0, 1)
        texts, lines, offsets, size = [], [], [], 0
        for line, begins, text, ends in read_texts(files[number], *start):
            texts.append(text)
            lines.append(line)
            offsets.append(begins)
            size += len(text.encode())
            if size >= _BATCH_BYTES:
                yield texts, _places(number, lines, offsets), size, (number, ends, line + 1)
                texts, lines, offsets, size = [], [], [], 0
        if texts:
            yield texts, _places(number, lines, offsets), size, (number, ends, line + 1)


def _places(number: int, lines: list[int], offsets: list[int]) -> np.ndarray:
    places = np.empty(len(lines), PLACE)
    places["file"], places["line"], places["offset"] = number, lines, offsets
    return places


def _joined(rows: list[list[int]], eos_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids, each followed by `eos_id`, as one array, and their lengths with it."""
    for row in rows:
        row.append(eos_id)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter(itertools.chain.from_iterable(rows), np.int32, int(lengths.sum()))
    return ids, lengths


def seqio_chunks(task, split: str, vocabulary: Vocabulary, position: int | None) -> Iterator[Chunk]:
    """The `targets` of any SeqIO Task, in its own order and with the end token, if any, that the Task put there.

    `text_bytes` counts `targets_pretokenized` where the Task keeps it, and else the decoded text.
    """
    done = position or 0
    dataset = task.get_dataset(sequence_length=None, split=split, shuffle=False, num_epochs=1)
    rows, size = [], 0
    text_bytes = 0
    for example in dataset.skip(done).as_numpy_iterator():
        ids = example["targets"]
        if ids.ndim != 1:
            raise UserError(
                f"Task {task.name} gives targets of shape {ids.shape}; a token store needs one row of ids an example"
            )
        text = example.get("targets_pretokenized")
        if not isinstance(text, bytes):
            text = vocabulary.decode(ids).encode()
        rows.append(ids.astype(np.int32))
        text_bytes += len(text)
        size += len(ids)
        if size >= _BATCH_BYTES // 4:
            done += len(rows)
            yield _chunk_of_rows(rows, text_bytes, done)
            rows, size, text_bytes = [], 0, 0
    if rows:
        yield _chunk_of_rows(rows, text_bytes, done + len(rows))


def _chunk_of_rows(rows: list[np.ndarray], text_bytes: int, position: int) -> Chunk:
    lengths = np.array([len(row) for row in rows], np.int64)
    return Chunk(np.concatenate(rows), lengths, None, text_bytes, position)
