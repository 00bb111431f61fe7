"""The documents of a token store as text, with what is known of where they come from. Indexing them is in `indexing`.

A store that knows the line of each document (`TokenStore.places`) has its text there, as it was written. Of any other, such as
one that Megatron's own scripts made, the text is what its ids decode to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmjp_jax.corpus.documents import parse_document
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import TokenStore
from llmjp_jax.tokenizer import Vocabulary

# Names that corpora give to a document's licence, in the order in which they are believed.
_LICENCE_FIELDS = ("licence", "license")


class StoredText(NamedTuple):
    """One document: its text, what its line says about it, and the line (file number, line; None: decoded ids)."""

    text: str
    meta: Mapping[str, Any]
    place: tuple[int, int] | None


def has_source_text(store: TokenStore) -> bool:
    """Whether the store knows files with its documents' text: those of tuning are prompts, made of records."""
    return store.places is not None and "kind" not in (store.manifest or {})


def stored_texts(
    store: TokenStore, vocabulary: Vocabulary, documents: range, decode: bool = False
) -> Iterator[StoredText]:
    """The documents of a part of a store, in order.

    Args:
      documents: the part.
      decode: take the decoded ids even where the store knows its files.

    Raises:
      UserError: a source file is not there any more or has changed.
    """
    if decode or not has_source_text(store):
        for number in documents:
            yield StoredText(_decoded(store[number], vocabulary), {}, None)
        return
    files = [source_path(store, number) for number in range(len(store.manifest["sources"]))]
    places = np.asarray(store.places[documents.start : documents.stop])
    for number in np.unique(
        places["file"]
    ).tolist():  # a part of a store reads its files one after another
        _check_source(store, number)
        with files[number].open("rb") as file:
            for place in places[places["file"] == number]:
                file.seek(int(place["offset"]))
                line = int(place["line"])
                document = parse_document(file.readline(), f"{files[number]}, line {line}")
                yield StoredText(document["text"], document["meta"], (number, line))


def source_path(store: TokenStore, number: int) -> Path:
    """Where a source file of a store lies: one that is named from the folder in which the store was built is looked for there too."""
    path = Path(store.manifest["sources"][number]["path"])
    if path.is_absolute() or path.is_file():
        return path
    above = (folder / path for folder in store.prefix.absolute().parents)
    return next((found for found in above if found.is_file()), path)


def check_sources(store: TokenStore) -> None:
    """Raises a `UserError` where a file with the store's text is missing or is not what it was."""
    if has_source_text(store):
        for number in range(len(store.manifest["sources"])):
            _check_source(store, number)


def licence_of(meta: Mapping[str, Any], subset_licence: str | None) -> str | None:
    """A document's licence: what its line says, or else what is known of its subset."""
    for field in _LICENCE_FIELDS:
        if isinstance(meta.get(field), str):
            return meta[field]
    return subset_licence


def _check_source(store: TokenStore, number: int) -> None:
    source = store.manifest["sources"][number]
    path = source_path(store, number)
    advice = "put it back, or index the decoded ids with --decoded_text"
    if not path.is_file():
        raise UserError(
            f"the store {store.prefix} was built from {path}, which is not there; {advice}"
        )
    if path.stat().st_size != source["bytes"]:
        raise UserError(
            f"{path} has changed since the store {store.prefix} was built from it ({path.stat().st_size} bytes, then "
            f"{source['bytes']}); {advice}"
        )


def _decoded(ids: np.ndarray, vocabulary: Vocabulary) -> str:
    """The text of a document without the token that ends it; half a character becomes U+FFFD."""
    ids = ids.tolist()
    if ids and ids[-1] == vocabulary.eos_id:
        ids.pop()
    return vocabulary.decode(ids)
