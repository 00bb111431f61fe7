"""How much text a token holds: characters per token by language, for several tokenizers beside each other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write, sha256_file
from llmjp_jax.tokenizer.sampling import lines_of
from llmjp_jax.tokenizer.steps import Steps
from llmjp_jax.tokenizer.unigram import plain_unigram, trainable_lines
from llmjp_jax.tokenizer.vocabulary import Vocabulary, load_vocabulary


def compression(
    vocabularies: Mapping[str, Vocabulary], texts: Mapping[str, Iterable[str]]
) -> dict[str, Any]:
    """Characters per token, the more the better, of each vocabulary on each language's texts.

    Each text is encoded by itself, without bos and eos; the `▁` that encoding puts before it counts as any other token.

    Args:
      vocabularies: name -> vocabulary.
      texts: language -> held-out documents.

    Returns: `{"texts": {language: {"documents", "characters", "bytes"}}, "tokenizers": {name: {"vocab_size",
      "characters_per_token": {language: float}, "byte_tokens": {language: share of tokens that are bytes}}}}`.

    Raises:
      UserError: a language has no text.
    """
    held_out = {language: list(documents) for language, documents in texts.items()}
    sizes = {}
    for language, documents in held_out.items():
        characters = sum(map(len, documents))
        if not characters:
            raise UserError(f"the held-out text of {language} is empty; give documents, or leave it out")  # fmt: skip
        encoded = sum(len(text.encode()) for text in documents)
        sizes[language] = {"documents": len(documents), "characters": characters, "bytes": encoded}
    tokenizers = {}
    for name, vocabulary in vocabularies.items():
        bytes_ = {id for id, piece in enumerate(vocabulary.pieces) if _is_byte(piece)}
        rates, shares = {}, {}
        for language, documents in held_out.items():
            rows = vocabulary.encode_batch(documents)
            tokens = sum(map(len, rows))
            rates[language] = sizes[language]["characters"] / tokens
            shares[language] = sum(id in bytes_ for row in rows for id in row) / tokens
        tokenizers[name] = {
            "vocab_size": vocabulary.vocab_size,
            "characters_per_token": rates,
            "byte_tokens": shares,
        }
    return {"texts": sizes, "tokenizers": tokenizers}


def plain_beside(tokenizer: str | os.PathLike, *, character_coverage: float = 0.9995) -> Vocabulary:
    """One plain SentencePiece Unigram model of the same size, trained on the same samples: `TOKENIZER.steps/plain.model`.

    Args:
      tokenizer: a .model of `train_tokenizer`, whose steps are still beside it.
      character_coverage: as there.

    Raises:
      UserError: the samples are gone, or the size does not fit the text without languages of their own.
    """
    import sentencepiece

    folder = Path(f"{tokenizer}.steps")
    samples = sorted(folder.glob("sample.*.txt"))
    if not samples:
        raise UserError(
            f"{folder} has no samples, which the plain tokenizer is trained on; train {tokenizer} again"
        )
    size = load_vocabulary(tokenizer).vocab_size

    def train(path: Path) -> None:
        bar = tqdm(lines_of(samples), desc="plain: lines for SentencePiece", unit=" lines")
        proto = plain_unigram(trainable_lines(bar), size, character_coverage=character_coverage)
        with atomic_write(path) as file:
            file.write(proto.SerializeToString(deterministic=True))

    path, _ = Steps(folder, lambda line: None).run(
        "plain.model",
        train,
        settings={
            "vocab_size": size,
            "character_coverage": character_coverage,
            "sentencepiece": sentencepiece.__version__,
        },
        inputs={sample.name: sha256_file(sample) for sample in samples},
    )
    return load_vocabulary(path)


def compression_table(report: Mapping[str, Any]) -> str:
    """The report of `compression` as lines of text, a tokenizer each."""
    languages = list(report["texts"])
    width = max(len(name) for name in (*report["tokenizers"], "characters per token"))
    lines = [
        f"{'characters per token':<{width}} {'pieces':>9}"
        + "".join(f"{name:>9}" for name in languages)  # fmt: skip
    ]
    for name, row in report["tokenizers"].items():
        rates = "".join(f"{row['characters_per_token'][language]:>9.3f}" for language in languages)
        lines.append(f"{name:<{width}} {row['vocab_size']:>9,}{rates}")
    return "\n".join(lines)


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
