"""The chunked cross-entropy is the plain one, in value and gradient, and never holds all logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.models import token_log_probabilities, token_losses

BATCH, LENGTH, EMBED, VOCAB = 3, 12, 8, 50


@pytest.fixture
def problem():
    """hidden, kernel, targets, weights; some targets weigh nothing."""
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(BATCH, LENGTH, EMBED)).astype(np.float32)
    kernel = generator.normal(size=(EMBED, VOCAB)).astype(np.float32)
    targets = generator.integers(0, VOCAB, (BATCH, LENGTH), dtype=np.int32)
    weights = generator.uniform(size=(BATCH, LENGTH)).astype(np.float32) * (
        generator.uniform(size=(BATCH, LENGTH)) < 0.7
    )
    return hidden, kernel, targets, weights.astype(np.float32)


def plain(hidden, kernel, targets, weights, z_loss):
    logits = hidden @ kernel
    log_z = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    entropy = jnp.sum(weights * (log_z - picked))
    return entropy + z_loss * jnp.sum(weights * log_z**2), entropy


@pytest.mark.parametrize("chunks", [1, 3, 12])
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_value_and_gradients_are_the_plain_ones(chunks, z_loss, problem):
    hidden, kernel, targets, weights = problem

    def ours(hidden, kernel):
        return token_losses(hidden, kernel, targets, weights, z_loss=z_loss, chunks=chunks)

    def reference(hidden, kernel):
        return plain(hidden, kernel, targets, weights, z_loss)

    (loss, entropy), gradients = jax.jit(jax.value_and_grad(ours, (0, 1), has_aux=True))(
        hidden, kernel
    )
    (plain_loss, plain_entropy), plain_gradients = jax.value_and_grad(
        reference, (0, 1), has_aux=True
    )(hidden, kernel)
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-6)
    np.testing.assert_allclose(entropy, plain_entropy, rtol=1e-6)
    assert (loss > entropy * 1.01) == (z_loss > 0)
    for gradient, expected in zip(gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    # Not differentiated, it takes another path.
    np.testing.assert_allclose(
        jax.jit(ours)(hidden, kernel), (plain_loss, plain_entropy), rtol=1e-6
    )


def test_the_gradient_scales_with_what_follows(problem):
    hidden, kernel, targets, weights = problem

    def squared(hidden):
        return token_losses(hidden, kernel, targets, weights, chunks=3)[0] ** 2

    def reference(hidden):
        return plain(hidden, kernel, targets, weights, 0.0)[0] ** 2

    np.testing.assert_allclose(
        jax.grad(squared)(hidden), jax.grad(reference)(hidden), rtol=1e-4, atol=1e-3
    )


def test_a_target_of_weight_zero_has_no_influence(problem):
    hidden, kernel, targets, weights = problem
    unseen = weights == 0
    assert unseen.any() and not unseen.all()
    gradient = jax.grad(
        lambda h: token_losses(h, kernel, targets, weights, z_loss=0.1, chunks=4)[0]
    )(hidden)
    assert np.all(np.asarray(gradient)[unseen] == 0) and np.all(
        np.abs(np.asarray(gradient)[~unseen]).sum(-1) > 0
    )
    other = np.where(unseen, (targets + 1) % VOCAB, targets)
    assert token_losses(hidden, kernel, other, weights) == token_losses(
        hidden, kernel, targets, weights
    )


def arrays_in(jaxpr):
    """The sizes of all arrays that a program makes, inner programs included."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield int(np.prod(getattr(variable.aval, "shape", ())))
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from arrays_in(inner)


@pytest.mark.parametrize(("chunks", "expected"), [(1, 1.0), (4, 0.25), (12, 1 / 12)])
def test_the_logits_never_exist_whole(chunks, expected, problem):
    """Forward and backward: the largest array is one piece of the logits."""
    hidden, kernel, targets, weights = problem

    def loss(hidden, kernel):
        return token_losses(hidden, kernel, targets, weights, chunks=chunks)[0]

    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(hidden, kernel)
    whole = BATCH * LENGTH * VOCAB
    assert max(arrays_in(jaxpr.jaxpr)) == max(whole * expected, kernel.size)


@pytest.mark.parametrize("chunks", [1, 4])
def test_log_probabilities_are_those_of_the_softmax(chunks, problem):
    hidden, kernel, targets, _ = problem
    reference = np.take_along_axis(
        np.asarray(jax.nn.log_softmax(hidden @ kernel)), targets[..., None], -1
    )[..., 0]
    ours = token_log_probabilities(hidden, kernel, targets, chunks=chunks)
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)


def test_half_precision_hidden_states_give_a_float32_loss_near_the_full_one(problem):
    hidden, kernel, targets, weights = problem
    low = hidden.astype(jnp.bfloat16)
    (loss, _), (to_hidden, to_kernel) = jax.value_and_grad(
        lambda h, k: token_losses(h, k, targets, weights, chunks=3), (0, 1), has_aux=True
    )(low, kernel)
    assert (
        loss.dtype == jnp.float32
        and to_hidden.dtype == jnp.bfloat16
        and to_kernel.dtype == jnp.float32
    )
    np.testing.assert_allclose(loss, plain(hidden, kernel, targets, weights, 0.0)[0], rtol=1e-2)


def test_chunks_that_do_not_divide_the_length_are_refused(problem):
    with pytest.raises(ValueError, match="loss_chunks=5 must divide the sequence length 12"):
        token_losses(*problem, chunks=5)
