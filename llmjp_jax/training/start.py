"""The state that a run starts from: its own checkpoint, the parameters of another model, or fresh ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from llmjp_jax.checkpoints import (
    Checkpoints,
    base_of,
    holds_adapters,
    load_model,
    merged,
    read_run,
    resolved_step,
)
from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig, disassemble
from llmjp_jax.training.state import TrainState
from llmjp_jax.training.trainer import Trainer

# The rate of dropout, the first spread of the weights and how padding is said are no part of the weights.
_NOT_IN_WEIGHTS = (
    "dropout",
    "attention_dropout",
    "initializer_std",
    "vocab_size",
    "vocab_multiple",
)


class Origin(NamedTuple):
    """The model that a run starts from: a directory and, of a run, the step; (None, None): fresh parameters."""

    path: str | None
    step: int | None

    @classmethod
    def of(cls, path: str | None, step: int | str | None, model_dir: Path) -> Origin:
        """The model at `path`; a run that is continued keeps the step that it began from, if none is asked for.

        Raises:
          UserError: the run at `path` has no such step.
        """
        if path is None:
            if step is not None:
                raise UserError(
                    f"initial_checkpoint_step = {step!r} is of no run; give INITIAL_CHECKPOINT_PATH too"
                )
            return cls(None, None)
        path = str(Path(path).resolve())
        if step in (None, "best") and (model_dir / "run.json").exists():
            before = read_run(model_dir).get("identity") or {}
            if before.get("initial_checkpoint_path") == path:
                return cls(path, before.get("initial_checkpoint_step"))
        return cls(path, resolved_step(path, step))

    @property
    def template(self) -> str | None:
        """The prompts that a run was tuned with; None where that is not known."""
        if self.path is None or not (Path(self.path) / "run.json").is_file():
            return None
        return read_run(self.path).get("template")

    @property
    def under(self) -> dict[str, Any] | None:
        """`path` and `step` of the model that lies under adapters which are trained from here: what run.json says of it."""
        if self.path is None or not holds_adapters(self.path):
            return self.path and self._asdict()
        if (Path(self.path) / "run.json").is_file():
            return read_run(self.path)["base"]
        return {"path": str(base_of(self.path).resolve()), "step": None}


def restored_state(
    trainer: Trainer, store: Checkpoints, step: int, start: Callable[[], TrainState]
) -> TrainState:
    """The state of the run's own checkpoint; what lies under adapters is in none, and is read from where it began."""
    target = trainer.abstract_state
    parameters, optimizer = store.restore(step, target.parameters, target.optimizer)
    begun = jax.device_put(np.int32(step), target.step.sharding)
    frozen = {} if trainer.model.lora is None else start().frozen
    return TrainState(begun, parameters, optimizer, frozen)


def started_state(trainer: Trainer, origin: Origin) -> TrainState:
    """Step 0: of another run, a Hugging Face directory or an adapter, or fresh.

    Raises:
      UserError: they are of another model, or there is nothing under the adapters.
    """
    if origin.path is not None:
        return trainer.initial_state(given_parameters(trainer, origin))
    if trainer.model.lora is not None:
        raise UserError(
            "ModelConfig.lora adapts a model that is there: give it as INITIAL_CHECKPOINT_PATH"
        )
    return trainer.initial_state()


def given_parameters(trainer: Trainer, origin: Origin) -> Any:
    """The parameters of another run, a Hugging Face directory or an adapter.

    An adapter of the same description as the trainer's goes on being trained; where the trainer has none, it is merged.

    Raises:
      UserError: they are of another model.
    """
    config, decoder = load_model(
        origin.path, step=origin.step, mesh=trainer.mesh, layout=trainer.layout
    )
    if config.lora is not None and trainer.model.lora is None:
        config, decoder = merged(config, decoder)
    if config.lora is not None and trainer.goal.looks_under:
        raise UserError(
            f"{origin.path} has adapters already, so that the model under them is not the one that the run starts from; "
            "set DPO.reference = 'cached', or merge them first: tools/convert_checkpoint.py --to_hf"
        )
    wanted, found = _identity(trainer.model), _identity(config)
    if config.lora is None:
        wanted["lora"] = None  # the run's are new
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
        merge = ""
        if config.lora is not None and found["lora"] != wanted["lora"]:
            merge = ", or merge its adapters first: tools/convert_checkpoint.py --to_hf"
        raise UserError(
            f"{origin.path} holds another model: {'; '.join(differences)}; change ModelConfig to fit it{merge}"
        )
    return disassemble(decoder)


def _identity(model: ModelConfig) -> dict[str, Any]:
    """What two models with the same weights agree in; the dropout of adapters is no part of it."""
    fields = model.identity()
    if model.lora is not None:
        fields["lora"] = fields["lora"] | {"dropout": None}
    return fields
