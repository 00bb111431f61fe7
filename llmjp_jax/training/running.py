"""The steps of a run as they happen: batches in, checkpoints, validation and metrics out."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from llmjp_jax.checkpoints import CheckpointConfig, Checkpoints
from llmjp_jax.inputs import Examples, Inputs, Stages, TokenStore, prefetch
from llmjp_jax.models import assemble, train_flops_per_token
from llmjp_jax.parallel import peak_flops
from llmjp_jax.tokenizer import Vocabulary
from llmjp_jax.training.metrics import Progress, read_metrics
from llmjp_jax.training.state import TrainState
from llmjp_jax.training.stop import StopRequest
from llmjp_jax.training.trainer import Trainer
from llmjp_jax.training.validation import EvaluationConfig, mean_loss, validate


@dataclasses.dataclass
class Run:
    """The things that a step touches, and what is still to be written of the step before.

    Metrics are fetched one step late, so that the devices always have the next step queued.
    """

    trainer: Trainer
    store: Checkpoints
    validation: Mapping[str, TokenStore | Examples]
    evaluation: EvaluationConfig
    checkpoints: CheckpointConfig
    log: Any
    progress: Progress
    total_steps: int
    vocabulary: Vocabulary

    def __post_init__(self):
        self._pending: tuple[int, int, Any] | None = None
        self._clock = None
        self._validated: tuple[int, dict] | None = None  # the last validation, and its step
        trainer = self.trainer
        peak = peak_flops(trainer.mesh.devices.flat[0])
        self._peak = None if peak is None else peak * trainer.mesh.size
        self._flops = {
            kind: train_flops_per_token(
                trainer.model, trainer.sequence_length, causal=kind == "causal"
            )
            for kind in ("causal", "full")
        }

    def go(
        self, state: TrainState, inputs: Inputs | Stages | Examples, first_step: int
    ) -> tuple[TrainState, str | None]:
        """Runs the steps from `first_step` to the last; returns early, with its name, when a signal asks for it."""
        batches = prefetch(
            inputs,
            first_step,
            self.trainer.put,
            stop_step=self.total_steps,
            rows=self.trainer.local_rows,
        )
        with contextlib.closing(batches), StopRequest(first_step) as stop:
            for index, batch in batches:
                step = index + 1
                state = self.step(state, batch, step)
                stopped = stop.after(step)
                if step % self.checkpoints.period == 0 or step == self.total_steps or stopped:
                    self.save(state, step)
                if stopped:
                    break
        return state, stop.received

    def step(self, state: TrainState, batch, step: int) -> TrainState:
        """Runs one step and evaluates if it is time; `step` counts finished updates, this one included."""
        with jax.transfer_guard("disallow"):
            state, metrics = self.trainer.step(state, batch)
        self._flush()
        self._pending = (step, batch["tokens"].size, metrics)
        period = self.evaluation.period
        if period and step % period == 0 and step != self.total_steps:
            self._flush()
            self.validate(state.weights, step, self.evaluation.batches)
        tasks = self.evaluation.tasks
        if tasks and tasks.period and step % tasks.period == 0 and step != self.total_steps:
            self._flush()
            self.ask(state.weights, step)
        return state

    def save(self, state: TrainState, step: int) -> None:
        # Only a state whose loss was finite is worth keeping.
        self._flush()
        loss = None
        if self.checkpoints.keep_best:
            loss = self._validation_loss(state, step)
        self.store.save(step, state.parameters, state.optimizer, loss)
        self._clock = None

    def _validation_loss(self, state: TrainState, step: int) -> float:
        """Over all validation splits, on as many batches at every checkpoint so that they can be compared."""
        if self._validated is None or self._validated[0] != step:
            self.validate(state.weights, step, self.evaluation.batches)
        return mean_loss(self._validated[1], self.trainer.goal.unit)

    def validate(self, weights, step: int, batches: int | None) -> None:
        results = validate(self.trainer, weights, self.validation, batches)
        self._validated = (step, results)
        # A part of the splits says so: after a restart it must not pass for the whole.
        part = {} if batches is None else {"validation_batches": batches}
        self.log.write(step, {"validation": results, **part})
        unit = self.trainer.goal.unit
        for name, values in results.items():
            shown = "  ".join(
                f"{key.replace('_', ' ')} {values[key]:.4f}"
                for key in ("loss", *(key for key in values if key not in ("loss", unit)))
            )
            self.progress.say(f"validation at step {step}: {name}  {shown}")
        self._clock = None

    def ask(self, weights, step: int) -> None:
        """Writes what the model of this step scores on tasks."""
        decoder = assemble(self.trainer.definition, weights)
        scores = dict(self.evaluation.tasks.scores(decoder, self.vocabulary))
        self.log.write(step, {"tasks": scores})
        shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        self.progress.say(f"tasks at step {step}: {shown}")
        self._clock = None

    def asked(self, directory: Path) -> bool:
        """Whether the tasks of the last step, if any are to be asked, have their scores."""
        records = read_metrics(directory / "metrics.jsonl")
        return self.evaluation.tasks is None or any(
            record["step"] == self.total_steps and "tasks" in record for record in records
        )

    def validated(self, directory: Path) -> bool:
        """Whether the last step has its validation on whole splits."""
        if self._validated is not None and self._validated[0] == self.total_steps:
            return self.evaluation.batches is None
        records = read_metrics(directory / "metrics.jsonl")
        return any(
            r["step"] == self.total_steps and "validation" in r and "validation_batches" not in r
            for r in records
        )

    def _flush(self) -> None:
        if self._pending is None:
            return
        (step, tokens, metrics), self._pending = self._pending, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        now = time.perf_counter()
        if self._clock is not None:
            values["seconds"] = now - self._clock
            speed = tokens / values["seconds"]
            values["tokens_per_second"] = speed
            if self._peak is not None:
                values |= {
                    f"mfu_{kind}": speed * flops / self._peak for kind, flops in self._flops.items()
                }
            self.progress.show(step, values["loss"], speed, values.get("mfu_causal"))
        self._clock = now
        self.log.write(step, values)
        for name in ("loss", "gradient_norm"):
            # The parameters after a step whose gradient is not finite are lost, however good its loss was.
            if not math.isfinite(values[name]):
                raise FloatingPointError(
                    f"the {name} of step {step} is {values[name]}; the newest checkpoint is of step "
                    f"{max(self.store.steps(), default=0)}; lower the learning rate or look at the batch of that step"
                )
