"""Every attention backend gives plain softmax attention, in value and gradient."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.models import attention, placed_by
from llmjp_jax.models.attention import attend, attend_cached
from llmjp_jax.parallel import MeshConfig, Placement, make_mesh

BACKENDS = ("reference", "blocked", "xla")
SPLASH = "splash_interpret"
# (query heads, key heads), length: odd, smaller than the number of blocks, and a single token.
SHAPES = [((4, 4), 16), ((4, 2), 13), ((6, 1), 7), ((4, 2), 3), ((2, 2), 1)]


def inputs(heads, length, head_dim=8):
    generator = np.random.default_rng(0)
    query, key, value = (
        generator.normal(size=(2, length, h, head_dim)).astype(np.float32)
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


def value_and_gradients(arrays, segment_ids, backend, placement=None):
    """The output along a fixed direction, and its gradients, as one program."""
    direction = np.random.default_rng(9).normal(size=arrays[0].shape).astype(np.float32)

    def along(arrays, segment_ids):
        value = attend(*arrays, segment_ids, backend=backend)
        return jnp.sum(value * direction), value

    def run(arrays, segment_ids):
        with contextlib.nullcontext() if placement is None else placed_by(placement):
            gradients, value = jax.grad(along, has_aux=True)(arrays, segment_ids)
            return value, *gradients

    return [np.asarray(x) for x in jax.jit(run)(arrays, segment_ids)]


def assert_the_references(found, arrays, segment_ids, tolerance=5e-6):
    for ours, reference in zip(
        found, value_and_gradients(arrays, segment_ids, "reference"), strict=True
    ):
        assert np.abs(reference).max() > 1e-2
        np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("heads", "length", "head_dim", "masked"),
    [((4, 2), 16, 8, True), ((2, 1), 200, 64, True), ((2, 2), 256, 128, False), ((2, 1), 130, 192, True)],
)  # fmt: skip
def test_the_splash_kernel_gives_the_references_at_any_length_and_head_size(
    heads, length, head_dim, masked
):
    arrays, ids = inputs(heads, length, head_dim), segments(length) if masked else None
    # Sums of 200 terms of size ten, in another order.
    assert_the_references(value_and_gradients(arrays, ids, SPLASH), arrays, ids, 4e-5)


@pytest.mark.parametrize("backend", [*BACKENDS, SPLASH])
@pytest.mark.parametrize(
    ("context", "tensor", "masked"), [(2, 2, True), (4, 1, False)], ids=["segments", "one segment"]
)
def test_a_sequence_split_over_devices_gives_what_the_whole_gives(backend, context, tensor, masked):
    arrays, ids = inputs((4, 2), 24), segments(24) if masked else None
    mesh = make_mesh(MeshConfig(data=2, context=context, tensor=tensor), jax.devices()[: 2 * context * tensor])  # fmt: skip
    assert_the_references(value_and_gradients(arrays, ids, backend, Placement(mesh)), arrays, ids)


@pytest.mark.parametrize("backend", ["reference", SPLASH])
def test_key_heads_that_stay_whole_meet_their_own_query_heads(backend):
    """Query heads lie on four devices, two to each pair that shares a key head."""
    arrays, ids = inputs((4, 2), 16), segments(16)
    mesh = make_mesh(MeshConfig(data=1, tensor=4), jax.devices()[:4])
    placement = Placement(mesh, {"kv_heads": None})
    assert_the_references(value_and_gradients(arrays, ids, backend, placement), arrays, ids)


def test_keys_are_gathered_once_and_no_device_has_all_queries():
    """What a split sequence costs: three gathers forward, two scatters of sums back, and nothing whole."""
    arrays, ids = inputs((4, 2), 32), segments(32)
    mesh = make_mesh(MeshConfig(data=1, context=4), jax.devices()[:4])
    rows = jax.NamedSharding(mesh, jax.P(None, "context"))

    def run(arrays, ids):
        with placed_by(Placement(mesh)):
            return jax.grad(lambda a: attend(*a, ids, backend="reference").sum())(arrays)

    program = jax.jit(run, in_shardings=((rows,) * 3, rows), out_shardings=(rows,) * 3)
    text = program.lower(arrays, ids).as_text()
    assert text.count("stablehlo.all_gather") == 3
    assert text.count("stablehlo.reduce_scatter") == 2
    compiled = program.lower(arrays, ids).compile().as_text()
    assert "f32[2,8,4,8]" in compiled and "f32[2,32,4,8]" not in compiled


def test_the_cache_gives_what_whole_rows_give():
    """Rows that start late in the cache see only themselves, from their own start on."""
    query, key, value = inputs((4, 2), 12)
    start = np.array([0, 5], np.int32)
    segment_ids = (np.arange(12) >= start[:, None]).astype(np.int32)
    whole = by_hand(query, key, value, segment_ids)
    keys, values = (x.swapaxes(1, 2) for x in (key, value))
    for first, last in ((0, 7), (7, 8), (8, 12)):
        # The slots after `last` hold what a later token would write: they must not be read.
        piece = jax.jit(attend_cached)(query[:, first:last], keys, values, start, jnp.int32(first))
        for row in range(2):
            real = np.arange(first, last) >= start[row]
            np.testing.assert_allclose(
                piece[row][real], whole[row, first:last][real], rtol=0, atol=2e-6
            )


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
@pytest.mark.parametrize("known", [True, False], ids=["known length", "traced length"])
def test_a_shared_prefix_and_the_cache_give_what_whole_rows_give(heads, known, monkeypatch):
    """Prefix of 5 in 8 slots; rows of 6 of their own behind left padding; rows and heads as two axes and as one."""
    monkeypatch.setattr(attention, "_CACHED_QUERIES", 3)  # Of 6 queries two blocks.
    query, key, value = inputs(heads, 16)
    key[1, :5], value[1, :5] = key[0, :5], value[0, :5]
    whole = by_hand(query, key, value, None)
    prefix = tuple(
        x[0, :8].swapaxes(0, 1) for x in (key, value)
    )  # Slots 5 to 8 are not the prefix's.
    for start, own in ((0, 6), (4, 6), (5, 1)):
        rows = [
            np.pad(x[:, 5 : 5 + own], ((0, 0), (start, 3), (0, 0), (0, 0)))
            for x in (query, key, value)
        ]
        mine, keys, values = rows[0][:, : start + own], *(x.swapaxes(1, 2) for x in rows[1:])
        starts = jnp.full((2,), start, jnp.int32)
        for shape in (keys.shape, (-1, *keys.shape[2:])):
            found = attend_cached(mine, keys.reshape(shape), values.reshape(shape), starts, 0 if known else jnp.int32(0),
                                  (*prefix, jnp.int32(5)))  # fmt: skip
            np.testing.assert_allclose(found[:, start:], whole[:, 5 : 5 + own], rtol=0, atol=2e-6)


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
