"""The training loop: from a configuration to checkpoints, metrics and a curve. Read it from top to bottom."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from llmjp_jax.checkpoints import CheckpointConfig, Checkpoints, best_step
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import Examples, ExamplesConfig, recorded_inputs
from llmjp_jax.models import ModelConfig
from llmjp_jax.parallel import MeshConfig, keep_freed_memory, make_mesh
from llmjp_jax.training.compilation import keep_programs
from llmjp_jax.training.data import (
    check_kind,
    describe_examples,
    examples_options,
    open_data,
    steps_of,
)
from llmjp_jax.training.metrics import MetricsLog, NullLog, Progress, draw_loss
from llmjp_jax.training.objectives import Objective
from llmjp_jax.training.optimizer import OptimizerConfig
from llmjp_jax.training.record import check_continuation, headline, run_record, write_record
from llmjp_jax.training.running import Run
from llmjp_jax.training.start import Origin, restored_state, started_state
from llmjp_jax.training.state import TrainState
from llmjp_jax.training.trainer import Trainer
from llmjp_jax.training.validation import EvaluationConfig


def train(
    *,
    model_dir: str,
    model: ModelConfig,
    optimizer: OptimizerConfig,
    vocabulary: str,
    cache_dir: str | None = None,
    mixture_or_task_name: str | Sequence[tuple[str, int]] | None = None,
    sequence_length: int,
    batch_size: int,
    total_steps: int | None = None,
    epochs: float | None = None,
    examples: ExamplesConfig | None = None,
    objective: Objective | None = None,
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
    initial_checkpoint_step: int | str | None = None,
    allocator: str = "system",
    compiler_options: Mapping[str, Any] | None = None,
    compilation_cache: str | None = "auto",
    operative_config: str | None = None,
) -> TrainState:
    """Trains, or goes on training, the run in `model_dir`; the same arguments always give the same losses.

    Args:
      model_dir: where checkpoints, metrics, run.json and the picture go; a run found there is continued.
      model, optimizer, objective, mesh, layout, z_loss, router_loss, document_mask: see `Trainer`.
      vocabulary: path of the tokenizer that the stores were built with.
      cache_dir, mixture_or_task_name: the token stores, as `tools/cache_tasks.py` wrote them; several names in turn,
        as `(("fold_00", 8787), ("fold_01", 8787))`, are each trained on for so many steps, the last one to the end.
      sequence_length, batch_size: of the global batch, in tokens and rows.
      total_steps: updates until the end; epochs: in place of it, passes over the examples.
      examples: how examples of tuning become rows, or which JSON lines they are; None: text, as in pre-training.
      seed: of parameters, data order and dropout.
      order: of the data: 'windows', or 'megatron' for exactly that of Megatron-LM (see `inputs.Inputs`).
      accumulation: parts of a batch computed one after another.
      checkpoints, evaluation: when to save and to validate.
      initial_checkpoint_path: a run, Hugging Face directory or adapter whose parameters the run starts from;
        initial_checkpoint_step: which of a run's, 'best' that of the lowest validation loss; None: the newest.
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
    if allocator not in ("system", "keep"):
        raise UserError(f"train.allocator = {allocator!r} must be 'system' or 'keep'")
    if allocator == "keep":
        keep_freed_memory()
    cache_trouble = keep_programs(compilation_cache, model_dir)

    # What is to be done: everything that can be wrong is found before anything is written.
    options = dict(
        sequence_length=sequence_length, batch_size=batch_size, seed=seed, document_mask=document_mask, order=order,
    )  # fmt: skip
    tokenizer, inputs, validation = open_data(
        model,
        vocabulary,
        cache_dir,
        mixture_or_task_name,
        examples,
        total_steps=total_steps,
        **options,
    )
    total_steps = steps_of(inputs, total_steps, epochs)
    mesh, checkpoints = mesh or MeshConfig(), checkpoints or CheckpointConfig()
    evaluation = evaluation or EvaluationConfig()
    trainer = Trainer(
        model=model, optimizer=optimizer.over(total_steps), mesh=make_mesh(mesh), batch_size=batch_size,
        sequence_length=sequence_length, layout=layout, seed=seed, accumulation=accumulation, z_loss=z_loss,
        router_loss=router_loss, objective=objective, compiler_options=compiler_options,
        **examples_options(inputs, document_mask),
    )  # fmt: skip
    for data in (inputs, *validation.values()):
        check_kind(data, trainer.goal)
    if checkpoints.keep_best and not validation:
        raise UserError(
            "CheckpointConfig.keep_best = True needs a validation split, and the data have none; set it False or add one"
        )
    if evaluation.tasks is not None:
        evaluation.tasks.check(model, tokenizer)
    directory = Path(model_dir)
    origin = Origin.of(initial_checkpoint_path, initial_checkpoint_step, directory)
    data = recorded_inputs(
        inputs, cache_dir=cache_dir, mixture_or_task_name=mixture_or_task_name, examples=examples,
        total_steps=total_steps, **options,
    )  # fmt: skip
    record = run_record(trainer, inputs, tokenizer, total_steps, origin, examples, data)
    begun = check_continuation(directory, record)
    start = functools.cache(lambda: started_state(trainer, origin))
    if not begun or model.lora is not None:
        start()  # it may be of another model, or gone

    # Where it stands.
    write_record(directory, record, tokenizer, operative_config)
    inputs, validation = trainer.goal.prepared(
        trainer, lambda: start().weights, inputs, validation, directory
    )
    store = Checkpoints(directory, checkpoints)
    state = restored_state(trainer, store, begun, start) if begun else start()
    start.cache_clear()  # the steps use its arrays up
    progress = Progress(total_steps, quiet=jax.process_index() != 0)
    progress.say(headline(record, mesh, begun))
    if isinstance(inputs, Examples):
        progress.say(describe_examples(inputs, trainer.goal))
        before = origin.template
        if before and examples.template and before != examples.template:
            progress.say(
                f"{origin.path} was tuned with the template {before}, this run uses {examples.template}"
            )
    if cache_trouble:
        progress.say(cache_trouble)
    log = MetricsLog(directory, begun) if jax.process_index() == 0 else NullLog()

    # The steps.
    run = Run(
        trainer, store, validation, evaluation, checkpoints, log, progress, total_steps, tokenizer
    )
    try:
        state, stopped = run.go(state, inputs, begun)
        if not stopped and not run.validated(directory):
            run.validate(state.weights, total_steps, None)
        if not stopped and not run.asked(directory):
            run.ask(state.weights, total_steps)
        store.wait()
    finally:
        log.close()
        store.close()
    if jax.process_index() == 0:
        if checkpoints.keep_best and not stopped:
            progress.say(f"lowest validation loss at step {best_step(directory)}")
        progress.say(f"loss curve: {draw_loss(directory)}")
    if stopped:
        raise SystemExit(
            f"stopped by {stopped}; run the same command again to go on from step {int(state.step)}"
        )
    return state
