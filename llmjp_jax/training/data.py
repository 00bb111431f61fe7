"""What a run is trained and validated on: token stores of text, or examples of tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.checkpoints import vocabulary_path
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import (
    Examples,
    ExamplesConfig,
    Inputs,
    Stages,
    TokenStore,
    open_examples,
    open_inputs,
    open_stores,
    open_validation_examples,
)
from llmjp_jax.models import ModelConfig
from llmjp_jax.tokenizer import Vocabulary, load_vocabulary
from llmjp_jax.training.objectives import Objective
from llmjp_jax.training.sizes import check_steps


def open_data(
    model: ModelConfig,
    vocabulary: str,
    cache_dir: str | None,
    mixture_or_task_name: str | Sequence[tuple[str, int]] | None,
    examples: ExamplesConfig | None = None,
    **inputs: Any,
) -> tuple[Vocabulary, Inputs | Stages | Examples, dict[str, TokenStore | Examples]]:
    """The tokenizer, the training inputs and the validation data of a run, which fit each other and the model.

    Args:
      examples: how examples of tuning become rows; None: stores of text.
      inputs: sequence_length, batch_size, seed, document_mask, order and total_steps of `open_inputs`.

    Raises:
      UserError: a file is missing or damaged, or the stores or the model have another vocabulary.
    """
    if any((Path(vocabulary) / name).is_file() for name in ("run.json", "adapter_config.json")):
        vocabulary = vocabulary_path(vocabulary)  # it may lie with the model under an adapter
    tokenizer = load_vocabulary(vocabulary)
    if tokenizer.vocab_size > model.vocab_size:
        raise UserError(
            f"the vocabulary {vocabulary} has {tokenizer.vocab_size} ids, the model {model.vocab_size}; "
            f"set ModelConfig.vocab_size to {tokenizer.vocab_size}"
        )
    if examples is not None:
        return tokenizer, *_open_examples(
            examples, cache_dir, mixture_or_task_name, tokenizer, inputs
        )
    if cache_dir is None or mixture_or_task_name is None:
        raise UserError(
            "train needs CACHE_DIR and MIXTURE_OR_TASK_NAME: the token stores and their name"
        )
    known = {"vocabulary_fingerprint": tokenizer.fingerprint}
    training = open_inputs(cache_dir, mixture_or_task_name, "train", **inputs, **known)
    validation = open_stores(cache_dir, mixture_or_task_name, "validation", required=False, **known)
    return tokenizer, training, validation


def _open_examples(examples, cache_dir, mixture_or_task_name, tokenizer, inputs):
    if inputs["order"] != "windows":
        raise UserError(
            f"order = {inputs['order']!r} is for text; examples have one order of their own: leave ORDER 'windows'"
        )
    options = {name: inputs[name] for name in ("sequence_length", "batch_size", "seed")}
    options["vocabulary"] = tokenizer
    training = open_examples(examples, cache_dir, mixture_or_task_name, "train", **options)
    return training, open_validation_examples(examples, cache_dir, mixture_or_task_name, **options)


def steps_of(
    inputs: Inputs | Stages | Examples, total_steps: int | None, epochs: float | None
) -> int:
    """The steps of a run that was given either their number or epochs of its examples.

    Raises:
      UserError: neither or both are given, or text has no epochs.
    """
    if (total_steps is None) == (epochs is None):
        raise UserError(
            f"total_steps = {total_steps} and epochs = {epochs}: give one of TRAIN_STEPS and EPOCHS, the other None"
        )
    if epochs is None:
        check_steps(total_steps)
        return total_steps
    if not isinstance(inputs, Examples):
        raise UserError(f"epochs = {epochs} are for examples of tuning; give TRAIN_STEPS for text")
    if not isinstance(epochs, int | float) or not epochs > 0:
        raise UserError(f"epochs = {epochs!r} must be a positive number")
    return inputs.steps(epochs)


def check_kind(inputs: Inputs | Stages | Examples, goal: Objective) -> None:
    """Raises a `UserError` where the objective wants pairs and the data are none, or the other way round."""
    pairs = isinstance(inputs, Examples) and inputs.pairs
    if goal.pairs and not pairs:
        raise UserError(
            f"train.objective = {goal} needs pairs of a chosen and a rejected response, and the data are none; give "
            "train.examples, and records with the fields chosen and rejected"
        )
    if pairs and not goal.pairs:
        raise UserError(
            "the examples are pairs of a chosen and a rejected response, which need an objective: include runs/dpo.gin"
        )


def examples_options(inputs: Inputs | Stages | Examples, document_mask: bool) -> dict[str, Any]:
    """Arguments of `Trainer` that follow from the inputs: several sequences in a row never see each other.

    A single one needs no mask: it is causal, and what follows it is padding without loss.
    """
    if isinstance(inputs, Examples):
        lengths = (inputs.sequence_length,)
        if not inputs.config.packing:
            lengths = inputs.config.row_lengths(inputs.sequence_length)
        masked = inputs.config.packing or inputs.pairs
        return {"document_mask": masked, "longest": inputs.longest, "lengths": lengths}
    return {"document_mask": document_mask}


def describe_examples(inputs: Examples, goal: Objective) -> str:
    """How many examples there are, how well they fill their rows, and what was left out."""
    dropped, cut = sum(inputs.dropped.values()), sum(inputs.truncated.values())
    what = "pairs" if goal.pairs else "examples"
    parts = [
        f"{len(inputs):,} {what} an epoch, in {inputs.steps_per_epoch():,} steps; "
        f"{inputs.share_of_loss:.0%} of what is computed carries loss"
    ]
    if cut:
        parts.append(f"{cut:,} are cut to {inputs.longest:,} tokens")
    if dropped:
        parts.append(f"{dropped:,} are left out: their responses lie wholly beyond that")
    unanswered = sum((source.store.manifest or {}).get("dropped", 0) for source in inputs.sources)
    if unanswered:
        parts.append(
            f"{unanswered:,} records are left out: no response of the template was found in them"
        )
    return "; ".join(parts)
