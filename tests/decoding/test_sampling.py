"""From logits to the next token: each step against transformers' own, and frequencies of what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.decoding import Sampling
from llmjp_jax.decoding.sampling import keep_top_k, keep_top_p, next_tokens, penalize_repetition
from llmjp_jax.errors import UserError


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (16, 500)).astype(np.float32)


def hf():
    torch = pytest.importorskip("torch", reason="torch, the reference, is not installed")
    from transformers.generation import logits_process

    return torch, logits_process


@pytest.mark.parametrize("k", [1, 2, 50, 499, 500, 1000])
def test_top_k_is_that_of_transformers(logits, k):
    torch, process = hf()
    expected = process.TopKLogitsWarper(k)(None, torch.tensor(logits)).numpy()
    np.testing.assert_array_equal(keep_top_k(jnp.array(logits), k), expected)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.9, 0.99, 0.9999])
def test_top_p_is_that_of_transformers(logits, p):
    torch, process = hf()
    expected = process.TopPLogitsWarper(p)(None, torch.tensor(logits)).numpy()
    np.testing.assert_array_equal(keep_top_p(jnp.array(logits), p), expected)


def test_repetition_penalty_is_that_of_transformers(logits):
    torch, process = hf()
    tokens = np.random.default_rng(1).integers(0, 500, (16, 30))
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, tokens, True, axis=1)
    expected = process.RepetitionPenaltyLogitsProcessor(1.3)(
        torch.tensor(tokens), torch.tensor(logits)
    )
    np.testing.assert_allclose(penalize_repetition(logits, seen, 1.3), expected.numpy(), rtol=1e-6)


def test_the_steps_come_in_the_order_of_transformers(logits):
    torch, process = hf()
    tokens = np.random.default_rng(1).integers(0, 500, (16, 30))
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, tokens, True, axis=1)
    scores = torch.tensor(logits)
    for step in (
        process.RepetitionPenaltyLogitsProcessor(2.0),
        process.TemperatureLogitsWarper(0.5),
        process.TopKLogitsWarper(20),
        process.TopPLogitsWarper(0.8),
    ):
        scores = step(torch.tensor(tokens), scores)
    probabilities = scores.softmax(-1).numpy()
    sampling = Sampling(temperature=0.5, top_k=20, top_p=0.8, repetition_penalty=2.0)

    def draw(seed):
        keys = jax.random.split(jax.random.key(seed), len(logits))
        return next_tokens(logits, jnp.array(seen), keys, sampling.values(), sampling.steps)

    drawn = np.asarray(jax.lax.map(draw, jnp.arange(4000), batch_size=500))
    counts = np.stack([np.bincount(row, minlength=500) for row in drawn.T])
    assert counts[probabilities == 0].sum() == 0
    assert _chi_square_per_freedom(counts, probabilities) < 1.5


def _chi_square_per_freedom(counts, probabilities) -> float:
    """About 1 where the counts were drawn from the probabilities."""
    expected = probabilities * counts.sum(-1, keepdims=True)
    kept = expected > 5
    return float(((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum() / kept.sum())


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    logits = jnp.log(jnp.array([[0.05, 0.5, 0.15, 0.3]]))
    for p, kept in [
        (0.4, [1]),
        (0.6, [1, 3]),
        (0.9, [1, 2, 3]),
        (0.97, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ]:
        assert np.flatnonzero(np.isfinite(keep_top_p(logits, p)[0])).tolist() == kept, p


def test_ties_at_the_threshold_are_all_kept():
    logits = jnp.array([[1.0, 2.0, 2.0, 3.0, 2.0]])
    assert np.isfinite(keep_top_k(logits, 2)[0]).tolist() == [False, True, True, True, True]
    assert np.isfinite(keep_top_p(logits, 0.6)[0]).tolist() == [False, True, True, True, True]


def test_a_filter_keeps_what_an_earlier_one_removed_removed():
    logits = jnp.array([[3.0, -jnp.inf, 2.0, 1.0]])
    assert np.isfinite(keep_top_p(keep_top_k(logits, 2), 0.999)[0]).tolist() == [
        True,
        False,
        True,
        False,
    ]
    assert np.isfinite(keep_top_k(logits, 4)[0]).tolist() == [True, False, True, True]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_their_probabilities_say(temperature):
    probabilities = np.array([0.4, 0.3, 0.2, 0.07, 0.03])
    sampling = Sampling(temperature=temperature)
    logits = jnp.broadcast_to(jnp.log(probabilities), (20_000, 5))
    keys = jax.random.split(jax.random.key(7), len(logits))
    drawn = next_tokens(logits, None, keys, sampling.values(), sampling.steps)
    expected = probabilities ** (1 / temperature) / np.sum(probabilities ** (1 / temperature))
    assert _chi_square_per_freedom(np.bincount(drawn, minlength=5), expected) < 2


def test_greedy_is_the_likeliest_and_runs_no_other_step(logits):
    assert Sampling().steps == ()
    assert Sampling(top_k=3, top_p=0.5).steps == ()
    assert Sampling(temperature=1.0).steps == ("sample",)
    keys = jax.random.split(jax.random.key(0), 16)
    tokens = next_tokens(jnp.array(logits), None, keys, Sampling().values(), ())
    np.testing.assert_array_equal(tokens, logits.argmax(-1))


@pytest.mark.parametrize(
    ("field", "value", "advice"),
    [
        ("temperature", -0.1, "0 (greedy)"),
        ("temperature", float("nan"), "finite"),
        ("top_p", 0.0, "(0, 1]"),
        ("top_p", 1.5, "(0, 1]"),
        ("top_k", -1, "whole number"),
        ("top_k", 1.5, "whole number"),
        ("repetition_penalty", 0, "positive"),
        ("temperature", "hot", "finite number"),
    ],
)
def test_a_number_out_of_range_is_one_sentence(field, value, advice):
    with pytest.raises(UserError, match=f"{field} = .* must .*") as error:
        Sampling(**{field: value})
    assert advice in str(error.value)
