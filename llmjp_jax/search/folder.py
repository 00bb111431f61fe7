"""The folder of an index: what lies where, and index.json, which says which stores it holds.

INDEX/index.json              the format, the vocabulary, the stores and their shards
INDEX/tokenizer/              a copy of the vocabulary, so that the folder needs nothing else
INDEX/shards/NAME/            a part of one store: documents one after another, whole or not there at all
    shard.json                which documents of which store, and how many
    ids.bin, ids.starts.npy, ids.frequency.npy      the token ids as the store has them; see `scanning.Stream`
    text.bin, text.starts.npy, text.frequency.npy   the text in UTF-8
    tantivy/                  the inverted index of `terms.schema`
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

FORMAT = 1
INDEX_FILE, SHARDS, TOKENIZER = "index.json", "shards", "tokenizer"


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """A token store in an index.

    Attributes:
      subset, split: its Task and split.
      fingerprint: `TokenStore.fingerprint` of it.
      documents, tokens, characters, text_bytes: how much there is of it; bytes in UTF-8.
      text: 'source' or 'decoded': where its text was taken from.
      licence: of its subset; a document's own may be another. None where nothing says it.
      licences: those that its documents name themselves.
      files: names of the files its text was read from.
      shards: names of the folders of its parts, in order.
    """

    subset: str
    split: str
    fingerprint: str
    documents: int
    tokens: int
    characters: int
    text_bytes: int
    text: str
    licence: str | None
    licences: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()

    @property
    def licence_words(self) -> str | None:
        """Its licence, or else those of its documents, the first five of them."""
        more = len(self.licences) - 5
        return (
            self.licence
            or ", ".join([*self.licences[:5], *([f"{more} more"] if more > 0 else [])])
            or None
        )


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What index.json says: the fingerprint of the vocabulary, and the stores in their order."""

    vocabulary: str
    stores: tuple[StoreInfo, ...] = field(default=())

    def write(self, folder: Path) -> None:
        """Replaces index.json at once."""
        content = {"format": FORMAT} | asdict(self)
        with atomic_write(folder / INDEX_FILE, "w") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)

    @classmethod
    def read(cls, folder: Path) -> Contents:
        """The contents of a folder.

        Raises:
          UserError: it is no index, is of another format, or its file is not whole.
        """
        path = folder / INDEX_FILE
        if not path.is_file():
            raise UserError(
                f"{folder} is no index: it has no {INDEX_FILE}; make one with tools/search_corpus.py index"
            )
        try:
            content = json.loads(path.read_bytes())
            if content["format"] != FORMAT:
                raise UserError(f"{path} has format {content['format']!r}, and this program reads {FORMAT}; index again")  # fmt: skip
            stores = tuple(_store(fields) for fields in content["stores"])
            return cls(vocabulary=content["vocabulary"], stores=stores)
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is not a whole index file ({error!r}); index again") from None


def _store(fields: dict[str, Any]) -> StoreInfo:
    lists = {name: tuple(fields[name]) for name in ("licences", "files", "shards")}
    if any(Path(name).name != name or name in ("", "..") for name in lists["shards"]):
        raise ValueError(f"shards {fields['shards']} are no names of folders")
    return StoreInfo(**fields | lists)


@contextlib.contextmanager
def building(folder: Path) -> Iterator[None]:
    """Holds the folder for one builder; what an earlier one left unfinished is removed.

    Raises:
      UserError: another process builds there, or the folder holds something else.
    """
    if (
        folder.is_dir()
        and not (folder / INDEX_FILE).exists()
        and any(path.name not in (SHARDS, TOKENIZER, ".lock") for path in folder.iterdir())
    ):
        raise UserError(f"{folder} holds other files and no index; give an empty or a new folder")
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    import fcntl

    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(
                lock, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # the system lets go of it when the process ends
        except BlockingIOError:
            raise UserError(f"another process is building {folder}; wait for it to end") from None
        for left in (folder / SHARDS).glob(".*"):
            shutil.rmtree(left)
        yield


def shard_name(subset: str, split: str, documents: range) -> str:
    """The name of the folder of a part of a store; a slash of the subset's name, or a dot before it, is written %2F, %2E."""
    name = subset.replace("%", "%25").replace("/", "%2F")
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    return f"{name}.{split}.{documents.start:010d}"


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
