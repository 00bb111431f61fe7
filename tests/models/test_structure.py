"""A decoder as a nested dict of arrays: shapes, logical axes, and how fresh weights are drawn."""

import dataclasses

import jax
import numpy as np

from llmjp_jax.models import abstract_decoder, assemble, disassemble, initialize


def by_path(tree):
    leaves = jax.tree.leaves_with_path(tree, is_leaf=lambda leaf: isinstance(leaf, tuple))
    return {"/".join(key.key for key in path): leaf for path, leaf in leaves}


def test_shapes_are_those_of_real_parameters_and_every_axis_has_a_name(config, parameters):
    _, abstract, axes = abstract_decoder(config)
    shapes, names = by_path(abstract), by_path(axes)
    real = by_path(parameters)
    assert shapes.keys() == names.keys() == real.keys()
    for path, leaf in shapes.items():
        assert leaf.shape == real[path].shape and leaf.dtype == real[path].dtype
        assert len(names[path]) == leaf.ndim
        assert path.startswith("blocks/") == (names[path][0] == "layers")
    assert names["blocks/attention/query/kernel"] == ("layers", "embed", "heads", "head_dim")
    assert names["blocks/attention/key/kernel"] == ("layers", "embed", "kv_heads", "head_dim")
    assert names["blocks/mlp/down/kernel"] == ("layers", "mlp", "embed")
    assert shapes["blocks/attention/key/kernel"].shape == (config.layers, 32, config.kv_heads, 8)


def test_the_fields_decide_which_parameters_there_are(config):
    paths = set(by_path(abstract_decoder(config)[1]))
    assert ("embed/positions" in paths) == (config.position == "learned")
    assert ("head/kernel" in paths) == (not config.tied_embeddings)
    assert ("blocks/mlp/gate/kernel" in paths) == (config.activation == "swiglu")
    assert ("blocks/mlp/up/bias" in paths) == config.bias
    assert ("final_norm/bias" in paths) == (config.norm == "layernorm")


def test_assemble_and_disassemble_are_inverse(config, parameters):
    again = disassemble(assemble(abstract_decoder(config)[0], parameters))
    assert jax.tree.structure(again) == jax.tree.structure(parameters)
    assert all(
        jax.tree.leaves(
            jax.tree.map(lambda a, b: a is b or np.array_equal(a, b), again, parameters)
        )
    )


def test_fresh_weights_have_megatrons_spread_and_follow_from_the_seed(config):
    """initializer_std everywhere, divided by sqrt(2 layers) where a product writes to the residual stream."""
    config = dataclasses.replace(config, initializer_std=0.05, embed=64, mlp=96)
    leaves, again, other = (
        by_path(jax.jit(lambda s=seed: initialize(config, s))()) for seed in (0, 0, 1)
    )
    for path, leaf in leaves.items():
        if path.endswith("scale"):
            assert np.all(leaf == 1)
        elif path.endswith("bias"):
            assert np.all(leaf == 0)
        else:
            residual = path in ("blocks/attention/output/kernel", "blocks/mlp/down/kernel")
            expected = 0.05 / np.sqrt(2 * config.layers) if residual else 0.05
            np.testing.assert_allclose(np.std(leaf), expected, rtol=0.1, err_msg=path)
            assert abs(np.mean(leaf)) < 0.1 * expected
            assert np.array_equal(leaf, again[path]) and not np.array_equal(leaf, other[path])
    query = leaves["blocks/attention/query/kernel"]
    assert not np.array_equal(query[0], query[1])
