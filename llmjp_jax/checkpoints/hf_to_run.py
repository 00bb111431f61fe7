"""A model from elsewhere as a run directory: what `load_run` reads, with parameters and no optimizer state."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import orbax.checkpoint as ocp

import llmjp_jax
from llmjp_jax.checkpoints.hf_directory import new_directory
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig, disassemble, parameter_count
from llmjp_jax.tokenizer import save_tokenizer

if TYPE_CHECKING:
    from llmjp_jax.tokenizer import Vocabulary


def save_run(
    model: Decoder,
    config: ModelConfig,
    model_dir: str | os.PathLike,
    vocabulary: Vocabulary | None = None,
    template: str | None = None,
) -> None:
    """Writes a model as the checkpoint of step 0 of a run, with its tokenizer; the directory appears whole.

    Other runs start from it (`initial_checkpoint_path`); it has nothing to be continued with. `template` is the name of
    the chat template that the model was tuned with, one of `conversations.TEMPLATES`.

    Raises:
      UserError: the directory holds something already, or the model has adapters.
    """
    if config.lora is not None:
        raise UserError("save_run writes whole models; merge the adapters into the matrices first (checkpoints.merged)")  # fmt: skip
    model_dir = Path(model_dir)
    if model_dir.is_dir() and any(model_dir.iterdir()):
        raise UserError(f"{model_dir} is not empty; give a new directory for the run")
    with new_directory(model_dir, overwrite=False) as temporary:
        with ocp.CheckpointManager(temporary / "checkpoints") as manager:
            parameters = ocp.args.StandardSave(disassemble(model))
            manager.save(0, args=ocp.args.Composite(parameters=parameters))
        if vocabulary is not None:
            save_tokenizer(vocabulary, temporary)
        record = {
            "llmjp_jax": llmjp_jax.__version__,
            "model": dataclasses.asdict(config),
            "parameters": parameter_count(config),
            "vocabulary": None if vocabulary is None else vocabulary.path,
            "template": template,
        }
        (temporary / "run.json").write_text(
            json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8"
        )
