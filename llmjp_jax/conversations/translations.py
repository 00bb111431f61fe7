"""Examples for tuning made of sentence pairs: instructions to translate, both ways, and preferences among translations.

The quick start's chat model learns from them; the sentences are Tatoeba's (`data/quickstart.toml`).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

INSTRUCTIONS = {
    "en": "次の文を英語に翻訳してください。",
    "ja": "次の文を日本語に翻訳してください。",
}


def write_translations(pairs: Iterable[tuple[str, str]], output_dir: str | os.PathLike, *, examples: int,
                       preferences: int, held_out: int, seed: int = 0) -> dict[str, int]:  # fmt: skip
    """Writes JSON lines of examples and preferences for training, and of other sentences for validation and test.

    instructions_{train,validation,test}.jsonl have {"instruction", "input", "output"}, half of them to English and half to
    Japanese; preferences_{train,validation,test}.jsonl {"instruction", "input", "chosen", "rejected"}, where the rejected answer is
    the translation of another sentence. No sentence of a held-out file, in either language, is in a file for training.

    Args:
      pairs: (Japanese, English) sentences.
      output_dir: the folder.
      examples, preferences: lines of the files for training. held_out: of each of the others.
      seed: of the choice.

    Returns:
      {file name: lines}.

    Raises:
      UserError: there are too few sentences.
    """
    draw = random.Random(seed)
    unique = list(dict.fromkeys(pairs))
    draw.shuffle(unique)
    test, validation, rest = _held_out(unique, held_out)
    if len(rest) < examples + preferences or len(validation) < held_out:
        raise UserError(
            f"{len(unique)} different sentence pairs give {max(len(rest), 0)} for training, and "
            f"{examples} examples and {preferences} preferences were asked for; ask for fewer"
        )
    lines = {
        "instructions_train": _instructions(rest[:examples]),
        "instructions_validation": _instructions(validation),
        "instructions_test": _instructions(test),
        "preferences_train": _preferences(rest[examples : examples + preferences], draw),
        "preferences_validation": _preferences(validation, draw),
        "preferences_test": _preferences(test, draw),
    }
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in lines.items():
        with atomic_write(folder / f"{name}.jsonl", "wb") as file:
            file.writelines(orjson.dumps(record) + b"\n" for record in records)
    return {f"{name}.jsonl": len(records) for name, records in lines.items()}


def _held_out(pairs: Sequence[tuple[str, str]], count: int):
    """Two lots of `count` pairs, and those of the rest that share no sentence with either."""
    chosen, seen = [], set()
    for pair in pairs:
        if len(chosen) < 2 * count and not seen & set(pair):
            chosen.append(pair)
            seen |= set(pair)
    rest = [pair for pair in pairs if not seen & set(pair)]
    return chosen[:count], chosen[count:], rest


def _instructions(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    records = []
    for number, (ja, en) in enumerate(pairs):
        language, source, target = ("en", ja, en) if number % 2 == 0 else ("ja", en, ja)
        records.append({"instruction": INSTRUCTIONS[language], "input": source, "output": target})
    return records


def _preferences(pairs: Sequence[tuple[str, str]], draw: random.Random) -> list[dict[str, str]]:
    """Every second record is to the same language: the rejected answer is one of theirs."""
    records, preferences = _instructions(pairs), []
    for number, record in enumerate(records):
        other = record
        while other["output"] == record["output"]:
            other = records[draw.randrange(number % 2, len(records), 2)]
        preferences.append(
            {
                "instruction": record["instruction"],
                "input": record["input"],
                "chosen": record["output"],
                "rejected": other["output"],
            }
        )
    return preferences
