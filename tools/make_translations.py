"""Makes instructions to translate, and preferences among translations, of the quick start's sentences.

  python tools/make_translations.py --input_dir=runs/quickstart/raw --output_dir=runs/quickstart/chat

instructions_{train,validation,test}.jsonl and preferences_{train,validation,test}.jsonl appear in the output folder. With
--evaluation_dir the same held-out sentences also become tasks for `python -m llmjp_jax.eval`: tatoeba-e-to-j, tatoeba-j-to-e.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--input_dir", required=True, help="the output of `tools/download.py quickstart`")
    add("--output_dir", required=True, help="where the JSON lines go")
    add("--evaluation_dir", help="gets evaluation/{train,dev,test}/tatoeba-*.json")
    add("--examples", type=int, default=32000, help="instructions for training (default: 32000)")
    add("--preferences", type=int, default=3000, help="preferences for training (default: 3000)")
    add("--held_out", type=int, default=200, help="of each other file (default: 200)")
    add("--longest", type=int, default=40, help="characters of a Japanese sentence (default: 40)")
    add("--seed", type=int, default=0, help="of the choice (default: 0)")
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        make(options)


def make(options: argparse.Namespace) -> None:
    from llmjp_jax.conversations.translations import write_translations

    written = write_translations(
        _pairs(Path(options.input_dir), options.longest), options.output_dir, examples=options.examples,
        preferences=options.preferences, held_out=options.held_out, seed=options.seed,
    )  # fmt: skip
    for name, lines in written.items():
        print(f"{Path(options.output_dir) / name}: {lines:,} lines")
    if options.evaluation_dir:
        write_tasks(Path(options.output_dir), Path(options.evaluation_dir))


def write_tasks(folder: Path, evaluation_dir: Path) -> None:
    """The held-out instructions as tasks: train has the first 100 of those for training, for shots."""
    import json

    from llmjp_jax.conversations.translations import INSTRUCTIONS
    from llmjp_jax.evaluation.task_files import Sample, TaskFile, evaluation_path
    from llmjp_jax.files import atomic_write

    for split, file in (("train", "train"), ("dev", "validation"), ("test", "test")):
        text = (folder / f"instructions_{file}.jsonl").read_text(encoding="utf-8")
        records = [json.loads(line) for line in text.splitlines()]
        for name, language in (("tatoeba-j-to-e", "en"), ("tatoeba-e-to-j", "ja")):
            found = [r for r in records if r["instruction"] == INSTRUCTIONS[language]]
            samples = tuple(Sample(record["input"], record["output"]) for record in found)
            task = TaskFile(
                instruction=INSTRUCTIONS[language],
                output_length=64,
                metrics=("chrf", f"bleu_{language}"),
                samples=samples[:100] if split == "train" else samples,
            )
            path = evaluation_path(evaluation_dir, split, name)
            with atomic_write(path) as out:
                out.write(task.bytes())
            print(f"{path}: {len(task.samples)} samples")


def _pairs(folder: Path, longest: int):
    from llmjp_jax.corpus.manifests import load_manifest
    from llmjp_jax.corpus.readers.broken import BrokenRecord
    from llmjp_jax.corpus.readers.tatoeba import tatoeba_rows

    name = load_manifest("quickstart")["tatoeba"]["archive"]
    found = sorted(folder.rglob(name))
    if not found:
        raise UserError(
            f"there is no {name} in {folder}; run: python tools/download.py quickstart --output_dir={folder}"
        )
    for _, row in tatoeba_rows(found[0]):
        if not isinstance(row, BrokenRecord) and row[2] and len(row[1]) <= longest:
            yield row[1], row[2]


if __name__ == "__main__":
    main()
