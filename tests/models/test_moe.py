"""The mixture of experts: who goes where, that nobody is dropped, and that nothing leaks between groups."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from llmjp_jax.models import ModelConfig
from llmjp_jax.models.moe import Experts, apply_experts

CONFIG = ModelConfig(
    vocab_size=61, layers=2, embed=16, heads=4, mlp=12, max_length=32, position="rope", norm="rmsnorm",
    activation="swiglu", bias=False, tied_embeddings=False, experts=6, initializer_std=0.5,
)  # fmt: skip


def make_experts(config=CONFIG) -> Experts:
    with nnx.use_eager_sharding(False):
        return Experts(config, nnx.Rngs(0))


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kernels(experts, seed=1):
    shapes = ((experts, 16, 12), (experts, 16, 12), (experts, 12, 16))
    return [draw(*shape, seed=seed + i) * 0.3 for i, shape in enumerate(shapes)]


def one_after_another(x, chosen, weights, gate, up, down):
    """`apply_experts`, every expert on every token."""
    y = jnp.zeros_like(x)
    for expert in range(gate.shape[0]):
        output = (jax.nn.silu(x @ gate[expert]) * (x @ up[expert])) @ down[expert]
        y += output * jnp.where(chosen == expert, weights, 0).sum(-1, keepdims=True)
    return y


def value_and_gradients(function, x, chosen, weights, *kernels):
    """A projection of the result, and its gradients with respect to everything that has one."""

    def along(x, weights, *kernels):
        return jnp.sum(function(x, chosen, weights, *kernels) * draw(*x.shape, seed=9))

    arguments = (x, weights, *kernels)
    return jax.jit(jax.value_and_grad(along, range(len(arguments))))(*arguments)


def assert_alike(first, second):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_a_token_goes_to_its_k_likeliest_experts_with_weights_that_sum_to_one(k):
    experts = make_experts(dataclasses.replace(CONFIG, experts_per_token=k))
    x = draw(3, 7, 16)
    chosen, weights = map(np.asarray, experts.route(x)[:2])
    probabilities = np.asarray(jax.nn.softmax(x @ experts.router[...], -1))
    assert chosen.shape == weights.shape == (3, 7, k)
    np.testing.assert_array_equal(
        np.sort(chosen, -1), np.sort(np.argsort(probabilities, -1)[..., -k:])
    )
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    picked = np.take_along_axis(probabilities, chosen, -1)
    np.testing.assert_allclose(weights, picked / picked.sum(-1, keepdims=True), rtol=1e-5)


# The experts of 8 tokens each: all alike, some without tokens, one token's two experts the same as no other's.
CHOICES = {
    "all to one": [[2]] * 8,
    "one has none": [[0, 1], [3, 1], [0, 3], [1, 0], [3, 0], [1, 3], [0, 1], [1, 0]],
    "one token alone": [[0, 1]] * 7 + [[2, 3]],
    "in no order": [[3, 0], [2, 1], [1, 3], [0, 2], [2, 3], [1, 0], [3, 2], [0, 1]],
}


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_groups_of_any_size_give_what_each_expert_gives_by_itself(choices):
    chosen = np.array(choices, np.int32)
    arguments = (draw(8, 16), chosen, np.abs(draw(*chosen.shape, seed=4)), *kernels(4))
    assert_alike(
        value_and_gradients(apply_experts, *arguments),
        value_and_gradients(one_after_another, *arguments),
    )


def test_what_belongs_to_other_devices_neither_enters_nor_leaves(monkeypatch):
    """A grouped product may leave anything in rows beyond its groups: here NaN, forward and backward."""
    plain = jax.lax.ragged_dot

    def beyond(rows, sizes):
        return (jnp.arange(rows.shape[0]) >= sizes.sum())[:, None]

    @jax.custom_vjp
    def careless(rows, kernel, sizes):
        return jnp.where(beyond(rows, sizes), jnp.nan, plain(rows, kernel, sizes))

    def forward(rows, kernel, sizes):
        return careless(rows, kernel, sizes), (rows, kernel, sizes)

    def backward(saved, gradient):
        rows, kernel, sizes = saved
        _, pull = jax.vjp(lambda rows, kernel: plain(rows, kernel, sizes), rows, kernel)
        row_gradient, kernel_gradient = pull(gradient)
        # A product over the tokens of a group that reads beyond it shows what lies there.
        leak = jnp.sum(jnp.where(beyond(rows, sizes), gradient, 0)) * 0
        return jnp.where(beyond(rows, sizes), jnp.nan, row_gradient), kernel_gradient + leak, None

    careless.defvjp(forward, backward)
    chosen = np.array([[0, -2], [5, 1], [-1, 4], [1, 0], [7, 2], [3, -3]], np.int32)
    arguments = (draw(6, 16), chosen, np.abs(draw(6, 2, seed=4)), *kernels(4))
    expected = value_and_gradients(one_after_another, *arguments)
    monkeypatch.setattr(jax.lax, "ragged_dot", careless)
    assert_alike(value_and_gradients(apply_experts, *arguments), expected)


def test_the_order_of_the_experts_does_not_matter():
    experts, x = make_experts(), draw(2, 9, 16)
    y, balance = experts(x)
    order = np.array([3, 5, 0, 1, 4, 2])
    experts.router = nnx.Param(experts.router[...][:, order])
    for name in ("gate", "up", "down"):
        setattr(experts, name, nnx.Param(getattr(experts, name)[...][order]))
    again, permuted = experts(x)
    np.testing.assert_allclose(again, y, atol=1e-5)
    np.testing.assert_allclose(permuted.loss, balance.loss, rtol=1e-6)
    np.testing.assert_allclose(permuted.shares, balance.shares[order])


def test_the_load_balancing_loss_is_that_of_each_row_by_hand():
    """experts x sum of share x mean probability, by row; Megatron's and Switch's formula."""
    experts, x = make_experts(), draw(3, 7, 16)
    probabilities = np.asarray(jax.nn.softmax(x @ experts.router[...], -1))
    losses, counts = [], np.zeros(6)
    for row in probabilities:
        count = np.bincount(np.argsort(row, -1)[:, -2:].ravel(), minlength=6)
        losses.append(6 * sum(count / 14 * row.mean(0)))
        counts += count
    _, balance = experts(x)
    np.testing.assert_allclose(balance.loss, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(balance.shares, counts / counts.sum(), rtol=1e-6)


def test_the_load_balancing_loss_is_one_when_even_and_grows_to_the_number_of_experts():
    experts = make_experts(dataclasses.replace(CONFIG, experts_per_token=1))
    experts.router = nnx.Param(50 * jnp.eye(16, 6))
    each = jnp.eye(6, 16)[None]  # token i has expert i
    np.testing.assert_allclose(experts(each)[1].loss, 1, rtol=1e-5)
    np.testing.assert_allclose(experts(each[:, [2] * 6])[1].loss, 6, rtol=1e-5)


def test_the_load_balancing_loss_moves_probabilities_and_nothing_else():
    experts, x = make_experts(), draw(2, 7, 16)
    chosen, _, _ = experts.route(x)
    shares = jax.nn.one_hot(chosen, 6).sum(-2).mean(-2) / 2

    def loss(router):
        changed = nnx.clone(experts)
        changed.router = nnx.Param(router)
        return changed.route(x)[2].loss

    def with_fixed_shares(router):
        return 6 * jnp.sum(shares * jax.nn.softmax(x @ router, -1).mean(1), -1).mean()

    gradient = jax.grad(loss)(experts.router[...])
    assert np.abs(gradient).max() > 1e-3
    expected = jax.grad(with_fixed_shares)(experts.router[...])
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
