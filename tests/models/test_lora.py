"""LoRA: adapters change a model as their product says, merged or not, and what lies under them costs nothing."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from llmjp_jax.errors import UserError
from llmjp_jax.models import (
    LoraConfig,
    abstract_decoder,
    adapters_of,
    assemble,
    initialize,
    join,
    merge_adapters,
    placed_by,
    token_losses,
    without_adapters,
)
from llmjp_jax.models.linear import Adapter
from llmjp_jax.models.linear import _fenced_dot as fenced_dot
from llmjp_jax.parallel import MeshConfig, Placement, make_mesh, parameter_shardings
from tests.models.conftest import GPT2, LLAMA

TOKENS = np.random.default_rng(0).integers(0, 61, (8, 16), dtype=np.int32)
FUSED = ("query_key_value", "output", "up", "down")
ALL = ("query", "key", "value", "output", "gate", "up", "down", "embedding", "head")
CASES = {"gpt2": (GPT2, FUSED), "llama": (LLAMA, ALL), "fused llama": (LLAMA, (*FUSED, "gate"))}


@pytest.fixture(scope="module", params=CASES)
def adapted(request):
    """(config, parameters whose adapters are not zero), of each case."""
    model, targets = CASES[request.param]
    lora = LoraConfig(rank=4, alpha=6, targets=targets)
    return with_adapters(dataclasses.replace(model, lora=lora, initializer_std=0.1))


def with_adapters(config):
    parameters = initialize(config, 0)
    adapters = jax.tree.map_with_path(
        lambda path, leaf: 0.1 * jax.random.normal(jax.random.key(len(str(path))), leaf.shape),
        adapters_of(parameters),
    )
    return config, join(without_adapters(parameters), adapters)


def decoder(config, parameters):
    return assemble(abstract_decoder(config)[0], parameters)


def logits(config, parameters):
    return np.asarray(jax.jit(lambda p: decoder(config, p)(TOKENS))(parameters))


def mean_loss(config, adapters, base, key=None, placement=None):
    model = decoder(config, join(base, adapters))
    hidden = model.hidden(TOKENS, dropout_key=key)
    weights = jnp.full(TOKENS.shape, 1 / TOKENS.size)
    return token_losses(hidden, model.output_kernel(), TOKENS, weights, chunks=config.loss_chunks)[
        0
    ]


# What adapters compute


def test_merged_and_unmerged_adapters_give_the_same_logits(adapted):
    config, parameters = adapted
    plain, merged = merge_adapters(config, parameters)
    assert plain == dataclasses.replace(config, lora=None)
    assert jax.tree.structure(merged) == jax.tree.structure(abstract_decoder(plain)[1])
    ours = logits(config, parameters)
    np.testing.assert_allclose(logits(plain, merged), ours, atol=1e-5)
    without = logits(plain, without_adapters(parameters))
    assert np.abs(ours - without).max() > 0.05


def test_every_target_matters(adapted):
    config, parameters = adapted
    expected = logits(config, parameters)
    for path, _ in jax.tree.leaves_with_path(adapters_of(parameters)):
        cut = jax.tree.map_with_path(lambda p, x, path=path: x * (p != path), parameters)
        assert np.abs(logits(config, cut) - expected).max() > 1e-4, path


def test_merging_under_jit_on_a_mesh_gives_the_same_sums(adapted):
    config, parameters = adapted
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices())
    spread = jax.device_put(parameters, parameter_shardings(config, mesh, {"vocab": None}))
    merged = jax.jit(lambda p: merge_adapters(config, p)[1])(spread)
    for ours, theirs in zip(jax.tree.leaves(merged), jax.tree.leaves(merge_adapters(config, parameters)[1]), strict=True):  # fmt: skip
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_cached_decoding_sees_the_adapters(adapted):
    config, parameters = adapted
    model = decoder(config, parameters)
    cache = model.empty_cache(jnp.zeros(len(TOKENS), jnp.int32), 16)
    hidden, cache = model.extend(TOKENS[:, :10], cache)
    rest, _ = model.extend(TOKENS[:, 10:], cache)
    ours = model.logits(jnp.concatenate([hidden, rest], axis=1))
    np.testing.assert_allclose(ours, logits(config, parameters), atol=1e-5)


def test_a_mesh_of_eight_devices_gives_the_same_loss_and_gradients(adapted):
    config, parameters = adapted
    base, adapters = without_adapters(parameters), adapters_of(parameters)
    gradient = jax.value_and_grad(lambda a, b: mean_loss(config, a, b))
    loss, expected = jax.jit(gradient)(adapters, base)
    mesh, layout = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()), {"vocab": None}
    shardings = parameter_shardings(config, mesh, layout)

    def on_mesh(adapters, base):
        with placed_by(Placement(mesh, layout)):
            return gradient(adapters, base)

    placed = adapters_of(shardings), without_adapters(shardings)
    found, gradients = jax.jit(on_mesh, in_shardings=placed)(adapters, base)
    np.testing.assert_allclose(found, loss, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max() + 1e-7)


# Fresh adapters


def test_fresh_adapters_are_pefts_and_leave_the_model_as_it_is(adapted):
    config, _ = adapted
    plain = dataclasses.replace(config, lora=None)
    parameters, before = initialize(config, 3), initialize(plain, 3)
    jax.tree.map(np.testing.assert_array_equal, without_adapters(parameters), before)
    np.testing.assert_array_equal(logits(config, parameters), logits(plain, before))
    for path, leaf in jax.tree.leaves_with_path(adapters_of(parameters)):
        names = [key.key for key in path]
        is_a, table = names[-1] == "a", names[0] == "embed"
        if is_a == table:
            assert np.all(np.asarray(leaf) == 0), path
        elif table:
            np.testing.assert_allclose(np.std(leaf), 1, rtol=0.2)
        else:
            inputs = math.prod(leaf.shape[1:-1] if names[0] == "blocks" else leaf.shape[:-1])
            bound = 1 / math.sqrt(inputs)
            assert bound * 0.9 < np.abs(leaf).max() <= bound, path


def test_dropout_falls_on_what_enters_a_and_keeps_its_mean():
    lora = LoraConfig(rank=2, alpha=4, dropout=0.25, targets=("up",))
    config = dataclasses.replace(GPT2, lora=lora)
    with nnx.use_eager_sharding(False):
        adapter = Adapter(config, jax.random.key(0), (32,), ("embed",), b=((5,), ("mlp",)))
    adapter.b[...] = jax.random.normal(jax.random.key(1), (2, 5))
    x = jax.random.normal(jax.random.key(2), (7, 32))
    key = jax.random.key(3)
    keep = jax.random.bernoulli(key, 0.75, x.shape)
    expected = np.where(keep, x / 0.75, 0) @ adapter.a[...] @ adapter.b[...] * 2
    np.testing.assert_allclose(adapter(x, key)["b"], expected, atol=1e-5)
    keys = jax.random.split(key, 4000)
    mean = jax.vmap(lambda key: adapter(x, key)["b"])(keys).mean(0)
    np.testing.assert_allclose(mean, adapter(x)["b"], atol=0.1)


def test_dropout_of_adapters_leaves_the_other_masks_alone(adapted):
    """Adapters that add nothing, with dropout: the hidden states are those of the model without them."""
    config, parameters = adapted
    lora = dataclasses.replace(config.lora, dropout=0.5)
    config = dataclasses.replace(config, dropout=0.1, attention_dropout=0.1, lora=lora)
    fresh, key = initialize(config, 0), jax.random.key(5)
    plain = dataclasses.replace(config, lora=None)
    hidden = jax.jit(lambda model, key: model.hidden(TOKENS, dropout_key=key))
    ours = hidden(decoder(config, fresh), key)
    expected = hidden(decoder(plain, without_adapters(fresh)), key)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    model = decoder(config, parameters)
    first, again, other = (hidden(model, jax.random.key(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.allclose(first, other, atol=1e-3)


# Parameters as nested dicts


def test_adapters_and_the_rest_join_to_the_whole(adapted):
    config, parameters = adapted
    adapters, base = adapters_of(parameters), without_adapters(parameters)
    whole = join(base, adapters)
    assert jax.tree.structure(whole) == jax.tree.structure(parameters)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: a is b, whole, parameters)))
    assert adapters_of(base) == {} and without_adapters(adapters) == {}
    assert "final_norm" in base and "final_norm" not in adapters
    plain = abstract_decoder(dataclasses.replace(config, lora=None))[1]
    assert jax.tree.structure(base) == jax.tree.structure(plain)
    with pytest.raises(ValueError, match="both parts have"):
        join(parameters, adapters)


# Frozen matrices


@pytest.mark.parametrize("barriers", [True, False], ids=["barriers", "no barriers"])
@pytest.mark.parametrize("remat, unroll", [("none", 1), ("dots", 1), ("full", 1), ("none", 3)])
def test_frozen_matrices_have_no_gradient_and_no_copy_in_the_compiled_program(
    remat, unroll, barriers
):
    """No product has a kernel's size, no array that of a stack of kernels; with the kernels learning, both do."""
    lora = LoraConfig(
        rank=4, alpha=8, dropout=0.1, targets=("query", "value", "gate", "up", "down")
    )
    config = dataclasses.replace(LLAMA, layers=3, embed=56, heads=4, kv_heads=4, head_dim=14, mlp=88, vocab_size=413,
                                 attention="reference", remat=remat, unroll=unroll, barriers=barriers, lora=lora)  # fmt: skip
    parameters = abstract_decoder(config)[1]
    base, adapters = without_adapters(parameters), adapters_of(parameters)
    kernels = {
        leaf.size // (config.layers if path[0].key == "blocks" else 1): leaf.size
        for path, leaf in jax.tree.leaves_with_path(base) if leaf.ndim > 1 and path[-1].key in ("kernel", "tokens")
    }  # fmt: skip
    stacks = set(kernels.values()) - set(kernels)

    def loss(adapters, base, seed):
        return mean_loss(config, adapters, base, jax.random.key(seed))

    def found(argnums):
        compiled = jax.jit(jax.grad(loss, argnums)).lower(adapters, base, 0).compile()
        products, copies = [], []
        for dims, operation in re.findall(r" = \w+\[([\d,]+)\]\S* ([\w-]+)\(", compiled.as_text()):
            size = math.prod(map(int, dims.split(",")))
            if operation in ("dot", "custom-call") and size in kernels:
                products.append(dims)
            if size in stacks and operation not in ("parameter", "get-tuple-element", "bitcast"):
                copies.append((operation, dims))
        return products, copies

    assert found(0) == ([], [])
    products, copies = found((0, 1))
    assert products and copies


def test_a_fenced_product_of_a_frozen_kernel_neither_keeps_x_nor_computes_the_kernels_gradient():
    """Before any compiler removes what is dead: one product forward, one back; with the kernel learning, one more."""
    x, kernel = jnp.ones((3, 4)), jnp.ones((4, 5))

    def products(argnums):
        gradient = jax.grad(lambda x, kernel: fenced_dot(x, kernel, 1).sum(), argnums)
        return str(jax.make_jaxpr(gradient)(x, kernel)).count("dot_general[")

    assert (products(0), products((0, 1))) == (2, 3)
    kept = jax.tree.leaves(jax.vjp(lambda x: fenced_dot(x, kernel, 1), x)[1])
    assert [leaf.shape for leaf in kept if leaf.ndim == 2] == [(4, 5)]


# Descriptions


def test_lora_is_part_of_what_a_model_is():
    lora = LoraConfig(rank=4, alpha=8, targets=["down", "up"])
    assert lora.targets == ("up", "down") and lora.scale == 2
    config = dataclasses.replace(GPT2, lora=lora)
    assert config.identity() != GPT2.identity()
    assert not config.uses_dropout
    assert dataclasses.replace(config, lora=dataclasses.replace(lora, dropout=0.1)).uses_dropout


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"rank": 0}, "LoraConfig.rank = 0 must be a whole number"),
        ({"rank": 2.0}, "LoraConfig.rank = 2.0 must be a whole number"),
        ({"alpha": 0}, "LoraConfig.alpha = 0 must be a positive number"),
        ({"dropout": 1.0}, r"LoraConfig.dropout = 1.0 must lie in \[0, 1\)"),
        ({"targets": ()}, "LoraConfig.targets = .* must be a list of some of"),
        ({"targets": "up"}, "LoraConfig.targets = 'up' must be a list of some of"),
        ({"targets": ("quary",)}, "did you mean 'query'"),
        ({"targets": ("up", "up")}, "name each matrix once"),
        ({"targets": ("query_key_value", "key")}, "either query_key_value or some of"),
    ],
)
def test_a_wrong_field_is_one_sentence(fields, words):
    with pytest.raises(UserError, match=words):
        LoraConfig(**{"rank": 4, "alpha": 8, "targets": ("up",)} | fields)


@pytest.mark.parametrize(
    "model, changes, targets, words",
    [
        (GPT2, {}, ("gate",), "'gate', which a model with activation='gelu' lacks"),
        (GPT2, {}, ("head",), "'head', and a table that is both embedding and output matrix"),
        (GPT2, {}, ("embedding",), "'embedding', and a table that is both"),
        (LLAMA, {"experts": 4}, ("up", "query"), "'up', and experts take no adapters"),
    ],
)
def test_targets_that_a_model_lacks_are_refused(model, changes, targets, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(model, **changes, lora=LoraConfig(rank=4, alpha=8, targets=targets))
