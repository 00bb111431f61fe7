"""What the decoder must do whatever its weights are: causality, documents, and the same result however it is computed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.models import abstract_decoder, assemble

LENGTH = 13
TOKENS = np.random.default_rng(3).permutation(61)[:LENGTH].astype(np.int32)[None]  # each id once


def loss_and_gradients(config, parameters, tokens=TOKENS, **arguments):
    """A random projection of the hidden states, and its gradient with respect to all parameters."""
    definition = abstract_decoder(config)[0]
    direction = (
        np.random.default_rng(0).normal(size=(*tokens.shape, config.embed)).astype(np.float32)
    )

    @jax.jit
    def run(parameters):
        def along(parameters):
            hidden = assemble(definition, parameters).hidden(tokens, **arguments)
            return jnp.sum(hidden * direction) / np.sqrt(direction.size)

        return jax.value_and_grad(along)(parameters)

    return run(parameters)


def assert_alike(first, second, relative=1e-5):
    np.testing.assert_allclose(first[0], second[0], rtol=relative, atol=1e-5)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(first[1]), jax.tree.leaves(second[1]), strict=True
    ):
        scale = np.abs(b).max()
        assert scale > 0 or path[-1].key == "kernel" and path[0].key == "head"
        np.testing.assert_allclose(
            a, b, rtol=0, atol=relative * max(scale, 1e-1), err_msg=str(path)
        )


@jax.jit
def forward(decoder, tokens, segment_ids=None, positions=None):
    return decoder(tokens, segment_ids, positions)


@jax.jit
def hidden_states(decoder, dropout_key=None):
    return decoder.hidden(TOKENS, dropout_key=dropout_key)


@pytest.fixture(scope="session")
def plain(config, parameters):
    """Value and gradients of the decoder as it comes."""
    return loss_and_gradients(config, parameters)


@pytest.mark.parametrize("attention", ["reference", "blocked", "xla"])
def test_no_later_token_has_any_influence(attention, config, parameters):
    """The gradient of the hidden state at t with respect to the embeddings: exactly zero after t, nowhere before."""
    definition = abstract_decoder(dataclasses.replace(config, attention=attention))[0]

    @jax.jit
    def influence(position):
        def one(parameters):
            hidden = assemble(definition, parameters).hidden(TOKENS)
            return jnp.sum(hidden[0, position] * jnp.arange(1.0, config.embed + 1))

        # Each token occurs once, so that its row of the table is its place in the sequence.
        return jax.grad(one)(parameters)["embed"]["tokens"][TOKENS[0]]

    for position in (0, 5, LENGTH - 1):
        gradient = np.abs(influence(position)).max(-1)
        assert np.all(gradient[position + 1 :] == 0)
        assert np.all(gradient[: position + 1] > 0)


def test_packed_documents_are_as_if_alone(build):
    """Two documents and padding in a row, with restarting positions, against each document by itself."""
    segment_ids = np.array([[1] * 5 + [2] * 6 + [0] * 2], np.int32)
    positions = np.array([[*range(5), *range(6), 0, 0]], np.int32)
    packed = np.asarray(forward(build(), TOKENS, segment_ids, positions))
    first, second = TOKENS[:, :5], TOKENS[:, 5:11]
    np.testing.assert_allclose(packed[:, :5], forward(build(), first), rtol=0, atol=1e-5)
    np.testing.assert_allclose(packed[:, 5:11], forward(build(), second), rtol=0, atol=1e-5)
    # Without the mask the second document differs: the equality above is the mask's doing.
    unmasked = np.asarray(forward(build(), TOKENS, np.ones_like(TOKENS), positions))
    assert np.abs(unmasked[:, 5:11] - packed[:, 5:11]).max() > 1e-2


def test_positions_matter(build):
    one_segment, places = np.ones_like(TOKENS), np.arange(LENGTH, dtype=np.int32)[None]
    logits = np.asarray(forward(build(), TOKENS, one_segment, places))
    np.testing.assert_allclose(
        logits, forward(build(), TOKENS), rtol=0, atol=1e-5
    )  # 0, 1, 2 ... is the default
    assert (
        np.abs(np.asarray(forward(build(), TOKENS, one_segment, 2 * places)) - logits).max() > 1e-2
    )


@pytest.mark.parametrize(
    "changes",
    [{"unroll": 2}, {"remat": "dots"}, {"remat": "full"}, {"barriers": False}, {"attention": "reference"},
     {"attention": "xla"}],
    ids=str,
)  # fmt: skip
def test_how_it_is_computed_changes_neither_value_nor_gradient(changes, config, parameters, plain):
    """`plain` is scanned, blocked, with barriers and without remat, as on every CPU."""
    assert (
        abstract_decoder(config)[0] != abstract_decoder(dataclasses.replace(config, **changes))[0]
    )
    assert_alike(loss_and_gradients(dataclasses.replace(config, **changes), parameters), plain)


@pytest.mark.parametrize("barriers", [True, False])
def test_remat_keeps_less_for_the_backward_pass(barriers, config, parameters):
    """Elements that the backward pass holds: all > matrix products > the input of each block."""
    tokens = np.zeros((4, 32), np.int32)

    def held(remat):
        changed = dataclasses.replace(config, remat=remat, barriers=barriers)
        definition = abstract_decoder(changed)[0]

        def backward(parameters):
            return jax.vjp(lambda p: assemble(definition, p).hidden(tokens), parameters)[1]

        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(backward, parameters)))

    everything, dots, inputs = held("none"), held("dots"), held("full")
    assert everything > 1.3 * dots > 1.5 * inputs
    weights = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    streams = config.layers * tokens.size * config.embed
    assert inputs < 2 * weights + 3 * streams


def test_unrolling_shortens_the_loop(config, parameters):
    def loops(unroll):
        definition = abstract_decoder(dataclasses.replace(config, unroll=unroll))[0]
        lowered = jax.jit(lambda p: assemble(definition, p).hidden(TOKENS)).lower(parameters)
        return lowered.as_text().count("stablehlo.while")

    assert loops(1) == 1 and loops(config.layers) == 0


def test_bfloat16_is_near_float32(config, parameters, build, plain):
    """Hidden states in bfloat16, logits and gradients in float32, all near those of float32 computation."""
    full, low = np.asarray(hidden_states(build())), hidden_states(build(dtype="bfloat16"))
    assert low.dtype == jnp.bfloat16
    assert jax.eval_shape(forward, build(dtype="bfloat16"), TOKENS).dtype == jnp.float32
    error = np.linalg.norm(np.asarray(low, np.float32) - full) / np.linalg.norm(full)
    assert 1e-4 < error < 5e-2
    gradients = loss_and_gradients(dataclasses.replace(config, dtype="bfloat16"), parameters)[1]
    for (path, a), b in zip(
        jax.tree.leaves_with_path(gradients), jax.tree.leaves(plain[1]), strict=True
    ):
        assert a.dtype == jnp.float32
        # The keys' bias has no gradient but rounding error: the softmax does not see it.
        if config.bias and [key.key for key in path[-2:]] == ["key", "bias"]:
            continue
        assert np.linalg.norm(a - b) <= 0.1 * np.linalg.norm(b), path


def test_dropout_needs_a_key_and_is_drawn_anew_with_each(build):
    dropped, plain = build(dropout=0.2, attention_dropout=0.1), np.asarray(hidden_states(build()))
    np.testing.assert_array_equal(hidden_states(dropped), plain)
    first, again, other = (
        np.asarray(hidden_states(dropped, jax.random.key(seed))) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.mean(first != other) > 0.9
    assert np.mean(first != plain) > 0.9
    # A key without a rate does nothing.
    np.testing.assert_allclose(hidden_states(build(), jax.random.key(0)), plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rates", [{"dropout": 0.2}, {"attention_dropout": 0.2}], ids=str)
def test_each_rate_drops_by_itself(rates, build):
    dropped = np.asarray(hidden_states(build(**rates), jax.random.key(0)))
    assert np.abs(dropped - np.asarray(hidden_states(build()))).max() > 1e-2


def test_dropout_keeps_the_mean_and_drops_its_rate():
    from llmjp_jax.models.linear import dropout

    kept = np.asarray(dropout(jnp.ones(200_000), 0.3, jax.random.key(0)))
    assert abs(kept.mean() - 1) < 0.01
    assert abs(np.mean(kept == 0) - 0.3) < 0.01
    assert np.allclose(kept[kept > 0], 1 / 0.7)


def test_extending_a_cache_gives_the_full_forward_pass(config, build):
    """In pieces of 4, 1, 1, 4 and 3 tokens; a row with left padding as if it had none."""
    decoder = build()
    full = np.asarray(forward(decoder, TOKENS))
    padded = np.concatenate([np.full((1, 3), 7, np.int32), TOKENS[:, :10]], axis=1)
    tokens = np.concatenate([TOKENS, padded])
    cache = decoder.empty_cache(jnp.array([0, 3], jnp.int32), slots=LENGTH + 2)
    extend, pieces, first = (
        jax.jit(lambda decoder, tokens, cache: decoder.extend(tokens, cache)),
        [],
        0,
    )
    for size in (4, 1, 1, 4, 3):
        hidden, cache = extend(decoder, tokens[:, first : first + size], cache)
        pieces.append(np.asarray(hidden))
        first += size
    logits = np.asarray(decoder.logits(np.concatenate(pieces, axis=1)))
    np.testing.assert_allclose(logits[0], full[0], rtol=0, atol=2e-5)
    np.testing.assert_allclose(logits[1, 3:], full[0, :10], rtol=0, atol=2e-5)
    assert int(cache["length"]) == LENGTH
    assert cache["keys"].shape == (config.layers, 2, config.kv_heads, LENGTH + 2, config.head_dim)
