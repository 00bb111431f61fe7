"""What keeps devices busy: no memory twice, no copy in a step, the next batch and step ready before they are needed."""

import functools
import math
import threading

import jax
import numpy as np
import pytest

from llmjp_jax.checkpoints import CheckpointConfig
from llmjp_jax.models import ModelConfig
from llmjp_jax.parallel import MeshConfig, make_mesh
from llmjp_jax.training import OptimizerConfig, Trainer, train
from tests.training.conftest import LLAMA, OPTIMIZER


def replace_step(monkeypatch, around) -> None:
    """Makes every `Trainer.step` a call of `around` with the compiled step and its arguments."""
    compiled = Trainer.step.func
    step = functools.cached_property(lambda self: functools.partial(around, compiled(self)))
    step.__set_name__(Trainer, "step")
    monkeypatch.setattr(Trainer, "step", step)


def test_every_byte_of_the_state_is_reused_for_the_next_one():
    trainer = Trainer(
        model=ModelConfig(**LLAMA), optimizer=OptimizerConfig(**OPTIMIZER), batch_size=8, sequence_length=32,
        mesh=make_mesh(MeshConfig(data=1, fsdp=2), jax.devices()[:2]),
    )  # fmt: skip
    compiled = trainer.step.lower(trainer.abstract_state, trainer.abstract_batch()).compile()
    of_a_device = sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(trainer.abstract_state)
    )
    assert compiled.memory_analysis().alias_size_in_bytes >= of_a_device > 3 * 4 * 40_000 / 2


def test_a_step_that_computes_with_a_number_of_the_host_is_an_error(run_arguments, monkeypatch):
    def careless(step, state, batch):
        state, metrics = step(state, batch)
        return state, metrics | {"bits": metrics["loss"] / np.log(2)}

    replace_step(monkeypatch, careless)
    with pytest.raises(Exception, match="[Dd]isallowed host-to-device transfer"):
        train(**run_arguments)


def test_the_next_batch_is_put_while_a_step_runs_and_metrics_are_read_one_step_late(
    run_arguments, monkeypatch
):
    total = run_arguments["total_steps"]
    events, metrics_of = [], {}
    batches = threading.Semaphore(0)  # put, and not yet stepped on
    put, get = Trainer.put, jax.device_get

    def noted_put(self, batch):
        on_devices = put(self, batch)
        batches.release()
        return on_devices

    def noted_step(step, state, batch):
        number = len(metrics_of) + 1
        state, metrics = step(state, batch)
        metrics_of[number] = metrics
        if number == 1:
            assert batches.acquire(timeout=60)  # its own
        # Still in the step: another thread has to bring the batch of the next.
        if number < total:
            assert batches.acquire(timeout=10), "no next batch while the step runs"
        events.append(("step", number))
        return state, metrics

    def noted_get(tree):
        events.extend(("read", number) for number, metrics in metrics_of.items() if metrics is tree)
        return get(tree)

    monkeypatch.setattr(Trainer, "put", noted_put)
    replace_step(monkeypatch, noted_step)
    monkeypatch.setattr(jax, "device_get", noted_get)
    train(**run_arguments | {"checkpoints": CheckpointConfig(period=100)})
    late = [
        event
        for number in range(2, total + 1)
        for event in (("step", number), ("read", number - 1))
    ]
    assert events == [("step", 1), *late, ("read", total)]
