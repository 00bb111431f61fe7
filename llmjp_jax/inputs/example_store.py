"""From JSON lines of conversations or preference pairs to token stores with masks. Needs no TensorFlow.

Records are stored whole; what a run's lengths leave of them, `example_items.py` says. What a record is and how it
becomes text is in `conversations`.
"""

from __future__ import annotations

import collections
import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import llmjp_jax
from llmjp_jax.conversations import (
    Encoded,
    Pair,
    Template,
    encode,
    encode_pair,
    get_template,
    read_records,
)
from llmjp_jax.errors import UserError
from llmjp_jax.files import sha256_file
from llmjp_jax.inputs.store_writer import PLACE, TokenStoreWriter, describe_source
from llmjp_jax.inputs.token_store import TokenStore, token_dtype
from llmjp_jax.tokenizer import Vocabulary

KINDS = ("examples", "pairs")
_BATCH_RECORDS = 256  # that a thread tokenises at a time

Files = str | os.PathLike | Sequence[str | os.PathLike]


class _Chunk(NamedTuple):
    """Some records in order: as `TokenStoreWriter.add_documents` takes them, and how many were dropped."""

    ids: np.ndarray
    lengths: np.ndarray
    places: np.ndarray
    mask: np.ndarray
    dropped: int


def build_examples(
    files: Files,
    vocabulary: Vocabulary,
    template: str,
    prefix: str | os.PathLike,
    *,
    kind: str | None = None,
    bos: bool = False,
    num_threads: int | None = None,
    details: dict[str, Any] | None = None,
) -> TokenStore:
    """Builds a store of examples, or of pairs: document 2 i is the chosen sequence of pair i, 2 i + 1 the rejected one.

    A record in whose text the template finds no response is left out and counted in the manifest. The store appears
    when it is whole; one of that name that was there before is replaced.

    Args:
      files: JSON lines, as paths or patterns; see `conversations.parse_record` for the forms.
      template: of the prompts, a name of `conversations.TEMPLATES`.
      prefix: the store's path without `.bin`.
      kind: 'examples' or 'pairs'; None: what the first record is.
      bos: whether each sequence begins with the vocabulary's begin token.
      num_threads: of the tokenizer; default every core.
      details: what else the manifest is to hold, such as the Task's name.

    Raises:
      UserError: a file is missing, a record is wrong or of the other kind (it names file, line and field), none has a
        response, or the vocabulary cannot end or begin a sequence.
    """
    paths = expand_files(files)
    kind = kind_of(paths) if kind is None else kind
    if kind not in KINDS:
        raise UserError(f"kind = {kind!r} must be one of {', '.join(map(repr, KINDS))}")
    rules = get_template(template)
    sources = [describe_source(path) for path in paths]
    writer = TokenStoreWriter(prefix, token_dtype(vocabulary.vocab_size), PLACE, masked=True)
    try:
        records = dropped = 0
        with tqdm(
            total=sum(source["bytes"] for source in sources),
            unit="B",
            unit_scale=True,
            desc=f"{kind} of {Path(paths[0]).name}{' ...' if len(paths) > 1 else ''}",
        ) as bar:
            read = _Encoder(vocabulary, rules, kind, bos).chunks(paths, num_threads, bar)
            for chunk in read:
                writer.add_documents(chunk.ids, chunk.lengths, chunk.places, chunk.mask)
                parts = 2 if kind == "pairs" else 1
                records += len(chunk.lengths) // parts + chunk.dropped
                dropped += chunk.dropped
        if not writer.documents:
            raise UserError(
                f"none of the {records} records of {', '.join(paths)} has a response after "
                f"{rules.response_marker!r}; check the files, or the template {template!r}"
            )
        built = {"kind": kind, "template": template, "bos": bos or rules.bos, "records": records, "dropped": dropped}  # fmt: skip
        writer.commit({**(details or {}), **built, **_manifest(writer, vocabulary, sources)})
    except BaseException:
        writer.discard()
        raise
    return TokenStore(prefix)


def _manifest(
    writer: TokenStoreWriter, vocabulary: Vocabulary, sources: list[dict]
) -> dict[str, Any]:
    """What the manifest says of the store's files, its vocabulary, and the files that it was built from."""
    return {
        "package_version": llmjp_jax.__version__,
        "vocabulary": {
            "path": vocabulary.path,
            "fingerprint": vocabulary.fingerprint,
            "vocab_size": vocabulary.vocab_size,
            "eos_id": vocabulary.eos_id,
        },
        "documents": writer.documents,
        "tokens": writer.tokens,
        "dtype": writer.dtype.name,
        "sha256": writer.sha256(),
        "mask_sha256": writer.sha256(".mask"),
        "sources": [_unchanged(source) for source in sources],
    }


def expand_files(files: Files) -> list[str]:
    """The files of paths and patterns, those of a pattern by name.

    Raises:
      UserError: a pattern matches nothing, or no file was given.
    """
    paths: list[str] = []
    for one in [files] if isinstance(files, str | os.PathLike) else files:
        path = Path(one).expanduser()
        # A file's own name may hold brackets.
        if path.exists() or not glob.has_magic(str(path)):
            found = [str(path)]
        else:
            found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - absolute patterns
        if not found:
            raise UserError(f"no file matches {one}; correct the pattern")
        paths += found
    if not paths:
        raise UserError("no files of examples are given; give at least one")
    return paths


def kind_of(paths: Sequence[str]) -> str:
    """'pairs' if the first record of these files has a chosen and a rejected answer, else 'examples'."""
    records = (record for path in paths for _, _, record in read_records(path))
    first = next(records, None)
    if first is None:
        raise UserError(f"{', '.join(map(str, paths))} hold no records; give files of JSON lines")
    return "pairs" if isinstance(first, Pair) else "examples"


class _Encoder:
    """Reads records and tokenises them in the same order."""

    def __init__(self, vocabulary: Vocabulary, template: Template, kind: str, bos: bool):
        self._vocabulary, self._template, self._kind, self._bos = vocabulary, template, kind, bos

    def chunks(self, paths: Sequence[str], num_threads: int | None, bar: tqdm) -> Iterator[_Chunk]:
        """The records of all files; `bar` moves by the bytes that were read."""
        threads = num_threads or os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool:
            waiting: collections.deque = collections.deque()
            try:
                for batch in self._batches(paths, bar):
                    waiting.append(pool.submit(self._chunk, batch))
                    if len(waiting) > 2 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _batches(self, paths: Sequence[str], bar: tqdm) -> Iterator[list]:
        read = 0
        for number, path in enumerate(paths):
            records = read_records(path)
            while batch := list(itertools.islice(records, _BATCH_RECORDS)):
                bar.update(read + batch[-1][1] - bar.n)
                yield [(number, path, *one) for one in batch]
            read += Path(path).stat().st_size
            bar.update(read - bar.n)

    def _chunk(self, batch: list) -> _Chunk:
        kept, places, dropped = [], [], 0
        for number, path, line, offset, record in batch:
            encoded = self._encoded(record, path, line)
            if all(one.weights[1:].any() for one in encoded):
                kept += encoded
                places += [(number, line, offset)] * len(encoded)
            else:
                dropped += 1
        return _Chunk(
            np.concatenate([np.zeros(0, np.int32), *(one.ids for one in kept)]),
            np.array([len(one) for one in kept], np.int64),
            np.array(places, PLACE),
            np.concatenate([np.zeros(0, np.uint8), *(one.weights for one in kept)]),
            dropped,
        )

    def _encoded(self, record: Any, path: str, line: int) -> tuple[Encoded, ...]:
        if isinstance(record, Pair) != (self._kind == "pairs"):
            raise UserError(
                f"{path}, line {line} has "
                + ("chosen and rejected" if self._kind == "examples" else "no chosen and rejected")
                + f", and the files are read as {self._kind}; give files of one kind"
            )
        if self._kind == "pairs":
            return encode_pair(self._vocabulary, record, self._template, self._bos)
        return (encode(self._vocabulary, record, self._template, bos=self._bos),)


def _unchanged(source: dict) -> dict:
    """A source with its sha256, if it is still what it was before it was read."""
    if describe_source(source["path"]) != source:
        raise UserError(f"{source['path']} changed while it was read; run the command again")
    return source | {"sha256": sha256_file(source["path"])}
