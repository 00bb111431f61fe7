"""Every attention backend gives plain softmax attention, in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.models.attention import attend, attend_cached

BACKENDS = ("reference", "blocked", "xla")
# (query heads, key heads), length: odd, smaller than the number of blocks, and a single token.
SHAPES = [((4, 4), 16), ((4, 2), 13), ((6, 1), 7), ((4, 2), 3), ((2, 2), 1)]


def inputs(heads, length, seed=0):
    generator = np.random.default_rng(seed)
    query, key, value = (
        generator.normal(size=(2, length, h, 8)).astype(np.float32)
        for h in (heads[0], heads[1], heads[1])
    )
    return query, key, value


def segments(length):
    """Two rows: documents of uneven length with padding behind, and one document."""
    ids = np.ones((2, length), np.int32)
    ids[0, length // 3 :] = 2
    ids[0, 2 * length // 3 + 1 :] = 0
    return ids


def by_hand(query, key, value, segment_ids):
    """Softmax attention in float64, one query at a time."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    groups = query.shape[2] // key.shape[2]
    output = np.zeros_like(query)
    for row, position, head in np.ndindex(*query.shape[:3]):
        seen = np.arange(query.shape[1]) <= position
        if segment_ids is not None:
            seen &= segment_ids[row] == segment_ids[row, position]
        scores = (
            key[row, seen, head // groups] @ query[row, position, head] / np.sqrt(query.shape[-1])
        )
        weights = np.exp(scores - scores.max())
        output[row, position, head] = weights / weights.sum() @ value[row, seen, head // groups]
    return output


@pytest.mark.parametrize(("heads", "length"), SHAPES)
def test_value_is_softmax_attention_and_gradients_are_the_references(heads, length):
    arrays = inputs(heads, length)
    direction = np.random.default_rng(9).normal(size=arrays[0].shape).astype(np.float32)

    @jax.jit
    def run(arrays, segment_ids):
        """backend → masked or not → (value, gradients); one program, since compiling is what takes time."""

        def along(arrays, segment_ids, backend):
            value = attend(*arrays, segment_ids, backend=backend)
            return jnp.sum(value * direction), value

        gradient = jax.grad(along, has_aux=True)
        return {b: [gradient(arrays, ids, b) for ids in (None, segment_ids)] for b in BACKENDS}

    results = run(arrays, segments(length))
    for backend in BACKENDS:
        for masked, segment_ids in enumerate((None, segments(length))):
            case = f"{backend}, {'segments' if masked else 'one segment'}"
            gradients, value = results[backend][masked]
            np.testing.assert_allclose(
                value, by_hand(*arrays, segment_ids), rtol=0, atol=2e-6, err_msg=case
            )
            for ours, reference in zip(gradients, results["reference"][masked][0], strict=True):
                np.testing.assert_allclose(ours, reference, rtol=0, atol=5e-6, err_msg=case)
                assert length < 2 or np.abs(reference).max() > 1e-2


def test_the_cache_gives_what_whole_rows_give():
    """Rows that start late in the cache see only themselves, from their own start on."""
    query, key, value = inputs((4, 2), 12)
    start = np.array([0, 5], np.int32)
    segment_ids = (np.arange(12) >= start[:, None]).astype(np.int32)
    whole = by_hand(query, key, value, segment_ids)
    for first, last in ((0, 7), (7, 8), (8, 12)):
        # The slots after `last` hold what a later token would write: they must not be read.
        piece = jax.jit(attend_cached)(query[:, first:last], key, value, start, jnp.int32(first))
        for row in range(2):
            real = np.arange(first, last) >= start[row]
            np.testing.assert_allclose(
                piece[row][real], whole[row, first:last][real], rtol=0, atol=2e-6
            )


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_dropped_weights_leave_the_mean(backend):
    arrays = inputs((2, 2), 8)
    plain = by_hand(*arrays, None)

    def dropped(key):
        return attend(*arrays, None, backend=backend, rate=0.3, dropout_key=key)

    samples = jax.jit(jax.vmap(dropped))(jax.random.split(jax.random.key(0), 2000))
    error = np.std(samples, axis=0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(0) - plain) < 5 * error + 1e-6)
    assert np.mean(np.std(samples, axis=0) > 0.01) > 0.9


def test_half_precision_comes_out_in_the_querys_dtype():
    arrays = inputs((4, 2), 13)
    low = [x.astype(jnp.bfloat16) for x in arrays]
    outputs = jax.jit(lambda low: [attend(*low, None, backend=backend) for backend in BACKENDS])(
        low
    )
    for output in outputs:
        assert output.dtype == jnp.bfloat16
        np.testing.assert_allclose(
            np.asarray(output, np.float32), by_hand(*arrays, None), rtol=0, atol=5e-2
        )
