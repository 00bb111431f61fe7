"""Small JSONL corpora of sentences in three languages, for the tests of building stores."""

from __future__ import annotations

import random
from pathlib import Path

from llmjp_jax.corpus import write_documents

SENTENCES = [
    "吾輩は猫である。",
    "The dog sat on the mat.",
    "for i in range(3):\n\tprint(i)\n",
    "獰悪な種族であったそうだ。",
    "A step. ",
]


def texts(count: int, seed: int) -> list[str]:
    choose = random.Random(seed)
    return ["".join(choose.choices(SENTENCES, k=choose.randint(1, 9))) for _ in range(count)]


def corpus(path: Path, count: int, seed: int) -> Path:
    write_documents(
        path, ({"text": text, "meta": {"n": n}} for n, text in enumerate(texts(count, seed)))
    )
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
