"""LoRA against results of peft 0.21.2 that were stored once (`shared/data/parity/lora`, its README says how)."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file

from llmjp_jax.checkpoints import load_model, merged, save_hf, save_peft
from llmjp_jax.models import (
    abstract_decoder,
    adapters_of,
    assemble,
    disassemble,
    join,
    token_losses,
    without_adapters,
)
from llmjp_jax.parallel import MeshConfig, make_mesh

NAMES = ["gpt2_r8", "llama_mha_r8", "llama_gqa_all_r8"]


@pytest.fixture(scope="module", params=NAMES)
def stored(request, shared_data):
    """(directory, config, decoder, arrays of io.npz, expected.json)."""
    directory = shared_data / "parity" / "lora" / request.param
    expected = json.loads((directory / "expected.json").read_text())
    return directory, *load_model(directory), np.load(directory / "io.npz"), expected


@pytest.fixture(scope="module")
def value_and_gradient(stored):
    """(adapters, tokens) → mean loss over the shifted tokens, and its gradient."""
    _, config, decoder, _, _ = stored
    definition, base = abstract_decoder(config)[0], without_adapters(disassemble(decoder))

    def loss(adapters, tokens):
        model = assemble(definition, join(base, adapters))
        weights = jnp.full(tokens[:, 1:].shape, 1 / tokens[:, 1:].size)
        kernel = model.output_kernel()
        return token_losses(model.hidden(tokens[:, :-1]), kernel, tokens[:, 1:], weights)[0]

    return jax.jit(jax.value_and_grad(loss))


def logits(decoder, tokens):
    return jax.jit(lambda decoder, tokens: decoder(tokens))(decoder, tokens.astype(np.int32))


def test_logits_are_the_stored_ones_unmerged_and_merged(stored):
    directory, _, decoder, arrays, _ = stored
    tokens = arrays["input_ids"]
    np.testing.assert_allclose(logits(decoder, tokens), arrays["logits_unmerged"], rtol=0, atol=1e-5)  # fmt: skip
    config, decoder = merged(*load_model(directory))
    assert config.lora is None
    np.testing.assert_allclose(logits(decoder, tokens), arrays["logits_merged"], rtol=0, atol=1e-5)


def test_eight_devices_give_the_stored_logits_unmerged_and_merged(stored):
    directory, _, _, arrays, _ = stored
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices())
    layout = {"vocab": None, "kv_heads": None}  # 503 rows are not divisible
    config, decoder = load_model(directory, mesh=mesh, layout=layout)
    adapters = jax.tree.leaves(adapters_of(disassemble(decoder)))
    assert any(len(set(map(str, leaf.sharding.devices_indices_map(leaf.shape).values()))) > 1 for leaf in adapters)  # fmt: skip
    tokens = arrays["input_ids"]
    np.testing.assert_allclose(logits(decoder, tokens), arrays["logits_unmerged"], rtol=0, atol=1e-5)  # fmt: skip
    before = decoder.blocks.mlp.up.kernel[...].sharding
    _, decoder = merged(config, decoder)
    assert decoder.blocks.mlp.up.kernel[...].sharding == before
    np.testing.assert_allclose(logits(decoder, tokens), arrays["logits_merged"], rtol=0, atol=1e-5)


def test_loss_and_gradients_of_every_factor_are_the_stored_ones(
    stored, value_and_gradient, tmp_path
):
    _, config, decoder, arrays, expected = stored
    parameters = disassemble(decoder)
    tokens = arrays["input_ids"].astype(np.int32)
    loss, gradients = value_and_gradient(adapters_of(parameters), tokens)
    np.testing.assert_allclose(loss, expected["loss_unmerged"], rtol=2e-6)
    np.testing.assert_allclose(optax.global_norm(gradients), expected["lora_grad_global_l2"], rtol=1e-4)  # fmt: skip
    assert sum(leaf.size for leaf in jax.tree.leaves(gradients)) == expected["trainable_params"]
    definition = abstract_decoder(config)[0]
    as_adapter = assemble(definition, join(without_adapters(parameters), gradients))
    save_peft(as_adapter, config, tmp_path / "gradients", "base")
    ours = load_file(tmp_path / "gradients" / "adapter_model.safetensors")
    theirs = {name.replace(".default", ""): v for name, v in expected["lora_grads"].items()}
    assert ours.keys() == theirs.keys()
    for name, reference in theirs.items():
        assert list(ours[name].shape) == reference["shape"]
        norm = reference["grad_l2"]
        np.testing.assert_allclose(np.linalg.norm(ours[name]), norm, rtol=1e-4, err_msg=name)
        atol = 1e-5 * norm * np.sqrt(ours[name].size)
        np.testing.assert_allclose(ours[name].sum(), reference["grad_sum"], rtol=1e-4, atol=atol)


def test_three_adamw_steps_on_the_adapters_are_the_stored_ones(
    stored, value_and_gradient, shared_data
):
    _, _, decoder, _, expected = stored
    steps = expected["adamw"]
    rows = np.load(shared_data / "parity" / expected["base"] / "io.npz")["train_ids"]
    optimizer = optax.chain(
        optax.clip_by_global_norm(steps["clip"]), optax.adamw(steps["lr"], *steps["betas"], weight_decay=steps["wd"])
    )  # fmt: skip
    adapters = adapters_of(disassemble(decoder))
    state = optimizer.init(adapters)
    for tokens, (loss, norm) in zip(rows, steps["loss_before_and_grad_norm"], strict=True):
        found, gradients = value_and_gradient(adapters, tokens.astype(np.int32))
        np.testing.assert_allclose(found, loss, rtol=1e-4)
        np.testing.assert_allclose(optax.global_norm(gradients), norm, rtol=1e-4)
        updates, state = optimizer.update(gradients, state, adapters)
        adapters = optax.apply_updates(adapters, updates)
    found, _ = value_and_gradient(adapters, rows[0].astype(np.int32))
    np.testing.assert_allclose(found, steps["loss_after_on_batch0"], rtol=1e-4)


def test_merged_tensors_have_the_stored_norms(stored, tmp_path):
    directory, *_, expected = stored
    config, decoder = merged(*load_model(directory))
    save_hf(decoder, config, tmp_path / "merged")
    ours = load_file(tmp_path / "merged" / "model.safetensors")
    assert ours.keys() == expected["merged_param_l2"].keys() - (set() if "lm_head.weight" in ours else {"lm_head.weight"})  # fmt: skip
    for name, array in ours.items():
        np.testing.assert_allclose(np.linalg.norm(array), expected["merged_param_l2"][name], rtol=1e-5)  # fmt: skip


def test_an_export_gives_back_the_imported_bytes_and_fields(stored, tmp_path):
    directory, config, decoder, _, _ = stored
    save_peft(decoder, config, tmp_path / "adapter", "../base")
    ours = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    theirs = load_file(directory / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    fields = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    old = json.loads((directory / "adapter_config_peft_0.7.1.json").read_text())
    assert fields.keys() <= old.keys()
    assert set(fields.pop("target_modules")) == set(old["target_modules"])
    assert fields == {name: old[name] for name in fields} | {"base_model_name_or_path": "../base"}


def test_the_older_style_of_config_gives_the_same_model(stored, tmp_path):
    directory, config, _, _, _ = stored
    shutil.copy(directory / "adapter_model.safetensors", tmp_path)
    old = json.loads((directory / "adapter_config_peft_0.7.1.json").read_text())
    base = (directory / old["base_model_name_or_path"]).resolve()
    old["base_model_name_or_path"] = str(base)
    (tmp_path / "adapter_config.json").write_text(json.dumps(old))
    assert load_model(tmp_path)[0] == config
