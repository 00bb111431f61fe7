"""What a tokenizer is made of: languages with their text and sizes, and LLM-jp's v2 recipe. Its values stand in gin files.

Source: github.com/llm-jp/llm-jp-tokenizer, scripts/howToCreateModel_ver2.md; arXiv 2407.03963, section 2.2.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.tokenizer.candidates import count_words, frequent_substrings
from llmjp_jax.tokenizer.layout import LAYOUTS, SPACE_RUNS, ReservedPieces
from llmjp_jax.tokenizer.merging import PREFIXES, merge, merge_to_size
from llmjp_jax.tokenizer.sampling import lines_of
from llmjp_jax.tokenizer.segmentation import SEGMENTERS, versions
from llmjp_jax.tokenizer.steps import Steps
from llmjp_jax.tokenizer.unigram import (
    TRAINER_SPECIALS,
    explained,
    needs_more,
    train_pieces,
    trainable_lines,
)

# Of a language's vocab_size, its model has 260 that are no pieces of text: <unk> <s> </s>, the newline, 256 bytes.
_OWN_RESERVED = 260
# Languages share pieces, and Japanese loses those with a prefix: with this much more than their share each has enough.
_SLACK = 1.6
_MOST_CANDIDATES = 1_000_000  # SentencePiece's own default
_LONGEST_PIECE = (1 << 16) - 1  # EM keeps a piece's length in 16 bits

# name -> (path of a text, its sha256)
Samples = Mapping[str, tuple[Path, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Language:
    """Text of one language and the model of its own that is trained on it.

    Attributes:
      name: `ja`, `en`, `code` ...; letters, digits, `_` and `-`, for it is part of file names.
      sources: folder under corpora_dir -> bytes of UTF-8 to sample; a smaller source is taken whole.
      vocab_size: of its own model, as SentencePiece counts (260 of them are no text); where the recipe has an exact size,
        only the proportion to the other languages counts.
      max_piece_length: characters a piece, the `▁` of a space included.
      segmenters: names in `segmentation.SEGMENTERS`, applied to each line in turn before training.
      prefix: name in `merging.PREFIXES`: what becomes of a learned piece's `▁`.
      character_coverage: share of the characters that get a piece of their own.

    Raises:
      UserError: a field has no sensible value.
    """

    name: str
    sources: Mapping[str, int]
    vocab_size: int = 32_000
    max_piece_length: int = 16
    segmenters: Sequence[str] = ()
    prefix: str = "keep"
    character_coverage: float = 0.9995

    def __post_init__(self):
        where = f"the language {self.name}:"
        if not re.fullmatch(r"[\w-]+", self.name):
            raise UserError(
                f"a Language's name is {self.name!r}; it may have letters, digits, _ and - alone"
            )
        if not self.sources or min(self.sources.values()) < 1:
            raise UserError(
                f"{where} sources is {dict(self.sources)}; name folders, each with its bytes"
            )
        if self.vocab_size <= _OWN_RESERVED:
            raise UserError(
                f"{where} vocab_size is {self.vocab_size}; it must be above {_OWN_RESERVED}"
            )
        check_piece_length(self.max_piece_length, f"{where} ")
        if not 0.9 < self.character_coverage <= 1:
            raise UserError(
                f"{where} character_coverage is {self.character_coverage}; it must lie above 0.9, up to 1"
            )
        for segmenter in self.segmenters:
            check_name(segmenter, SEGMENTERS, f"{where} segmenters")
        check_name(self.prefix, PREFIXES, f"{where} prefix")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergedRecipe:
    """v2.1 and v2.2: a Unigram model a language, merged; scores re-estimated over all text by EM.

    Attributes:
      languages: in the order in which their pieces get ids.
      layout: name in `layout.LAYOUTS`: reserved pieces and their scores.
      vocab_size: exact size of the whole; None: what the languages' pieces come to.
      epochs: of EM.

    Raises:
      UserError: two languages have one name, or a value is out of range.
    """

    languages: Sequence[Language]
    layout: str = "v2.2"
    vocab_size: int | None = None
    epochs: int = 2

    def __post_init__(self):
        check_languages(self.languages)
        check_name(self.layout, LAYOUTS, "layout")
        if self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}; it must be 1 or more")
        least = len(self.reserved.pieces)
        if self.vocab_size is not None and self.vocab_size <= least:
            raise UserError(
                f"vocab_size is {self.vocab_size}; it must be above {least}, the number of reserved pieces"
            )

    @property
    def reserved(self) -> ReservedPieces:
        return LAYOUTS[self.layout]

    @property
    def fingerprint(self) -> dict[str, str]:
        """sha256 of every file that the recipe itself reads: none."""
        return {}

    def learn(self, samples: Samples, steps: Steps, log: bool) -> list[tuple[str, float]]:
        """The learned pieces with their scores, in order of id, from a sample of each language that has one."""
        languages = [language for language in self.languages if language.name in samples]
        learned = {
            language.name: _language_pieces(
                language, samples[language.name], steps, self._asked(language, languages), log
            )
            for language in languages
        }
        merged, sha256 = steps.run(
            "merged.json",
            lambda path: write_json(path, self._merge(languages, learned)),
            settings=self._settings(languages),
            inputs={name: sha256 for name, (_, sha256) in learned.items()},
        )
        pieces = read_json(merged)
        scores, _ = steps.run(
            "scores.json",
            lambda path: write_json(path, rescored(pieces, self.reserved, samples, self.epochs)),
            settings={"epochs": self.epochs, "space_runs": space_runs(self.reserved)},
            inputs={"merged": sha256, **{name: sha256 for name, (_, sha256) in samples.items()}},
        )
        return list(zip(pieces, read_json(scores), strict=True))

    def _asked(self, language: Language, languages: Sequence[Language]) -> int:
        """How many pieces a language's own model is trained to."""
        if self.vocab_size is None:
            return language.vocab_size - _OWN_RESERVED
        share = language.vocab_size / sum(other.vocab_size for other in languages)
        return int(_SLACK * share * (self.vocab_size - len(self.reserved.pieces))) + 50

    def _merge(self, languages: Sequence[Language], learned: Samples) -> list[str]:
        models = {name: read_json(path) for name, (path, _) in learned.items()}
        reserved = set(self.reserved.pieces)
        if self.vocab_size is None:
            clean = ([PREFIXES[language.prefix](piece) for piece, _ in models[language.name]] for language in languages)  # fmt: skip
            return merge(clean, reserved)
        return merge_to_size(
            models,
            {language.name: language.vocab_size for language in languages},
            {language.name: language.prefix for language in languages},
            self.vocab_size - len(reserved),
            reserved,
        )

    def _settings(self, languages: Sequence[Language]) -> dict[str, Any]:
        return {
            "layout": self.layout,
            "vocab_size": self.vocab_size,
            "languages": [[each.name, each.prefix, each.vocab_size] for each in languages],
        }


def _language_pieces(
    language: Language, sample: tuple[Path, str], steps: Steps, size: int, log: bool
) -> tuple[Path, str]:
    """The step that trains a language's own model; its file holds [piece, score] pairs."""
    import sentencepiece

    text, sha256 = segmented(language, sample, steps)
    candidates, candidates_sha256 = "", ""
    if language.segmenters:
        candidates, candidates_sha256 = _candidates(language, (text, sha256), steps)
    exact = size == language.vocab_size - _OWN_RESERVED

    def train(path: Path) -> None:
        asked = size
        while True:
            bar = tqdm(lines_of([text]), desc=f"{language.name}: to SentencePiece", unit=" lines")
            try:
                pieces = train_pieces(
                    trainable_lines(bar),
                    asked,
                    max_piece_length=language.max_piece_length,
                    character_coverage=language.character_coverage,
                    at_most=not exact,
                    candidates=candidates,
                    log=log,
                )
            except RuntimeError as error:
                if not exact and needs_more(error):
                    asked *= 2  # merging will say what the characters of all languages need
                    continue
                reason = explained(error, language.vocab_size, _OWN_RESERVED - TRAINER_SPECIALS)
                raise UserError(f"the language {language.name}: {reason}") from None
            return write_json(path, pieces)

    settings = {
        "size": size,
        "at_most": not exact,
        "max_piece_length": language.max_piece_length,
        "character_coverage": language.character_coverage,
        "sentencepiece": sentencepiece.__version__,
    }
    name = f"pieces.{language.name}.json"
    return steps.run(
        name, train, settings=settings, inputs={"text": sha256, "candidates": candidates_sha256}
    )


def _candidates(language: Language, text: tuple[Path, str], steps: Steps) -> tuple[Path, str]:
    """The step that lists what SentencePiece chooses from where the text was cut into words.

    Left to itself it would look at the list of different words, in which a word's own count is lost: in 2.5 MB of Tatoeba
    `世界`, 166 times there but in no other word, got no piece. In gigabytes every word is part of another one.
    """

    def write(path: Path) -> None:
        words = count_words(trainable_lines(lines_of([text[0]])))
        found = frequent_substrings(words, language.max_piece_length, 2, at_most=_MOST_CANDIDATES)
        found.sort(key=lambda pair: -pair[1] * len(pair[0]))
        with atomic_write(path, "w") as file:
            file.writelines(f"{piece}\t{count}\n" for piece, count in found)

    settings = {"max_piece_length": language.max_piece_length, "at_most": _MOST_CANDIDATES}
    name = f"candidates.{language.name}.tsv"
    return steps.run(name, write, settings=settings, inputs={"text": text[1]})


def segmented(language: Language, sample: tuple[Path, str], steps: Steps) -> tuple[Path, str]:
    """The step that puts a sample through the language's segmenters; the sample itself where there are none."""
    if not language.segmenters:
        return sample

    def segment(path: Path) -> None:
        with atomic_write(path, "w") as file:
            for line in tqdm(lines_of([sample[0]]), desc=f"{language.name}: words", unit=" lines"):
                parts = [line]
                for name in language.segmenters:
                    parts = [part for whole in parts for part in SEGMENTERS[name](whole)]
                file.writelines(f"{part}\n" for part in parts)

    return steps.run(
        f"segmented.{language.name}.txt",
        segment,
        settings={
            "segmenters": list(language.segmenters),
            "versions": versions(language.segmenters),
        },
        inputs={"sample": sample[1]},
    )


def rescored(
    pieces: Sequence[str],
    reserved: ReservedPieces,
    samples: Samples,
    epochs: int,
) -> list[float]:
    """EM over all samples as they are; space runs take part, though their scores are not used."""
    from llmjp_jax.tokenizer.multigram import Multigram, marked_blocks

    runs = space_runs(reserved)
    model = Multigram([*runs, *pieces])
    paths = [path for path, _ in samples.values()]

    def blocks():
        bar = tqdm(lines_of(paths), desc="EM", unit=" lines")
        return marked_blocks(bar)

    model.fit(blocks, epochs)
    return model.scores[len(runs) :].tolist()


def space_runs(reserved: ReservedPieces) -> list[str]:
    """The reserved pieces that take part in EM."""
    return [piece for piece in reserved.pieces if piece in SPACE_RUNS]


def write_json(path: Path, value: Any) -> None:
    with atomic_write(path, "w") as file:
        json.dump(value, file, ensure_ascii=False)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def check_languages(languages: Sequence[Language]) -> None:
    names = [language.name for language in languages]
    if not names:
        raise UserError("languages is empty; give one at least")
    if len(set(names)) < len(names):
        raise UserError(f"languages has a name twice: {', '.join(names)}; each needs its own")


def check_piece_length(length: int, where: str) -> None:
    if not 1 <= length <= _LONGEST_PIECE:
        raise UserError(
            f"{where}max_piece_length is {length}; it must lie between 1 and {_LONGEST_PIECE}"
        )


def check_name(name: str, known: Mapping[str, Any], where: str) -> None:
    if name not in known:
        raise UserError(f"{where} has {name!r}; known are: {', '.join(known)}")
