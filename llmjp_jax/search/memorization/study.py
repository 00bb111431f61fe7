"""A study from beginning to end: samples are drawn, the model is asked, the corpus is looked into, files are written."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.inputs import TokenStore
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.memorization.markdown import markdown
from llmjp_jax.search.memorization.measures import leading_matches, token_bleu
from llmjp_jax.search.memorization.occurrences import MOST_DOCUMENTS, occurrences
from llmjp_jax.search.memorization.plots import draw
from llmjp_jax.search.memorization.protocol import Protocol
from llmjp_jax.search.memorization.samples import (
    TRAINED,
    Sample,
    held_out_samples,
    text_samples,
    trained_samples,
)
from llmjp_jax.search.memorization.summary import summarise
from llmjp_jax.search.results import Where
from llmjp_jax.search.trace import Trace

if TYPE_CHECKING:
    from llmjp_jax.tokenizer import Vocabulary

ANSWERS, ITEMS, SUMMARY, PAGE, PICTURE = (
    "answers.jsonl", "items.jsonl", "summary.json", "summary.md", "memorization.png",
)  # fmt: skip


def run_study(run: str | os.PathLike, index: str | os.PathLike, output_dir: str | os.PathLike, *, protocol: Protocol | None = None,
              samples: int = 1000, held_out: int | None = None, every: int = 1, texts: str | os.PathLike | None = None,
              step: int | str | None = None, seed: int = 0, cache_dir: str | os.PathLike | None = None, dtype: str | None = None,
              batch_size: int = 16, progress: bool = False) -> dict[str, Any]:  # fmt: skip
    """Asks a run's model to go on from what it was trained on, and relates what it says to the training corpus.

    OUTPUT_DIR gets answers.jsonl (what the model said, as it comes; a killed study goes on from it), items.jsonl (a line a
    sample), summary.json, summary.md and memorization.png.

    Args:
      run: MODEL_DIR of a run of pre-training.
      index: that holds the training split of all its sources.
      protocol: None: LLM-jp's lengths.
      samples: places in rows of its batches. held_out: places in validation splits; None: as many.
      every: draw from steps 0, every, 2 * every ...
      texts: a JSONL file of texts to ask for too.
      step: of the checkpoint: a number, 'best', or None for the newest; only what it has seen by then is drawn and counted.
      seed: decides the places. cache_dir: of the run's token stores, where they have moved.
      dtype: that the model computes in. batch_size: prefixes asked together.

    Returns:
      The contents of summary.json.

    Raises:
      UserError: the index is not that of the run's data, no prefix fits, or there is nothing to ask.
    """
    from llmjp_jax.checkpoints import read_model_config, resolved_step
    from llmjp_jax.evaluation.asking import model_identity

    if min(samples, samples if held_out is None else held_out) < 0 or min(every, batch_size) < 1:
        raise UserError("--samples and --held_out must be at least 0, --every and --batch_size at least 1")  # fmt: skip
    output_dir, step = Path(output_dir), resolved_step(run, step)
    with CorpusIndex(index) as corpus:
        trace = Trace.open(run, cache_dir)
        where = _training_stores(corpus, trace)
        fitted, notes = (protocol or Protocol()).fitted(*_room(trace, read_model_config(run).max_length))  # fmt: skip
        steps = range(0, step, every)
        drawn = trained_samples(trace, fitted, samples, steps=steps, seed=seed, progress=progress)  # fmt: skip
        counts = _held_out_counts(drawn, trace, samples if held_out is None else held_out)
        validation = _validation_stores(trace)
        drawn += held_out_samples(validation, fitted, counts, seed=seed)
        if texts is not None:
            drawn += text_samples(texts, corpus.vocabulary, fitted)
        notes += _shortfalls(drawn, samples, counts, validation)
        if not drawn:
            raise UserError("there is nothing to ask: give --samples= above 0, or --texts=")
        model = _model(run, step, dtype, corpus.vocabulary)
        from llmjp_jax.search.memorization.asking import ask

        answers = ask(
            model, drawn, fitted, output_dir / ANSWERS, model_identity(run, step, dtype),
            batch_size=batch_size, progress=progress,
        )  # fmt: skip
        items = [
            _item(number, sample, fitted, answers, corpus, trace, step, where)
            for number, sample in enumerate(
                tqdm(drawn, unit="sample", desc="corpus", disable=not progress)
            )
        ]
    bounded = sum(not item["all_looked_at"] for item in items)
    if bounded:
        notes.append(
            f"{bounded} continuations stand in more than {MOST_DOCUMENTS:,} documents, of which the first so many were followed "
            "through training: their times seen and last steps are lower bounds"
        )
    summary = {
        "run": str(run), "step": step, "index": str(index), "every": every, "seed": seed,
        "protocol": dataclasses.asdict(fitted), "notes": notes,
        **summarise(items, fitted.prefix_lengths, step),
    }  # fmt: skip
    _write(output_dir, items, summary)
    return summary


def _room(trace: Trace, longest: int) -> tuple[int, str]:
    """Tokens that prefix and continuation may have, and of what these are."""
    row = max(sum(piece.stop - piece.start for piece in row.pieces) for row in trace.rows(0))
    if row < longest:
        return row, "a training row"
    return longest, "the model's longest sequence"


def _training_stores(index: CorpusIndex, trace: Trace) -> Where:
    """Where the run's training text stands in the index.

    Raises:
      UserError: a source is not in it, or another store under its name.
    """
    for source in trace.sources:
        info = index.stores.get((source, "train"))
        if info is None:
            there = ", ".join("/".join(store) for store in index.stores)
            raise UserError(
                f"the index {index.folder} lacks {source}/train, which the run was trained on (it has {there}); add it with "
                "tools/search_corpus.py index"
            )
        expected = trace.fingerprints[source]
        if info.fingerprint != expected:
            raise UserError(
                f"{source}/train in the index {index.folder} is another store than the run was trained on (fingerprints "
                f"{info.fingerprint[:12]} and {expected[:12]}); index the run's own"
            )
    return Where(subsets=tuple(trace.sources), splits=("train",))


def _validation_stores(trace: Trace) -> dict[str, TokenStore]:
    """The validation splits, which lie beside the training splits."""
    found = {}
    for source in trace.sources:
        prefix = trace.store(source).prefix.with_name("validation")
        if prefix.with_name("validation.idx").is_file():
            found[source] = TokenStore(prefix)
    return found


def _held_out_counts(drawn: Sequence[Sample], trace: Trace, count: int) -> dict[str, int]:
    """How many held-out samples of each source: in the shares of the trained ones, or alike where there are none."""
    shares = collections.Counter(sample.source for sample in drawn)
    if not shares:
        shares = collections.Counter(trace.sources)
    total, counts, given = shares.total(), {}, 0
    for number, source in enumerate(shares, 1):
        so_far = sum(list(shares.values())[:number]) * count // total
        counts[source], given = so_far - given, so_far
    return counts


def _shortfalls(
    drawn: Sequence[Sample],
    samples: int,
    counts: Mapping[str, int],
    validation: Mapping[str, TokenStore],
) -> list[str]:
    """Sentences about what there was less of than was asked for."""
    notes = []
    trained = sum(sample.group == TRAINED for sample in drawn)
    if trained < samples:
        notes.append(f"of {samples:,} samples asked for, the steps' rows gave {trained:,}")
    missing = [source for source, count in counts.items() if count and source not in validation]
    if missing:
        notes.append(f"there is no validation split of {', '.join(missing)} beside its training split: no text of it is held out")  # fmt: skip
    found = collections.Counter(sample.source for sample in drawn if sample.group == "held_out")
    few = [
        f"{found[source]:,} of {count:,} of {source}"
        for source, count in counts.items()
        if source not in missing and found[source] < count
    ]
    if few:
        notes.append(f"validation splits gave fewer places than were asked for: {', '.join(few)}")
    return notes


def _model(run: str | os.PathLike, step: int | None, dtype: str | None, vocabulary: Vocabulary):
    from llmjp_jax.language_model import LanguageModel

    model = LanguageModel.load(run, step, dtype=dtype)
    if model.vocabulary.fingerprint != vocabulary.fingerprint:
        raise UserError(
            f"the model of {run} has another vocabulary than the index; index the stores that it was trained on"
        )
    return model


def _item(number: int, sample: Sample, protocol: Protocol, answers: Mapping[tuple[int, int], Mapping[str, Any]],
          index: CorpusIndex, trace: Trace, step: int, where: Where) -> dict[str, Any]:  # fmt: skip
    """A line of items.jsonl."""
    wanted = sample.continuation(protocol)
    found = occurrences(index, trace, wanted, sample.parts, step, where)
    prefixes = {}
    for length in sample.prefix_lengths(protocol):
        answer = answers[number, length]
        matched = leading_matches(answer["ids"], wanted)
        prefixes[str(length)] = {
            "extractable": matched == len(wanted), "matched": matched, "bleu": token_bleu(answer["ids"], wanted),
            **{name: answer[name] for name in ("perplexity", "min_k", "whole_perplexity", "whole_min_k")},
            "written": answer["raw"],
        }  # fmt: skip
    decode, shown = index.vocabulary.decode, sample.prefix(protocol, min(50, len(sample.ids) - len(wanted)))  # fmt: skip
    return {
        "number": number, "group": sample.group, "source": sample.source, "step": sample.step, "row": sample.row,
        "parts": [[str(part.document), part.start, part.stop] for part in sample.parts],
        **dataclasses.asdict(found),
        "end_of_prefix": decode(list(shown)), "continuation": decode(list(wanted)), "continuation_ids": list(wanted),
        "prefixes": prefixes,
    }  # fmt: skip


def _write(
    output_dir: Path, items: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    with atomic_write(output_dir / ITEMS, "w") as file:
        for item in items:
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
    draw(summary, output_dir / PICTURE)
    with atomic_write(output_dir / PAGE, "w") as file:
        file.write(markdown(summary, items))
    with atomic_write(output_dir / SUMMARY, "w") as file:
        json.dump(summary, file, ensure_ascii=False, indent=1)
