"""The optimizer is Megatron's: rates, decay and clipping."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig, initialize
from llmjp_jax.training import OptimizerConfig
from llmjp_jax.training.optimizer import decayed_parameters
from tests.training.conftest import GPT2, OPTIMIZER


def test_learning_rates_are_megatrons(shared_data):
    reference = json.loads((shared_data / "parity" / "megatron" / "lr_schedule.json").read_text())
    for schedule in reference["schedules"]:
        config = OptimizerConfig(
            learning_rate=schedule["max_lr"], final_learning_rate=schedule["min_lr"], schedule=schedule["style"],
            warmup_steps=schedule["warmup_iters"], decay_steps=schedule["decay_iters"],
        )  # fmt: skip
        rates = config.learning_rate_at(np.array(schedule["iteration"]))
        np.testing.assert_allclose(rates, schedule["lr"], rtol=1e-5, atol=1e-12)


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
    ],
)
def test_settings_that_make_no_sense_name_their_field(change, field):
    with pytest.raises(UserError, match=field):
        OptimizerConfig(**OPTIMIZER | change)
