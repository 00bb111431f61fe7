"""`train_tokenizer`: from corpora on disk to a .model, by a recipe, in steps that a killed run takes up again.

    OUTPUT.steps/sample.ja.txt      a random sample of each language
    OUTPUT.steps/segmented.ja.txt   cut into words
    OUTPUT.steps/pieces.ja.json     what SentencePiece learned
    OUTPUT.steps/merged.json        one vocabulary
    OUTPUT.steps/scores.json        re-estimated over all samples
    OUTPUT                          the .model; OUTPUT.json says what it was made from

The folder may be deleted afterwards; with it, a changed setting repeats only the steps that it matters to.
"""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write, sha256_file
from llmjp_jax.tokenizer.model_proto import llmjp_model_proto
from llmjp_jax.tokenizer.recipes import MergedRecipe, Samples
from llmjp_jax.tokenizer.sampling import is_japanese, lines_of, texts_of, write_sample
from llmjp_jax.tokenizer.seeded import SeededRecipe
from llmjp_jax.tokenizer.segmentation import versions
from llmjp_jax.tokenizer.steps import FORMAT, Steps, remove_leftovers
from llmjp_jax.tokenizer.unigram import trainable_lines
from llmjp_jax.tokenizer.vocabulary import Vocabulary, load_vocabulary

Recipe = MergedRecipe | SeededRecipe


def train_tokenizer(
    *,
    recipe: Recipe,
    output: str,
    corpora_dir: str | None = None,
    inputs: Sequence[str] | Mapping[str, Sequence[str]] | str | None = None,
    seed: int = 0,
    log: bool = False,
) -> Vocabulary:
    """Trains a tokenizer and writes its .model file; does nothing when that is there from the same inputs and settings.

    Args:
      recipe: languages, sizes and scores.
      output: the .model file, whose name must end so; `OUTPUT.json` and the folder `OUTPUT.steps` lie beside it.
      corpora_dir: holds `SOURCE/train*.jsonl` for each source of the recipe's languages.
      inputs: JSONL files, or patterns like `own/train_*.jsonl`, in place of corpora_dir: language -> files, for some or all
        of the recipe's languages; or only files, whose documents are then told apart by their script: `ja` those with
        kana, `en` all others.
      seed: of the samples.
      log: let SentencePiece report its progress too.

    Raises:
      UserError: a file is missing or damaged, a language is unknown, output cannot be written, or the sizes do not fit
        the text.
    """
    output_path = Path(output)
    _check_output_names(output_path)
    sources = _sources(recipe, corpora_dir, inputs)
    files = sorted({path for parts in sources.values() for _, paths, _, _ in parts for path in paths})  # fmt: skip
    hashes = {str(path): sha256_file(path) for path in files}
    settings = _settings(recipe, sources, hashes, seed)
    record_path = output_path.with_name(output_path.name + ".json")
    if _is_finished(output_path, record_path, settings):
        return load_vocabulary(output_path)
    _check_writable(output_path)
    steps = Steps(output_path.with_name(output_path.name + ".steps"), _say)
    samples = _samples(sources, hashes, steps, seed)
    learned = recipe.learn(samples, steps, log)
    proto = llmjp_model_proto(learned, recipe.reserved)
    remove_leftovers(output_path)
    with atomic_write(output_path) as file:
        file.write(proto.SerializeToString(deterministic=True))
    with atomic_write(record_path, "w") as file:
        json.dump({**settings, "model_sha256": sha256_file(output_path)}, file, indent=1)
    return load_vocabulary(output_path)


def _check_output_names(path: Path) -> None:
    if path.suffix != ".model":
        raise UserError(f"output is {path}; its name must end in .model")
    for file in (path, path.with_name(f"{path.name}.json")):
        if file.is_dir():
            raise UserError(f"{file}, which is to be written, is a folder; give another output")


def _check_writable(path: Path) -> None:
    """Refuses before hours of training what could not be written after them."""
    folder = path.with_name(f"{path.name}.steps")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (path.parent, folder):
            probe = place / f".{path.name}.{os.getpid()}.tmp"
            probe.write_bytes(b"")
            probe.unlink()
    except OSError as error:
        raise UserError(
            f"output {path} cannot be written ({error}); give another, or make its folder writable"
        ) from None


# language -> (source, files, which of their texts, bytes)
_Sources = dict[str, list[tuple[str, list[Path], Callable[[str], bool] | None, int]]]


def _sources(recipe: Recipe, corpora_dir: str | None, inputs: Any) -> _Sources:
    if (corpora_dir is None) == (inputs is None):
        raise UserError(
            "train_tokenizer takes its text from corpora_dir or from inputs: give one of the two"
        )
    if inputs is None:
        return {
            language.name: [
                (source, _training_files(Path(corpora_dir), source, language.name), None, size)
                for source, size in language.sources.items()
            ]
            for language in recipe.languages
        }
    sizes = {language.name: sum(language.sources.values()) for language in recipe.languages}
    if isinstance(inputs, Mapping):
        for name in inputs:
            if name not in sizes:
                raise UserError(
                    f"inputs has the language {name}, which the recipe does not know; known are: {', '.join(sizes)}"
                )
        return {
            name: [("inputs", _given_files(inputs[name]), None, size)]
            for name, size in sizes.items()
            if name in inputs
        }
    files = _given_files(inputs)
    tests = {"ja": is_japanese, "en": lambda text: not is_japanese(text)}
    return {
        name: [("inputs", files, tests[name], size)]
        for name, size in sizes.items()
        if name in tests
    }


def _training_files(corpora_dir: Path, source: str, language: str) -> list[Path]:
    files = sorted((corpora_dir / source).glob("train*.jsonl"))
    for path in files or sorted((corpora_dir / source).glob("train*.jsonl.*")):
        _check_corpus_file(path)
    if not files:
        raise UserError(
            f"{corpora_dir / source} has no file train*.jsonl, which the recipe's language {language} is made from; "
            "put it there, or correct corpora_dir"
        )
    return files


def _given_files(given: str | Sequence[str]) -> list[Path]:
    """The files in the given order, those of a pattern by name."""
    files: list[Path] = []
    for name in [given] if isinstance(given, str) else given:
        # Path.glob takes no pattern that begins at the root.
        found = [name] if Path(name).exists() else sorted(glob.glob(name, recursive=True))  # noqa: PTH207
        if not found:
            raise UserError(f"there is no corpus file {name}; check the path")
        files += map(Path, found)
    for path in files:
        _check_corpus_file(path)
    return files


def _check_corpus_file(path: Path) -> None:
    from llmjp_jax.corpus.readers.jsonl import COMPRESSIONS

    if path.is_dir():
        raise UserError(
            f"{path} is a folder, not a corpus file; give its files: '{path}/train*.jsonl'"
        )
    if path.suffix in COMPRESSIONS:
        raise UserError(f"{path} is compressed; decompress it to JSON lines first")


def _samples(sources: _Sources, hashes: Mapping[str, str], steps: Steps, seed: int) -> Samples:
    """The steps that sample each language; one that has no text is left out."""
    samples = {}
    for language, parts in sources.items():
        wanted = [(name, texts_of(paths, keep), size) for name, paths, keep, size in parts]
        path, sha256 = steps.run(
            f"sample.{language}.txt",
            lambda path, wanted=wanted: write_sample(wanted, path, seed=seed),
            settings={
                "seed": seed,
                "sources": [[name, size, keep is not None] for name, _, keep, size in parts],
            },
            inputs={
                f"{name}/{number}": hashes[str(path)]
                for name, paths, _, _ in parts
                for number, path in enumerate(paths)
            },
        )
        if _has_text(path):
            samples[language] = (path, sha256)
        elif all(keep is None for _, _, keep, _ in parts):
            files = ", ".join(str(path) for _, paths, _, _ in parts for path in paths)
            raise UserError(
                f"the language {language} holds no text ({files}); leave it out or check its files"
            )
    if not samples:
        raise UserError("there is no text to train the tokenizer on; give documents that are not empty")  # fmt: skip
    return samples


def _has_text(path: Path) -> bool:
    return any(not part.isspace() for part in trainable_lines(lines_of([path])))


def _settings(
    recipe: Recipe, sources: _Sources, hashes: Mapping[str, str], seed: int
) -> dict[str, Any]:
    """Everything that the model depends on, as JSON gives it back."""
    import sentencepiece

    texts = {
        language: [[name, [hashes[str(path)] for path in paths], size] for name, paths, _, size in parts]
        for language, parts in sources.items()
    }  # fmt: skip
    settings = {
        "format": FORMAT,
        "sentencepiece": sentencepiece.__version__,
        "segmenters": versions(
            name for each in recipe.languages if each.name in sources for name in each.segmenters
        ),
        "recipe": repr(recipe),
        "recipe_files": recipe.fingerprint,
        "sources": texts,
        "seed": seed,
    }
    return json.loads(json.dumps(settings))


def _is_finished(output_path: Path, record_path: Path, settings: dict[str, Any]) -> bool:
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        model = sha256_file(output_path)
    except (OSError, ValueError):  # not there, or damaged: no JSON, no UTF-8
        return False
    return record == {**settings, "model_sha256": model}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
