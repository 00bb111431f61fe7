"""Where a run starts from: its data, and the parameters of a checkpoint, of another model, or fresh ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from llmjp_jax.checkpoints import Checkpoints, load_hf, load_run
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import Inputs, Stages, TokenStore, open_inputs, open_stores
from llmjp_jax.models import ModelConfig, disassemble
from llmjp_jax.tokenizer import Vocabulary, load_vocabulary
from llmjp_jax.training.trainer import Trainer, TrainState

# The rate of dropout, the first spread of the weights and how padding is said are no part of the weights.
_NOT_IN_WEIGHTS = (
    "dropout",
    "attention_dropout",
    "initializer_std",
    "vocab_size",
    "vocab_multiple",
)


def open_data(
    model: ModelConfig,
    vocabulary: str,
    cache_dir: str,
    mixture_or_task_name: str | Sequence[tuple[str, int]],
    **inputs: Any,
) -> tuple[Vocabulary, Inputs | Stages, dict[str, TokenStore]]:
    """The tokenizer, the training inputs and the validation stores of a run, which fit each other and the model.

    Args:
      inputs: sequence_length, batch_size, seed, document_mask, order and total_steps of `open_inputs`.

    Raises:
      UserError: a file is missing or damaged, or the stores or the model have another vocabulary.
    """
    tokenizer = load_vocabulary(vocabulary)
    if tokenizer.vocab_size > model.vocab_size:
        raise UserError(
            f"the vocabulary {vocabulary} has {tokenizer.vocab_size} ids, the model {model.vocab_size}; "
            f"set ModelConfig.vocab_size to {tokenizer.vocab_size}"
        )
    known = {"vocabulary_fingerprint": tokenizer.fingerprint}
    training = open_inputs(cache_dir, mixture_or_task_name, "train", **inputs, **known)
    validation = open_stores(cache_dir, mixture_or_task_name, "validation", required=False, **known)
    return tokenizer, training, validation


def restored_state(trainer: Trainer, store: Checkpoints, step: int) -> TrainState:
    """The state of the run's own checkpoint."""
    target = trainer.abstract_state
    parameters, optimizer = store.restore(step, target.parameters, target.optimizer)
    return TrainState(jax.device_put(np.int32(step), target.step.sharding), parameters, optimizer)


def given_parameters(trainer: Trainer, initial_checkpoint_path: str | None) -> Any:
    """The parameters of another run or of a Hugging Face directory; None where no path is given.

    Raises:
      UserError: they are of another model.
    """
    if initial_checkpoint_path is None:
        return None
    load = load_run if (Path(initial_checkpoint_path) / "run.json").exists() else load_hf
    config, decoder = load(initial_checkpoint_path, mesh=trainer.mesh, layout=trainer.layout)
    wanted, found = trainer.model.identity(), config.identity()
    differences = [
        f"{name} {found[name]!r} there, {wanted[name]!r} here"
        for name in sorted(wanted)
        if name not in _NOT_IN_WEIGHTS and found[name] != wanted[name]
    ]
    if config.padded_vocab_size != trainer.model.padded_vocab_size:
        differences.append(
            f"vocabulary {config.padded_vocab_size} there, {trainer.model.padded_vocab_size} here"
        )
    if differences:
        raise UserError(
            f"{initial_checkpoint_path} holds another model: {'; '.join(differences)}; change ModelConfig to fit it"
        )
    return disassemble(decoder)
