"""Checkpoints of a run: written in the background, seen only when whole, restored onto any mesh.

MODEL_DIR/checkpoints/<step>/ holds two items: `parameters` and `optimizer`. Which model they belong to stands in
MODEL_DIR/run.json, which the training loop writes.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from llmjp_jax.checkpoints.disk_errors import disk_errors, silence_writers
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig, abstract_decoder, assemble


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save and what to keep.

    Attributes:
      period: steps between checkpoints; the last step is always saved.
      keep: how many of the newest to keep; None keeps all.
      keep_period: steps whose multiples are kept for ever.
      asynchronous: write while training goes on.
    """

    period: int = 1000
    keep: int | None = 3
    keep_period: int | None = None
    asynchronous: bool = True

    def __post_init__(self):
        for field in ("period", "keep", "keep_period"):
            value = getattr(self, field)
            if value is None and field != "period":
                continue
            if type(value) is not int or value < 1:
                raise UserError(
                    f"CheckpointConfig.{field} = {value!r} must be a whole number of at least 1"
                )


class Checkpoints:
    """The checkpoints under MODEL_DIR.

    A kill at any moment leaves only whole checkpoints behind: a folder takes its name when everything in it is on
    disk, and unfinished ones are ignored, and swept unless `read_only`.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike,
        config: CheckpointConfig | None = None,
        read_only: bool = False,
    ):
        config = config or CheckpointConfig()
        self.directory = Path(model_dir).absolute() / "checkpoints"
        silence_writers()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=config.keep,
            keep_period=config.keep_period,
            enable_async_checkpointing=config.asynchronous,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        """The steps that have a whole checkpoint, in order."""
        return saved_steps(self.directory.parent)

    def save(self, step: int, parameters: Any, optimizer: Any) -> None:
        """Starts to save; the arrays may be overwritten as soon as this returns.

        Raises:
          UserError: this save, or an earlier one in the background, found the disk full or read-only.
        """
        items = ocp.args.Composite(
            parameters=ocp.args.StandardSave(parameters), optimizer=ocp.args.StandardSave(optimizer)
        )
        with disk_errors(self.directory):
            self._manager.save(step, args=items, force=True)

    def restore(self, step: int, parameters: Any, optimizer: Any) -> tuple[Any, Any]:
        """Parameters and optimizer state of a step, laid out as the abstract arrays given say."""
        items = ocp.args.Composite(
            parameters=ocp.args.StandardRestore(parameters),
            optimizer=ocp.args.StandardRestore(optimizer),
        )
        restored = self._restore(step, items)
        return restored["parameters"], restored["optimizer"]

    def restore_parameters(self, step: int, parameters: Any) -> Any:
        """Only the parameters of a step, cast and laid out as the abstract arrays given say."""
        items = ocp.args.Composite(parameters=ocp.args.StandardRestore(parameters))
        return self._restore(step, items)["parameters"]

    def wait(self) -> None:
        """Returns when everything that was saved is on disk; raises as `save`."""
        with disk_errors(self.directory):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Waits, and ends the background threads."""
        with disk_errors(self.directory):
            self._manager.close()

    def _restore(self, step, items):
        try:
            return self._manager.restore(step, args=items)
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise UserError(
                f"the checkpoint {self.directory / str(step)} is not one of this model, or is damaged "
                f"({_first_sentence(error)}); give the model's own MODEL_DIR, or remove that step"
            ) from error


def saved_steps(model_dir: str | os.PathLike) -> list[int]:
    """The steps that have a whole checkpoint, in order; makes no folder."""
    directory = Path(model_dir) / "checkpoints"
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def load_run(
    model_dir: str | os.PathLike,
    step: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    dtype: str | None = None,
    layout: Any = None,
) -> tuple[ModelConfig, Decoder]:
    """The model of a run directory.

    Args:
      model_dir: what a run was given as MODEL_DIR.
      step: which checkpoint; None: the newest.
      mesh: where to lay the parameters out; None: on one device.
      dtype: of the parameters; None: as saved.
      layout: changes to `parallel.LAYOUT`.

    Raises:
      UserError: the folder holds no run, or not that step.
    """
    config = read_model_config(model_dir)
    steps = saved_steps(model_dir)
    if not steps:
        raise UserError(f"{model_dir} has no whole checkpoint yet; let its run reach one")
    step = steps[-1] if step is None else step
    if step not in steps:
        raise UserError(
            f"{model_dir} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}"
        )
    checkpoints = Checkpoints(model_dir, read_only=True)
    try:
        definition, abstract, _ = abstract_decoder(config)
        abstract = _placed(config, abstract, mesh, dtype, layout)
        return config, assemble(definition, checkpoints.restore_parameters(step, abstract))
    finally:
        checkpoints.close()


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
    fields = {field.name for field in dataclasses.fields(ModelConfig)}
    model = read_run(model_dir)["model"]
    unknown = sorted(set(model) - fields)
    if unknown:
        raise UserError(
            f"{Path(model_dir) / 'run.json'} has the unknown model fields {unknown}; use the version that wrote it"
        )
    return ModelConfig(**model)


def _placed(config, abstract, mesh, dtype, layout):
    from llmjp_jax.parallel import parameter_shardings

    if mesh is None:
        whole = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: whole, abstract)
    else:
        shardings = parameter_shardings(config, mesh, layout)
    return jax.tree.map(
        lambda array, sharding: jax.ShapeDtypeStruct(array.shape, dtype or array.dtype, sharding=sharding),
        abstract, shardings,
    )  # fmt: skip


def _first_sentence(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
