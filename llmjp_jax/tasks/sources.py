"""Documents as JSON lines, as a SeqIO data source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson
import seqio

from llmjp_jax.corpus.documents import parse_document
from llmjp_jax.errors import UserError


class JsonlSource(seqio.DataSource):
    """Lines `{"text": ..., "meta": ...}` of JSONL files, as examples `{"targets": text}`.

    Args:
      files: for each split, one path or several. They are looked for when they are read, not before.
    """

    def __init__(self, files: Mapping[str, str | os.PathLike | Sequence[str | os.PathLike]]):
        self._files = {}
        for split, paths in files.items():
            one = isinstance(paths, str | os.PathLike)
            self._files[split] = tuple(str(path) for path in ([paths] if one else paths))
        super().__init__(splits=self._files)

    @property
    def supports_arbitrary_sharding(self) -> bool:
        return False

    def list_shards(self, split: str) -> Sequence[str]:
        """The files of a split, in order."""
        return self._files[split]

    def get_dataset(
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        *,
        sequence_length: Mapping[str, int]
        | None = None,  # SeqIO passes these three to every source
        use_cached: bool = False,
        num_epochs: int | None = 1,
    ):
        """The documents as a tf.data.Dataset; `shuffle` permutes the files, SeqIO the examples."""
        import tensorflow as tf

        files = list(self.list_shards(split))
        if shard_info:
            files = files[shard_info.index :: shard_info.num_shards]
        if shuffle:
            np.random.default_rng(seed).shuffle(files)

        def documents() -> Iterator[dict[str, str]]:
            for path in files:
                for _, _, text, _ in read_texts(path):
                    yield {"targets": text}

        return tf.data.Dataset.from_generator(
            documents, output_signature={"targets": tf.TensorSpec([], tf.string)}
        )


def read_texts(
    path: str | os.PathLike, offset: int = 0, line: int = 1
) -> Iterator[tuple[int, int, str, int]]:
    """The documents of a JSONL file from a byte on, with their places.

    Args:
      path: the file.
      offset: the byte to begin with, the first of a line.
      line: the number of that line, from 1.

    Yields:
      (line number, its first byte, text, first byte of the next line).

    Raises:
      UserError: there is no such file, or a line is not `{"text": string, ...}`; it names file and line.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no corpus file {path}; prepare the corpus or correct the path")
    with Path(path).open("rb") as file:
        file.seek(offset)
        for number, raw in enumerate(file, line):
            start, offset = offset, offset + len(raw)
            try:
                text = orjson.loads(raw)["text"]
            except (orjson.JSONDecodeError, KeyError, TypeError):
                text = None
            if type(text) is not str:  # rare: let the corpus say in words what is wrong
                text = parse_document(raw, f"{path}, line {number}")["text"]
            yield number, start, text, offset
