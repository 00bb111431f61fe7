"""The index for Quickwit, a search server that spreads a Tantivy index over machines: its configuration, its documents, its queries.

The fields are those of `terms`, written out as terms with spaces between them and read by Quickwit's tokenizer `whitespace`, so
that a phrase query is an exact match there as it is here. Quickwit itself is not started or spoken to.

Sources, of Quickwit 0.9: docs/configuration/index-config.md (field mappings, tokenizers, tags), docs/reference/cli.md (`index
create`, `index ingest`, `tool local-ingest`), docs/reference/es_compatible_api.md (`match_phrase`); quickwit-config's
index_config/serialize.rs says which versions of the configuration it reads.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.folder import shard_name
from llmjp_jax.search.results import DocumentId, IndexedDocument, Where
from llmjp_jax.search.terms import FIELDS, char_prefix, char_terms, id_terms, word_terms

CONFIG_VERSION = "0.8"  # Quickwit 0.8 and 0.9 read it
CONFIG_FILE, DOCUMENTS = "index-config.json", "documents"
_INDEX_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{2,254}")
# Analyzed as `terms` says: ids and chars with positions, words with frequencies and with lengths, which BM25 needs.
_TERMS = {"type": "text", "tokenizer": "whitespace", "stored": False}
_NAME = {"type": "text", "tokenizer": "raw", "record": "basic", "fast": True}
_KEPT = {"type": "text", "indexed": False}


def index_config(index_id: str = "llmjp-corpus") -> dict[str, Any]:
    """The configuration of the index, for `quickwit index create --index-config`.

    Raises:
      UserError: Quickwit does not allow the name.
    """
    if not _INDEX_ID.fullmatch(index_id):
        raise UserError(
            f"{index_id!r} is no name of an index in Quickwit: it begins with a letter and has 3 to 255 letters, digits, - and _"
        )
    terms = [
        {"name": name, **_TERMS}
        | (
            {"record": "freq", "fieldnorms": True}
            if name == "words"
            else {"record": "position", "fieldnorms": False}
        )
        for name in FIELDS
    ]
    return {
        "version": CONFIG_VERSION,
        "index_id": index_id,
        "doc_mapping": {
            "mode": "strict",
            "field_mappings": [
                {"name": "id", "type": "text", "tokenizer": "raw", "record": "basic"},
                {"name": "subset", **_NAME},
                {"name": "split", **_NAME},
                {"name": "number", "type": "u64", "fast": True},
                {"name": "licence", **_NAME},
                {"name": "source", **_KEPT},
                {"name": "text", **_KEPT},
                *terms,
            ],
            "tag_fields": ["subset", "split"],
        },
        "search_settings": {"default_search_fields": ["words"]},
    }


def document_line(document: IndexedDocument) -> dict[str, Any]:
    """A document of an index as the configuration has it."""
    line = {
        "id": str(document.id),
        **document.id._asdict(),
        "source": document.source,
        "text": document.text,
        "ids": " ".join(id_terms(document.tokens.tolist())),
        "chars": " ".join(char_terms(document.text)),
        "words": " ".join(word_terms(document.text)),
    }
    return line | ({"licence": document.licence} if document.licence else {})


def export(
    index: CorpusIndex,
    output_dir: str | os.PathLike,
    index_id: str = "llmjp-corpus",
    where: Where = Where(),
) -> list[Path]:
    """Writes an index for Quickwit: its configuration, and a file of JSON lines for each of its parts.

    Args:
      output_dir: new or empty; gets index-config.json and documents/NAME.ndjson.
      where: the stores to write.

    Returns:
      the files.

    Raises:
      UserError: the folder holds something, or `where` or `index_id` is wrong.
    """
    output_dir, chosen, config = Path(output_dir), index.chosen(where), index_config(index_id)
    if output_dir.is_dir() and any(output_dir.iterdir()):
        raise UserError(f"{output_dir} holds files already; give an empty or a new folder")
    files = []
    total = sum(shard.stop - shard.first for _, shard in chosen)
    with tqdm(total=total, unit="document", unit_scale=True, desc="export") as bar:
        for (subset, split), shard in chosen:
            numbers = range(shard.first, shard.stop)
            path = output_dir / DOCUMENTS / f"{shard_name(subset, split, numbers)}.ndjson"
            with atomic_write(path, "w") as file:
                for number in numbers:
                    line = document_line(index.document(DocumentId(subset, split, number)))
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    bar.update()
            files.append(path)
    with atomic_write(output_dir / CONFIG_FILE, "w") as file:
        json.dump(config, file, indent=1)
    return [output_dir / CONFIG_FILE, *files]


def search_request(
    *,
    text: str | None = None,
    ids: Iterable[int] | None = None,
    where: Where = Where(),
    limit: int = 10,
) -> dict[str, Any]:
    """The body of POST api/v1/_elastic/INDEX/_search that finds documents in which a text, or token ids, stand verbatim.

    It counts documents; how often each of them has it is not in the answer.

    Args:
      text, ids: one of the two, not empty.
      where: the stores to look into.
      limit: documents in the answer.

    Raises:
      UserError: there is nothing to look for, or both.
    """
    if (text is None) == (ids is None):
        raise UserError("give what to look for: a text or token ids")
    terms = char_terms(text, whole=False) if text is not None else id_terms(ids)
    if text is not None and len(text) == 1:
        query: dict[str, Any] = {"prefix": {"chars": {"value": char_prefix(text)}}}
    elif terms:
        field = "chars" if text is not None else "ids"
        query = {"match_phrase": {field: {"query": " ".join(terms)}}}
    else:
        raise UserError("there is nothing to look for; give at least one character or token id")
    filters = [_any_of("subset", where.subsets), _any_of("split", where.splits)]
    bool_query = {"must": [query], "filter": [one for one in filters if one]}
    return {"query": {"bool": bool_query}, "size": limit}


def _any_of(field: str, values: Sequence[str] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    terms = [{"term": {field: {"value": value}}} for value in values]
    return terms[0] if len(terms) == 1 else {"bool": {"should": terms}}
