"""The model goes on greedily from each prefix, and says how likely the true continuation was; what it says is kept as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from tqdm import tqdm

from llmjp_jax import decoding
from llmjp_jax.evaluation.answers_file import AnswersFile
from llmjp_jax.language_model import LanguageModel, score_targets
from llmjp_jax.models import disassemble
from llmjp_jax.search.memorization.measures import min_k_probability, perplexity
from llmjp_jax.search.memorization.protocol import Protocol
from llmjp_jax.search.memorization.samples import Sample, digest

# Batches that are asked for at once: a kill costs at most so many.
_BATCHES = 8
_CHUNK = 16  # positions that `score_targets` takes at a time


def ask(model: LanguageModel, samples: Sequence[Sample], protocol: Protocol, path: Path, identity: Mapping[str, Any], *,
        batch_size: int = 16, progress: bool = False) -> dict[tuple[int, int], dict[str, Any]]:  # fmt: skip
    """What the model wrote and thought, by (number of the sample, prefix length).

    Each is {"ids": the tokens it wrote, "raw": their text, "perplexity", "min_k": of the continuation given the prefix,
    "whole_perplexity", "whole_min_k": of prefix and continuation without their first token, as in LLM-jp's script}.

    Args:
      path: the file that keeps the answers; those that are there already are not asked for again.
      identity: what the model is known by.

    Raises:
      UserError: the file has answers of another model, to other samples, or is broken.
    """
    jobs = [
        (number, length)
        for length in reversed(protocol.prefix_lengths)  # what needs the most memory comes first
        for number, sample in enumerate(samples)
        if length in sample.prefix_lengths(protocol)
    ]
    known_by = {
        "model": dict(identity),
        "samples": digest(samples),
        "prefix_lengths": list(protocol.prefix_lengths),
        "continuation": protocol.continuation,
        "min_k_percent": protocol.min_k_percent,
    }
    kept = AnswersFile(path, known_by, len(jobs))
    missing = kept.missing
    with tqdm(total=len(jobs), initial=len(jobs) - len(missing), unit="answer", desc="memorisation", disable=not progress) as bar:  # fmt: skip
        for length in reversed(protocol.prefix_lengths):
            same = [index for index in missing if jobs[index][1] == length]
            for first in range(0, len(same), batch_size * _BATCHES):
                part = same[first : first + batch_size * _BATCHES]
                chosen = [samples[jobs[index][0]] for index in part]
                answers = _answers(model, chosen, protocol, length, batch_size)
                kept.add(dict(zip(part, answers, strict=True)))
                bar.update(len(part))
    return {job: kept.answers[index] for index, job in enumerate(jobs)}


def _answers(
    model: LanguageModel,
    samples: Sequence[Sample],
    protocol: Protocol,
    length: int,
    batch_size: int,
) -> list[dict[str, Any]]:
    prefixes = [sample.prefix(protocol, length) for sample in samples]
    # No token ends a row: the end of a document is a token like others, as in LLM-jp's script.
    written = decoding.generate(
        model.model,
        prefixes,
        max_new_tokens=protocol.continuation,
        stop_ids=(),
        batch_size=batch_size,
    )
    whole = [
        (*prefix, *sample.continuation(protocol))
        for prefix, sample in zip(prefixes, samples, strict=True)
    ]
    answers, percent = [], protocol.min_k_percent
    for ids, scores in zip(written, token_logprobs(model, whole, batch_size), strict=True):
        continuation = scores[-protocol.continuation :]
        answers.append({
            "raw": model.vocabulary.decode(ids), "ids": ids,
            "perplexity": perplexity(continuation), "min_k": min_k_probability(continuation, percent),
            "whole_perplexity": perplexity(scores), "whole_min_k": min_k_probability(scores, percent),
        })  # fmt: skip
    return answers


def token_logprobs(
    model: LanguageModel, sequences: Sequence[Sequence[int]], batch_size: int = 16
) -> np.ndarray:
    """The log-probability of every token but the first given those before it, and nothing before the first.

    (`LanguageModel.logprobs` sets the end of a document before the first token, which no prefix is asked with.)

    Args:
      sequences: token ids, all of one length of two at least.

    Returns:
      [sequences, length - 1] float32, natural logarithms over the model's `vocab_size` ids.
    """
    definition, parameters = nnx.graphdef(model.model), disassemble(model.model)
    ids = np.array(sequences, np.int32)
    length, size = ids.shape[1] - 1, max(1, min(batch_size, len(ids)))
    padded = min(-(-length // _CHUNK) * _CHUNK, model.config.max_length)
    scores = []
    for first in range(0, len(ids), size):
        batch = ids[first : first + size]
        tokens, targets = np.zeros((2, size, padded), np.int32)
        tokens[: len(batch), :length], targets[: len(batch), :length] = batch[:, :-1], batch[:, 1:]
        found = np.asarray(score_targets(definition, parameters, tokens, targets))
        scores.append(found[: len(batch), :length])
    return np.concatenate(scores)
