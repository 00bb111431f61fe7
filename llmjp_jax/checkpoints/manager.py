"""Checkpoints of a run: written in the background, seen only when whole, restored onto any mesh.

MODEL_DIR/checkpoints/<step>/ holds two items: `parameters`, those that the run trains (of a model with adapters, the
adapters alone), and `optimizer`; with `keep_best` a third, `metrics`. Which model they belong to stands in
MODEL_DIR/run.json, which the training loop writes.
"""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from llmjp_jax.checkpoints.disk_errors import disk_errors, silence_writers
from llmjp_jax.checkpoints.runs import saved_steps
from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save and what to keep.

    Attributes:
      period: steps between checkpoints; the last step is always saved.
      keep: how many of the newest to keep; None keeps all.
      keep_period: steps whose multiples are kept for ever.
      keep_best: keep the one with the lowest validation loss too (the newest of equal ones); `runs.best_step` finds it.
      asynchronous: write while training goes on.
    """

    period: int = 1000
    keep: int | None = 3
    keep_period: int | None = None
    keep_best: bool = False
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
        if type(self.keep_best) is not bool:
            raise UserError(
                f"CheckpointConfig.keep_best = {self.keep_best!r} must be True or False"
            )

    def _options(self, read_only: bool) -> ocp.CheckpointManagerOptions:
        common = {
            "enable_async_checkpointing": self.asynchronous,
            "cleanup_tmp_directories": not read_only,
            "read_only": read_only,
        }
        if not self.keep_best:
            return ocp.CheckpointManagerOptions(
                max_to_keep=self.keep, keep_period=self.keep_period, **common
            )
        kept = [
            checkpoint_managers.LatestN(self.keep),
            checkpoint_managers.BestN(
                get_metric_fn=_loss, reverse=True, n=1, keep_checkpoints_without_metrics=False
            ),
        ]
        if self.keep_period is not None:
            kept.append(checkpoint_managers.EveryNSteps(self.keep_period))
        policy = checkpoint_managers.AnyPreservationPolicy(kept)
        return ocp.CheckpointManagerOptions(
            preservation_policy=policy, best_fn=_loss, best_mode="min", **common
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
        self._manager = ocp.CheckpointManager(self.directory, options=config._options(read_only))

    def steps(self) -> list[int]:
        """The steps that have a whole checkpoint, in order."""
        return saved_steps(self.directory.parent)

    def save(
        self, step: int, parameters: Any, optimizer: Any, validation_loss: float | None = None
    ) -> None:
        """Starts to save; the arrays may be overwritten as soon as this returns.

        Args:
          validation_loss: what `keep_best` compares; a checkpoint without one, or whose loss is no finite number, is
            kept like any other and never the best.

        Raises:
          UserError: this save, or an earlier one in the background, found the disk full or read-only.
        """
        items = ocp.args.Composite(
            parameters=ocp.args.StandardSave(parameters), optimizer=ocp.args.StandardSave(optimizer)
        )
        metrics = None
        if validation_loss is not None and math.isfinite(validation_loss):
            metrics = {"loss": float(validation_loss)}
        with disk_errors(self.directory):
            self._manager.save(step, args=items, metrics=metrics, force=True)

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


def _loss(metrics: dict[str, float]) -> float:
    return metrics["loss"]


def _first_sentence(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
