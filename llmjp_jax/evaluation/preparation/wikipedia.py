"""The five tasks on the Wikipedia Annotated Corpus: readings, named entities, dependencies, arguments and coreference.

Raw data: ku-nlp/WikipediaAnnotatedCorpus, tag v1.1.2: `id/{train,dev,test}.id` and `knp/{first 8 of the name}/{name}.knp`.
Rules: llm-jp-eval v1.3.0, wiki.py of swallow-llm/swallow-evaluation; the official hashes of all five dev files are met. The
documents keep the order of their names, nothing is shuffled, and one with a blank answer is left out. How a KNP file is read
is in `knp`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation.knp import (
    mention_text,
    predicate_text,
    read_document,
    sentences_outside_brackets,
    text_with_brackets,
    without_brackets,
)
from llmjp_jax.evaluation.preparation.splitting import Splits
from llmjp_jax.evaluation.task_files import SPLITS, Sample

if TYPE_CHECKING:
    from rhoknp import Document, Morpheme

ENTITY_TYPES = {
    "ORGANIZATION": "組織名",
    "PERSON": "人名",
    "LOCATION": "地名",
    "ARTIFACT": "固有物名",
    "DATE": "日付表現",
    "TIME": "時刻表現",
    "MONEY": "金額表現",
    "PERCENT": "割合表現",
}  # OPTIONAL, which the annotators were free to mark, is not asked for.
# In the order of an answer, with the name printed there.
CASES = {
    "ガ": "ガ",
    "デ": "デ",
    "ト": "ト",
    "ニ": "ニ",
    "ヘ": "ヘ",
    "ヲ": "ヲ",
    "カラ": "カラ",
    "ガ２": "ガ",
    "マデ": "マデ",
    "ヨリ": "ヨリ",
}
_LETTERS = dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "えー びー しー でぃー いー えふ じー えいち あい じぇー けー える えむ えぬ おー ぴー きゅー あーる えす てぃー "
        "ゆー ぶい だぶりゅー えっくす わい ぜっと".split(),
        strict=True,
    )
)


def prepare_reading(raw: Path) -> Splits:
    """wiki_reading: a text, and the same in hiragana.

    Raises:
      UserError: a raw file is missing or not in KNP's format; so do the four below.
    """
    return _prepare(raw)["reading"]


def prepare_ner(raw: Path) -> Splits:
    """wiki_ner: a text, and its named entities with their types."""
    return _prepare(raw)["ner"]


def prepare_dependency(raw: Path) -> Splits:
    """wiki_dependency: a text, and each bunsetsu with its head, one a line."""
    return _prepare(raw)["dependency"]


def prepare_pas(raw: Path) -> Splits:
    """wiki_pas: a text, and its predicates with their arguments, one a line."""
    return _prepare(raw)["pas"]


def prepare_coreference(raw: Path) -> Splits:
    """wiki_coreference: a text, and the phrases that refer to the same thing, one thing a line."""
    return _prepare(raw)["coreference"]


def _plain_text(document: Document) -> str:
    return "".join(sentence.text for sentence in sentences_outside_brackets(document))


def _readings(document: Document) -> str:
    sentences = sentences_outside_brackets(document)
    return "".join(_reading(m) for sentence in sentences for m in sentence.morphemes)


def _reading(morpheme: Morpheme) -> str:
    # The first of several; "/" itself gets none, as in llm-jp-eval.
    reading = morpheme.reading.split("/")[0]
    if reading in (" ", "　") and morpheme.text != reading:
        return ""  # a later part of a word that is read as a whole, such as 田舎
    if all(letter in _LETTERS for letter in reading):
        return "".join(_LETTERS[letter] for letter in reading)
    return reading


def _named_entities(document: Document) -> str:
    return " ".join(
        f"{entity.text}（{ENTITY_TYPES[entity.category.value]}）"
        for entity in document.named_entities
        if entity.category.value in ENTITY_TYPES
    )


def _dependencies(document: Document) -> str:
    return "\n".join(
        f"{phrase.text} -> {phrase.parent.text}"
        for sentence in sentences_outside_brackets(document)
        for phrase in sentence.phrases
        if phrase.parent is not None
    )


def _arguments(document: Document) -> str:
    from rhoknp.cohesion import EndophoraArgument

    lines = []
    for structure in document.pas_list:
        phrase = structure.predicate.base_phrase.phrase
        arguments = [
            f" {printed}：{mention_text(argument.base_phrase)}"
            for case, printed in CASES.items()
            for argument in structure.get_arguments(case, relax=False)
            # Neither what is outside the text (著者, 不特定:人) nor what the predicate itself contains.
            if isinstance(argument, EndophoraArgument) and argument.phrase != phrase
        ]
        if arguments:
            lines.append(predicate_text(phrase) + "".join(arguments))
    return "\n".join(lines)


def _coreference(document: Document) -> str:
    groups: dict[tuple[int, ...], list[str]] = {}
    for base_phrase in without_brackets(document).base_phrases:
        entities = tuple(sorted(entity.eid for entity in base_phrase.entities))
        if entities:
            groups.setdefault(entities, []).append(mention_text(base_phrase))
    return "\n".join(" ".join(mentions) for mentions in groups.values() if len(mentions) > 1)


# What is asked, and what should be answered. `without_brackets` starts rhoknp's register of entities anew: last.
_TASKS: dict[str, tuple[Callable[[Document], str], Callable[[Document], str]]] = {
    "reading": (_plain_text, _readings),
    "ner": (text_with_brackets, _named_entities),
    "dependency": (_plain_text, _dependencies),
    "pas": (text_with_brackets, _arguments),
    "coreference": (_plain_text, _coreference),
}


@functools.lru_cache(maxsize=1)
def _prepare(raw: Path) -> dict[str, Splits]:
    """All five from one reading of the corpus, which takes most of the time."""
    samples: dict[str, dict[str, list[Sample]]] = {name: {} for name in _TASKS}
    paths = {split: _document_paths(raw, split) for split in SPLITS}
    with tqdm(total=sum(map(len, paths.values())), desc="reading KNP", unit="doc") as bar:
        for split in SPLITS:
            for name in _TASKS:
                samples[name][split] = []
            for path in paths[split]:
                document = read_document(path)
                for name, (asked, answered) in _TASKS.items():
                    answer = answered(document)
                    if answer.strip():
                        samples[name][split].append(Sample(asked(document), answer))
                bar.update()
    return {name: Splits(**by_split) for name, by_split in samples.items()}


def _document_paths(raw: Path, split: str) -> list[Path]:
    listing = raw / "id" / f"{split}.id"
    if not listing.is_file():
        raise UserError(
            f"{listing} is missing; the Wikipedia Annotated Corpus has it (tools/download.py)"
        )
    names = sorted(listing.read_text(encoding="utf-8").split())
    return [raw / "knp" / name[:8] / f"{name}.knp" for name in names]
