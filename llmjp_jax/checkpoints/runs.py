"""What a run directory says of itself: its record, its model, its checkpoints and the best of them. Loads no arrays."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.models import LoraConfig, ModelConfig


def saved_steps(model_dir: str | os.PathLike) -> list[int]:
    """The steps that have a whole checkpoint, in order; makes no folder."""
    directory = Path(model_dir) / "checkpoints"
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def best_step(model_dir: str | os.PathLike) -> int:
    """The kept step with the lowest validation loss; of equal ones the newest.

    Raises:
      UserError: no checkpoint has a validation loss (its run did not set `CheckpointConfig.keep_best`).
    """
    losses = {}
    for step in saved_steps(model_dir):
        file = Path(model_dir) / "checkpoints" / str(step) / "metrics" / "metrics"
        try:
            losses[step] = float(json.loads(file.read_text(encoding="utf-8"))["loss"])
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(
                f"cannot read the validation loss in {file} ({error}); name the step, or remove that file"
            ) from None
    if not losses:
        raise UserError(
            f"no checkpoint of {model_dir} has a validation loss, so none is the best; "
            "name the step, or train with CheckpointConfig.keep_best = True"
        )
    return min(losses, key=lambda step: (losses[step], -step))


def resolved_step(path: str | os.PathLike, step: int | str | None) -> int | None:
    """The number of a run's step: of None the newest, of 'best' that of the lowest validation loss.

    Args:
      path: a run directory, or a directory of another kind, which has no steps: None.

    Raises:
      UserError: the run has no such step, or what is no run has a step asked of it.
    """
    if not (Path(path) / "run.json").is_file():
        if step is not None:
            raise UserError(f"{path} is no run and has no step {step!r}; leave step out")
        return None
    if step == "best":
        return best_step(path)
    steps = saved_steps(path)
    if not steps:
        raise UserError(f"{path} has no whole checkpoint yet; let its run reach one")
    step = steps[-1] if step is None else step
    if type(step) is not int:
        raise UserError(f"step = {step!r} must be a whole number, 'best', or None for the newest")
    if step not in steps:
        raise UserError(
            f"{path} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}"
        )
    return step


def read_run(model_dir: str | os.PathLike) -> dict:
    """The contents of MODEL_DIR/run.json.

    Raises:
      UserError: there is none, or it is not a run's.
    """
    path = Path(model_dir) / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{model_dir} is not a run directory: it has no run.json; give a run's MODEL_DIR"
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(
            f"cannot read {path}: {error}; restore the file or start a new MODEL_DIR"
        ) from None
    if not isinstance(run, dict) or "model" not in run:
        raise UserError(
            f"{path} lacks the field 'model'; restore the file or start a new MODEL_DIR"
        )
    return run


def read_model_config(model_dir: str | os.PathLike) -> ModelConfig:
    """The `ModelConfig` of a run directory; 'auto' choices are made anew for the present platform."""
    file = Path(model_dir) / "run.json"
    model = dict(read_run(model_dir)["model"])
    _check_fields(model, ModelConfig, file)
    if model.get("lora") is not None:
        _check_fields(model["lora"], LoraConfig, file)
        model["lora"] = LoraConfig(**model["lora"])
    return ModelConfig(**model)


def _check_fields(values: dict, kind: type, file: Path) -> None:
    unknown = sorted(set(values) - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise UserError(
            f"{file} has the unknown model fields {unknown}; use the version that wrote it"
        )
