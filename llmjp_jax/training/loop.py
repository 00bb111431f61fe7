"""The training loop: from a configuration to checkpoints, metrics and a curve. Read it from top to bottom."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from llmjp_jax.checkpoints import CheckpointConfig, Checkpoints
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import Inputs, Stages, TokenStore, prefetch
from llmjp_jax.models import ModelConfig, train_flops_per_token
from llmjp_jax.parallel import MeshConfig, keep_freed_memory, make_mesh, peak_flops
from llmjp_jax.training.compilation import keep_programs
from llmjp_jax.training.metrics import MetricsLog, NullLog, Progress, draw_loss, read_metrics
from llmjp_jax.training.optimizer import OptimizerConfig
from llmjp_jax.training.record import check_continuation, headline, run_record, write_record
from llmjp_jax.training.sizes import check_steps
from llmjp_jax.training.start import given_parameters, open_data, restored_state
from llmjp_jax.training.stop import StopRequest
from llmjp_jax.training.trainer import Trainer, TrainState
from llmjp_jax.training.validation import validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """When to evaluate on the validation splits.

    Attributes:
      period: steps between evaluations; None: only after the last step.
      batches: batches per corpus at those; None: the whole split. After the last step it is always the whole split.
    """

    period: int | None = None
    batches: int | None = None

    def __post_init__(self):
        for field in ("period", "batches"):
            value = getattr(self, field)
            if value is not None and (type(value) is not int or value < 1):
                raise UserError(
                    f"EvaluationConfig.{field} = {value!r} must be None or a whole number of at least 1"
                )


def train(
    *,
    model_dir: str,
    model: ModelConfig,
    optimizer: OptimizerConfig,
    vocabulary: str,
    cache_dir: str,
    mixture_or_task_name: str | Sequence[tuple[str, int]],
    sequence_length: int,
    batch_size: int,
    total_steps: int,
    mesh: MeshConfig | None = None,
    layout: Mapping[str, Any] | None = None,
    seed: int = 0,
    accumulation: int = 1,
    z_loss: float = 0.0,
    router_loss: float = 0.0,
    document_mask: bool = False,
    order: str = "windows",
    checkpoints: CheckpointConfig | None = None,
    evaluation: EvaluationConfig | None = None,
    initial_checkpoint_path: str | None = None,
    allocator: str = "system",
    compiler_options: Mapping[str, Any] | None = None,
    compilation_cache: str | None = "auto",
    operative_config: str | None = None,
) -> TrainState:
    """Trains, or goes on training, the run in `model_dir`; the same arguments always give the same losses.

    Args:
      model_dir: where checkpoints, metrics, run.json and the picture go; a run found there is continued.
      model, optimizer, mesh, layout, z_loss, router_loss, document_mask: see `Trainer`.
      vocabulary: path of the tokenizer that the stores were built with.
      cache_dir, mixture_or_task_name: the token stores, as `tools/cache_tasks.py` wrote them; several names in turn,
        as `(("fold_00", 8787), ("fold_01", 8787))`, are each trained on for so many steps, the last one to the end.
      sequence_length, batch_size: of the global batch, in tokens and rows.
      total_steps: updates until the end.
      seed: of parameters, data order and dropout.
      order: of the data: 'windows', or 'megatron' for exactly that of Megatron-LM (see `inputs.Inputs`).
      accumulation: parts of a batch computed one after another.
      checkpoints, evaluation: when to save and to validate.
      initial_checkpoint_path: a Hugging Face or run directory whose parameters the run starts from.
      allocator: 'keep' holds on to freed host memory between steps (CPU; `parallel.keep_freed_memory`).
      compiler_options: see `Trainer`.
      compilation_cache: the folder that keeps compiled programs for the next start, 'auto' the user's own; None:
        nowhere (`compilation.keep_programs`).
      operative_config: the gin text of the run, to be saved beside it.

    Returns:
      The last state.

    Raises:
      UserError: the arguments do not fit each other, the machine, or the run in `model_dir`.
      FloatingPointError: the loss is not finite.
    """
    check_steps(total_steps)
    if allocator not in ("system", "keep"):
        raise UserError(f"train.allocator = {allocator!r} must be 'system' or 'keep'")
    if allocator == "keep":
        keep_freed_memory()
    cache_trouble = keep_programs(compilation_cache, model_dir)

    # What is to be done: everything that can be wrong is found before anything is written.
    tokenizer, inputs, validation = open_data(
        model, vocabulary, cache_dir, mixture_or_task_name, sequence_length=sequence_length,
        batch_size=batch_size, seed=seed, document_mask=document_mask, order=order, total_steps=total_steps,
    )  # fmt: skip
    mesh = mesh or MeshConfig()
    trainer = Trainer(
        model=model, optimizer=optimizer, mesh=make_mesh(mesh), batch_size=batch_size,
        sequence_length=sequence_length, layout=layout, seed=seed, accumulation=accumulation, z_loss=z_loss,
        router_loss=router_loss, document_mask=document_mask, compiler_options=compiler_options,
    )  # fmt: skip
    record = run_record(trainer, inputs, tokenizer, total_steps, initial_checkpoint_path)
    directory, checkpoints = Path(model_dir), checkpoints or CheckpointConfig()
    begun = check_continuation(directory, record)
    given = None if begun else given_parameters(trainer, initial_checkpoint_path)

    # Where it stands.
    write_record(directory, record, tokenizer, operative_config)
    store = Checkpoints(directory, checkpoints)
    state = restored_state(trainer, store, begun) if begun else trainer.initial_state(given)
    progress = Progress(total_steps, quiet=jax.process_index() != 0)
    progress.say(headline(record, mesh, begun))
    if cache_trouble:
        progress.say(cache_trouble)
    log = MetricsLog(directory, begun) if jax.process_index() == 0 else NullLog()

    # The steps.
    evaluation = evaluation or EvaluationConfig()
    run = _Run(
        trainer, store, validation, evaluation, checkpoints.period, log, progress, total_steps
    )
    try:
        state, stopped = run.go(state, inputs, begun)
        if not stopped and (begun < total_steps or not validated(directory, total_steps)):
            run.validate(state.parameters, total_steps, None)
        store.wait()
    finally:
        log.close()
        store.close()
    if jax.process_index() == 0:
        progress.say(f"loss curve: {draw_loss(directory)}")
    if stopped:
        raise SystemExit(
            f"stopped by {stopped}; run the same command again to go on from step {int(state.step)}"
        )
    return state


@dataclasses.dataclass
class _Run:
    """The things that a step touches, and what is still to be written of the step before.

    Metrics are fetched one step late, so that the devices always have the next step queued.
    """

    trainer: Trainer
    store: Checkpoints
    validation: Mapping[str, TokenStore]
    evaluation: EvaluationConfig
    checkpoint_period: int
    log: Any
    progress: Progress
    total_steps: int

    def __post_init__(self):
        self._pending: tuple[int, Any] | None = None
        self._clock = None
        trainer = self.trainer
        self._tokens = trainer.batch_size * trainer.sequence_length
        peak = peak_flops(trainer.mesh.devices.flat[0])
        self._peak = None if peak is None else peak * trainer.mesh.size
        self._flops = {
            kind: train_flops_per_token(
                trainer.model, trainer.sequence_length, causal=kind == "causal"
            )
            for kind in ("causal", "full")
        }

    def go(
        self, state: TrainState, inputs: Inputs | Stages, first_step: int
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
                if step % self.checkpoint_period == 0 or step == self.total_steps or stopped:
                    self.save(state, step)
                if stopped:
                    break
        return state, stop.received

    def step(self, state: TrainState, batch, step: int) -> TrainState:
        """Runs one step and evaluates if it is time; `step` counts finished updates, this one included."""
        with jax.transfer_guard("disallow"):
            state, metrics = self.trainer.step(state, batch)
        self._flush()
        self._pending = (step, metrics)
        period = self.evaluation.period
        if period and step % period == 0 and step != self.total_steps:
            self._flush()
            self.validate(state.parameters, step, self.evaluation.batches)
        return state

    def save(self, state: TrainState, step: int) -> None:
        # Only a state whose loss was finite is worth keeping.
        self._flush()
        self.store.save(step, state.parameters, state.optimizer)
        self._clock = None

    def validate(self, parameters, step: int, batches: int | None) -> None:
        results = validate(self.trainer, parameters, self.validation, batches)
        self.log.write(step, {"validation": results})
        for name, values in results.items():
            bits = (
                f"  {values['bits_per_byte']:.4f} bits per byte"
                if "bits_per_byte" in values
                else ""
            )
            self.progress.say(f"validation at step {step}: {name}  loss {values['loss']:.4f}{bits}")
        self._clock = None

    def _flush(self) -> None:
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        now = time.perf_counter()
        if self._clock is not None:
            values["seconds"] = now - self._clock
            speed = self._tokens / values["seconds"]
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


def validated(directory: Path, step: int) -> bool:
    """Whether metrics.jsonl already has the validation of a step."""
    return any(
        r["step"] == step and "validation" in r for r in read_metrics(directory / "metrics.jsonl")
    )
