"""Raw text for builds: Japanese web pages with planted duplicates, as mC4 has them."""

import gzip
import random
from pathlib import Path

import orjson
import pytest


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    from tests.conftest import tiny_documents

    return [text + "。" for text in tiny_documents("tiny_ja", 4000)]


def pages(sentences: list[str], count: int, seed: int = 0) -> list[dict]:
    """Rows of web pages; every tenth page is a copy of an earlier one, every eleventh nearly one."""
    choice = random.Random(seed)
    rows: list[dict] = []
    for n in range(count):
        if n and n % 10 == 0:
            text = choice.choice(rows)["text"]
        elif n and n % 11 == 0:
            text = choice.choice(rows)["text"] + "終わり。"
        else:
            text = "".join(choice.choices(sentences, k=choice.randrange(8, 30)))
        if n % 13 == 0:
            text = "plain English only, no kana at all. " * 20
        rows.append({"text": text, "url": f"http://example.jp/{n}", "timestamp": "2020-01-01"})
    return rows


@pytest.fixture
def raw(tmp_path, sentences) -> Path:
    """A folder with three files: plain, gzip, and one of another name."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for n, name in enumerate(["a.jsonl", "b.jsonl.gz", "c.jsonl"]):
        lines = b"".join(orjson.dumps(row) + b"\n" for row in pages(sentences, 120, seed=n))
        (folder / name).write_bytes(gzip.compress(lines, mtime=0) if name.endswith("gz") else lines)
    return folder
