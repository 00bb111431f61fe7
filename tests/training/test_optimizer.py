"""The optimizer is Megatron's: rates, decay and clipping."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig, initialize
from llmjp_jax.training import OptimizerConfig
from llmjp_jax.training.optimizer import decayed_parameters
from tests.training.conftest import ADAM, GPT2, OPTIMIZER


def test_learning_rates_are_megatrons_at_every_step(shared_data):
    reference = json.loads((shared_data / "parity" / "megatron" / "lr_schedule.json").read_text())
    for schedule in reference["schedules"]:
        config = OptimizerConfig(
            learning_rate=schedule["max_lr"], final_learning_rate=schedule["min_lr"], schedule=schedule["style"],
            warmup_steps=schedule["warmup_iters"], decay_steps=schedule["decay_iters"], **ADAM,
        )  # fmt: skip
        rates = config.learning_rate_at(np.array(schedule["iteration"]))
        assert rates.dtype == jnp.float32
        np.testing.assert_allclose(rates, schedule["lr"], rtol=1e-6, atol=0)


def test_late_steps_of_a_long_schedule_keep_float32s_digits():
    peak, floor, warmup, horizon = 1e-4, 1e-6, 2**20, 2**24
    config = OptimizerConfig(learning_rate=peak, final_learning_rate=floor, warmup_steps=warmup,
                             decay_steps=horizon, **ADAM)  # fmt: skip
    steps = np.array([1, warmup - 1, warmup, warmup + 1, 2**23 + 1, horizon - 5001, horizon - 1])
    progress = np.clip((steps - warmup) / (horizon - warmup), 0, 1)
    wanted = floor + (peak - floor) * 0.5 * (np.cos(np.pi * progress) + 1)
    wanted = np.where(steps < warmup, peak * steps / warmup, wanted)
    np.testing.assert_allclose(config.learning_rate_at(steps), wanted, rtol=1e-6)
    rising = np.asarray(config.learning_rate_at(np.arange(1000)))
    assert (np.diff(rising) > 0).all()


def test_a_second_decay_begins_at_the_rate_the_first_reached_and_ends_in_its_own():
    first = OptimizerConfig(**OPTIMIZER | {"decay_steps": 100})
    both = dataclasses.replace(
        first, cooldown_start=10, cooldown_steps=4, cooldown_learning_rate=1e-5
    )
    before, rates = first.learning_rate_at(np.arange(30)), both.learning_rate_at(np.arange(30))
    np.testing.assert_array_equal(rates[:10], before[:10])
    reached = float(before[10])
    assert float(rates[10]) == pytest.approx(reached, rel=1e-6)
    assert float(rates[12]) == pytest.approx((reached + 1e-5) / 2, rel=1e-6)
    np.testing.assert_allclose(rates[14:], 1e-5, rtol=1e-6)


def test_the_first_update_has_rate_zero_the_peak_follows_warm_up_and_the_floor_stays():
    config = OptimizerConfig(**OPTIMIZER)
    rates = [float(config.learning_rate_at(step)) for step in range(30)]
    assert rates[0] == 0 and rates[1] == pytest.approx(0.5e-2) and rates[2] == pytest.approx(1e-2)
    assert all(a >= b for a, b in zip(rates[2:], rates[3:], strict=False))
    assert rates[11] == pytest.approx((1e-2 + 1e-3) / 2)
    assert rates[20:] == pytest.approx([1e-3] * 10)


def test_weight_decay_spares_biases_and_norms_and_nothing_else():
    parameters = initialize(ModelConfig(**GPT2), 0)
    spared = {
        jax.tree_util.keystr(path)
        for path, decays in jax.tree_util.tree_leaves_with_path(decayed_parameters(parameters))
        if not decays
    }
    expected = {
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(parameters)
        if path[-1].key in ("bias", "scale")
    }
    assert spared == expected and len(spared) == 12
    assert decayed_parameters(parameters)["embed"] == {"positions": True, "tokens": True}


def test_decay_moves_only_what_it_applies_to():
    config = OptimizerConfig(**OPTIMIZER | {"warmup_steps": 0})
    parameters = jax.tree.map(jnp.ones_like, initialize(ModelConfig(**GPT2), 0))
    transformation = config.transformation()
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    updates, _ = transformation.update(zeros, transformation.init(parameters), parameters)
    moved = jax.tree.map(lambda update: bool((update != 0).all()), updates)
    assert moved == decayed_parameters(parameters)
    np.testing.assert_allclose(updates["embed"]["tokens"], -1e-2 * 0.1, rtol=1e-6)


@pytest.mark.parametrize("size, factor", [(0.1, 1.0), (100.0, 0.01)])
def test_gradients_are_scaled_to_the_largest_norm(size, factor):
    gradients = {"a": jnp.full((4,), size / 2), "b": jnp.zeros((3,))}
    clipped, norm = OptimizerConfig(**OPTIMIZER).clip(gradients)
    assert float(norm) == pytest.approx(size)
    np.testing.assert_allclose(clipped["a"], gradients["a"] * factor, rtol=1e-5)


@pytest.mark.parametrize(
    "change, field",
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"final_learning_rate": 1.0}, "final_learning_rate"),
        ({"decay_steps": 2}, "decay_steps"),
        ({"schedule": "wavy"}, "schedule"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"warmup_steps": 2.5}, "warmup_steps"),
        ({"cooldown_start": 5}, "cooldown_steps"),
        ({"cooldown_learning_rate": 1e-5}, "cooldown_start"),
        (
            {"cooldown_start": 1, "cooldown_steps": 4, "cooldown_learning_rate": 1e-5},
            "cooldown_start",
        ),
        (
            {"cooldown_start": 5, "cooldown_steps": 0, "cooldown_learning_rate": 1e-5},
            "cooldown_steps",
        ),
        (
            {"cooldown_start": 20, "cooldown_steps": 4, "cooldown_learning_rate": 2e-3},
            "cooldown_learning_rate",
        ),
    ],
)
def test_settings_that_make_no_sense_name_their_field(change, field):
    with pytest.raises(UserError, match=field):
        OptimizerConfig(**OPTIMIZER | change)
