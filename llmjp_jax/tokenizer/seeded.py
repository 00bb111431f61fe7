"""LLM-jp's v3 recipe: pieces that are always kept, and stages that add more by growing a vocabulary and shrinking it by EM.

Source: github.com/llm-jp/llm-jp-tokenizer, scripts_v3/README.md and train_spstyle.py (the loop), train_vocab/README.md
(the stages). Random beginnings there are drawn from a fixed seed here, and ties fall to the piece that was there first.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.files import sha256_file
from llmjp_jax.tokenizer.candidates import count_words, frequent_substrings
from llmjp_jax.tokenizer.layout import LAYOUTS, ReservedPieces
from llmjp_jax.tokenizer.recipes import (
    Language,
    Samples,
    check_languages,
    check_name,
    check_piece_length,
    read_json,
    rescored,
    segmented,
    space_runs,
    write_json,
)
from llmjp_jax.tokenizer.sampling import lines_of
from llmjp_jax.tokenizer.steps import Steps
from llmjp_jax.tokenizer.unigram import trainable_lines

# Learned in no layout, so that the stages do not depend on it; other tools' lists of pieces have some of them.
_RESERVED = frozenset(piece for layout in LAYOUTS.values() for piece in layout.pieces)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """Adds pieces to those that are there already, which stay.

    Attributes:
      language: whose sample new pieces are learned from; None: they are read from `files`.
      files: pieces in order, see `read_pieces`.
      vocab_size: how many pieces there are after it, before what `exclude` and `words` take away; reserved ones do not count.
      exclude: regular expression; a new piece with a match in it is left out.
      words: file of words, one a line or the first column of a CSV; new pieces of several characters that are none of these
        are left out.
    """

    vocab_size: int
    language: str | None = None
    files: Sequence[str] = ()
    exclude: str | None = None
    words: str | None = None

    def __post_init__(self):
        if (self.language is None) == (not self.files):
            raise UserError("a Stage needs either language or files, not both")
        if self.vocab_size < 1:
            raise UserError(f"a Stage's vocab_size is {self.vocab_size}; it must be 1 or more")
        for path in (*self.files, *([self.words] if self.words else [])):
            if not Path(path).is_file():
                raise UserError(f"a Stage reads {path}, which is no file; correct its path")
        if self.exclude is not None:
            try:
                re.compile(self.exclude)
            except re.error as error:
                raise UserError(
                    f"exclude = {self.exclude!r} is no regular expression: {error}"
                ) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeededRecipe:
    """v3: seed files, then stages, then scores by EM over the text of all languages.

    Attributes:
      languages: their sources and segmenters; the other fields are not used.
      seed_files: pieces that every stage keeps, in this order; see `read_pieces`.
      stages: in order.
      max_piece_length, min_frequency: of the substrings that a stage begins with; single characters are taken in any case.
      shrink_ratio: a stage shrinks to this part at a time, until its size is reached.
      epochs: of EM, before each shrinking and at the end.
      keep_characters: never drop a single character.
      seed: of the random scores after each shrinking.
    """

    languages: Sequence[Language]
    stages: Sequence[Stage]
    seed_files: Sequence[str] = ()
    layout: str = "v3"
    max_piece_length: int = 16
    min_frequency: int = 30
    shrink_ratio: float = 0.5
    epochs: int = 2
    keep_characters: bool = False
    seed: int = 0

    def __post_init__(self):
        check_languages(self.languages)
        check_name(self.layout, LAYOUTS, "layout")
        for stage in self.stages:
            if stage.language is not None:
                check_name(stage.language, {each.name: each for each in self.languages}, "a Stage's language")  # fmt: skip
        if not 0 < self.shrink_ratio < 1:
            raise UserError(f"shrink_ratio is {self.shrink_ratio}; it must lie between 0 and 1")
        self._check_sizes()
        check_piece_length(self.max_piece_length, "")
        for name in ("min_frequency", "epochs"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for path in self.seed_files:
            if not Path(path).is_file():
                raise UserError(f"seed_files has {path}, which is no file; correct its path")

    def _check_sizes(self) -> None:
        """A stage that takes nothing away leaves as many pieces as it learned: none may follow that has room for fewer."""
        most, from_stage = 0, 0
        for number, stage in enumerate(self.stages, 1):
            if stage.vocab_size < most:
                raise UserError(
                    f"stage {number} has vocab_size {stage.vocab_size}, but stage {from_stage} leaves {most} pieces: "
                    f"raise it, or give stage {from_stage} words or exclude to take some away"
                )
            whole = stage.language is not None and stage.words is None and stage.exclude is None
            if whole and stage.vocab_size > most:
                most, from_stage = stage.vocab_size, number

    @property
    def reserved(self) -> ReservedPieces:
        return LAYOUTS[self.layout]

    @property
    def fingerprint(self) -> dict[str, str]:
        """sha256 of every file that the recipe itself reads."""
        paths = [*self.seed_files, *(path for stage in self.stages for path in stage.files)]
        paths += [stage.words for stage in self.stages if stage.words]
        return {path: sha256_file(path) for path in paths}

    def learn(self, samples: Samples, steps: Steps, log: bool) -> list[tuple[str, float]]:
        """The learned pieces with their scores, in order of id.

        Raises:
          UserError: a stage's language has no text, or its vocab_size does not hold the seeds.
        """
        for number, stage in enumerate(self.stages, 1):
            if stage.language is not None and stage.language not in samples:
                raise UserError(
                    f"stage {number} learns from the language {stage.language}, which has no text; give it some, or "
                    "leave the stage out"
                )
        path, sha256 = steps.run(
            "seeds.json",
            lambda path: write_json(path, _new(_all_pieces(self.seed_files), _RESERVED)),
            settings={"files": list(self.seed_files)},
            inputs=self.fingerprint,
        )
        seeds = len(read_json(path))
        for number, stage in enumerate(self.stages, 1):
            if stage.vocab_size < seeds:
                raise UserError(
                    f"stage {number} has vocab_size {stage.vocab_size}, but seed_files have {seeds} pieces; raise it"
                )
        texts = {
            language.name: segmented(language, samples[language.name], steps)
            for language in self.languages
            if language.name in samples
        }
        for number, stage in enumerate(self.stages, 1):
            path, sha256 = self._run_stage(number, stage, (path, sha256), texts, steps)
        pieces = read_json(path)
        scores, _ = steps.run(
            "scores.json",
            lambda path: write_json(path, rescored(pieces, self.reserved, samples, self.epochs)),
            settings={"epochs": self.epochs, "space_runs": space_runs(self.reserved)},
            inputs={"pieces": sha256, **{name: sha256 for name, (_, sha256) in samples.items()}},
        )
        return list(zip(pieces, read_json(scores), strict=True))

    def _run_stage(self, number, stage: Stage, before, texts: Samples, steps: Steps):
        """The step whose file holds the pieces so far and those that the stage adds."""
        fixed = read_json(before[0])
        inputs = {"before": before[1], **self.fingerprint}
        if stage.language is not None:
            inputs["text"] = texts[stage.language][1]

        def add(path: Path) -> None:
            if stage.language is None:
                new = _new(_all_pieces(stage.files), {*_RESERVED, *fixed})
                new = new[: max(stage.vocab_size - len(fixed), 0)]
            else:
                words = count_words(trainable_lines(lines_of([texts[stage.language][0]])))
                grown = grow(words, fixed, stage.vocab_size, self)
                new = _new(grown, {*_RESERVED, *fixed})
            write_json(path, fixed + _allowed(new, stage))

        settings = {"stage": repr(stage), "recipe": self._loop_settings()}
        name = f"stage.{number}.{stage.language or 'files'}.json"
        return steps.run(name, add, settings=settings, inputs=inputs)

    def _loop_settings(self) -> list:
        return [self.max_piece_length, self.min_frequency, self.shrink_ratio, self.epochs, self.keep_characters, self.seed]  # fmt: skip


def grow(
    words: Mapping[str, int], fixed: Sequence[str], size: int, recipe: SeededRecipe
) -> list[str]:
    """All frequent substrings of words (word -> count), shrunk to `size` pieces by EM; `fixed` ones stay.

    Returns: the pieces that are not fixed, the most probable first.

    Raises:
      UserError: the pieces that must stay are more than `size`.
    """
    from llmjp_jax.tokenizer.multigram import Multigram

    kept = set(fixed)
    found = frequent_substrings(words, recipe.max_piece_length, recipe.min_frequency)
    pieces = list(dict.fromkeys([*fixed, *(piece for piece, _ in found)]))
    random = np.random.default_rng(recipe.seed)
    bar = tqdm(desc="shrinking", unit=" rounds")
    model = Multigram(pieces, _random_scores(len(pieces), random))
    counts = _em(model, words, recipe.epochs)
    while len(pieces) > size:
        stays = np.array([p in kept or (recipe.keep_characters and len(p) == 1) for p in pieces])
        if stays.sum() > size:
            raise UserError(
                f"vocab_size {size} of a Stage is below the {stays.sum()} pieces that it must keep; raise it"
            )
        target = max(size, int(len(pieces) * recipe.shrink_ratio))
        order = np.lexsort(
            (np.arange(len(pieces)), -counts, ~stays)
        )  # who stays, then the frequent
        pieces = [pieces[index] for index in sorted(order[:target])]
        bar.update()
        bar.set_postfix_str(f"{len(pieces):,} pieces")
        model = Multigram(pieces, _random_scores(len(pieces), random))
        counts = _em(model, words, recipe.epochs)
    bar.close()
    ranked = np.lexsort((np.arange(len(pieces)), -counts))
    return [pieces[index] for index in ranked if pieces[index] not in kept]


def _em(model, words: Mapping[str, int], epochs: int) -> np.ndarray:
    for _ in range(epochs):
        counts, _ = model.expected_counts_of_words(words)
        model.maximise(counts)
    return counts


def _random_scores(size: int, random: np.random.Generator) -> np.ndarray:
    weights = 1.0 - random.random(size)  # in (0, 1]: its logarithm is a number
    return np.log(weights / weights.sum())


def read_pieces(path: str) -> list[str]:
    """The pieces of a vocabulary as another tool wrote it, in order of id.

    A tokenizer.json of Hugging Face; a JSON list of pieces, or object with pieces as keys; a SentencePiece .model; else text,
    one piece a line, of which a tab and what follows is left out.

    Raises:
      UserError: the file is none of these.
    """
    file = Path(path)
    if file.suffix == ".model":
        from llmjp_jax.tokenizer.model_proto import read_model_proto

        return [piece.piece for piece in read_model_proto(file).pieces]
    try:
        text = file.read_text(encoding="utf-8")
        value = json.loads(text) if file.suffix == ".json" else text.split("\n")
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not a list of pieces ({error}); give the right file") from None
    if isinstance(value, dict) and isinstance(value.get("model"), dict):
        value = value["model"].get("vocab")
    if isinstance(value, dict):
        value = list(value)
    if isinstance(value, list):
        value = [piece[0] if isinstance(piece, list) and piece else piece for piece in value]
    if not isinstance(value, list) or not all(isinstance(piece, str) for piece in value):
        raise UserError(
            f"{path} is not a list of pieces; give a list of texts, or a tokenizer.json"
        )
    return [piece.split("\t")[0] for piece in value] if file.suffix != ".json" else value


def _all_pieces(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        yield from read_pieces(path)


def _new(pieces: Iterable[str], known: set[str]) -> list[str]:
    return [piece for piece in dict.fromkeys(pieces) if piece and piece not in known and piece.strip("▁")]  # fmt: skip


def _allowed(pieces: Iterable[str], stage: Stage) -> list[str]:
    words = None
    if stage.words is not None:
        words = {line.split(",")[0] for line in lines_of([Path(stage.words)])}
    return [
        piece
        for piece in pieces
        if not (stage.exclude and re.search(stage.exclude, piece))
        and (words is None or len(piece) == 1 or piece in words)
    ]
