"""The decoder against results of transformers 5.23 that were stored once (`shared/data/parity/hf`, its README says how)."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from llmjp_jax.checkpoints import load_hf, save_hf
from llmjp_jax.models import (
    abstract_decoder,
    assemble,
    disassemble,
    token_log_probabilities,
    token_losses,
)


@pytest.fixture(scope="module", params=["gpt2_tiny", "llama_mha_tiny", "llama_gqa_tiny"])
def stored(request, shared_data):
    """(config, decoder, arrays of io.npz, expected.json)."""
    directory = shared_data / "parity" / "hf" / request.param
    expected = json.loads((directory / "expected.json").read_text())
    return (*load_hf(directory), np.load(directory / "io.npz"), expected)


@jax.jit
def forward(decoder, tokens, segment_ids=None):
    return decoder(tokens, segment_ids)


@jax.jit
def mean_loss(decoder, tokens, labels):
    """Mean over the shifted labels that are not -100."""
    weights = (labels[:, 1:] != -100).astype(jnp.float32)
    targets = jnp.maximum(labels[:, 1:], 0)
    hidden = decoder.hidden(tokens[:, :-1])
    return token_losses(hidden, decoder.output_kernel(), targets, weights / weights.sum())[0]


def test_logits_are_the_stored_ones(stored):
    _, decoder, arrays, _ = stored
    logits = forward(decoder, arrays["input_ids"].astype(np.int32))
    np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=1e-5)


def test_losses_are_the_stored_ones(stored):
    _, decoder, arrays, expected = stored
    tokens = arrays["input_ids"].astype(np.int32)
    masked = arrays["labels_masked"].astype(np.int32)
    np.testing.assert_allclose(mean_loss(decoder, tokens, tokens), expected["loss"], rtol=2e-6)
    np.testing.assert_allclose(
        mean_loss(decoder, tokens, masked), expected["loss_masked"], rtol=2e-6
    )


def test_log_probabilities_and_last_hidden_state_are_the_stored_ones(stored):
    config, decoder, arrays, _ = stored
    tokens = arrays["input_ids"].astype(np.int32)
    hidden = jax.jit(lambda decoder, tokens: decoder.hidden(tokens))(decoder, tokens)
    np.testing.assert_allclose(hidden, arrays[f"hidden_{config.layers:02d}"], rtol=0, atol=1e-5)
    ours = token_log_probabilities(hidden[:, :-1], decoder.output_kernel(), tokens[:, 1:])
    np.testing.assert_allclose(ours, arrays["token_logprobs"], rtol=0, atol=1e-5)


def test_right_padded_row_gives_the_stored_logits(stored):
    _, decoder, arrays, _ = stored
    mask = arrays["attention_mask_rightpad"].astype(np.int32)
    logits = forward(decoder, arrays["input_ids"].astype(np.int32), mask)
    real = mask[1].astype(bool)
    assert 0 < real.sum() < real.size
    np.testing.assert_allclose(
        logits[1][real], arrays["logits_rightpad_row1"][real], rtol=0, atol=1e-5
    )


def test_gradients_are_the_stored_ones(stored, tmp_path):
    config, decoder, arrays, expected = stored
    tokens = arrays["input_ids"].astype(np.int32)
    definition = abstract_decoder(config)[0]
    gradient = jax.jit(jax.grad(lambda p: mean_loss(assemble(definition, p), tokens, tokens)))
    gradients = gradient(disassemble(decoder))
    save_hf(assemble(definition, gradients), config, tmp_path / "gradients")
    ours = load_file(tmp_path / "gradients" / "model.safetensors")
    assert ours.keys() == expected["grads"].keys()
    for name, reference in expected["grads"].items():
        norm = reference["grad_l2"]
        np.testing.assert_allclose(np.linalg.norm(ours[name]), norm, rtol=1e-4, err_msg=name)
        sampled = ours[name].reshape(-1)[reference["flat_index"]]
        np.testing.assert_allclose(
            sampled, reference["grad_at_index"], rtol=1e-4, atol=1e-5 * norm, err_msg=name
        )


def test_greedy_text_is_the_stored_one_and_so_is_its_margin(stored):
    _, decoder, arrays, _ = stored
    prompt, reference = arrays["generate_prompt"], arrays["generate_output"]
    tokens = np.zeros(reference.shape, np.int32)
    tokens[:, : prompt.shape[1]] = prompt
    for length in range(prompt.shape[1], reference.shape[1]):
        logits = np.asarray(forward(decoder, tokens)[:, length - 1])
        tokens[:, length] = logits.argmax(-1)
        first, second = -np.sort(-logits, -1)[:, :2].T
        margin = arrays["generate_top1_top2_margin"][:, length - prompt.shape[1]]
        np.testing.assert_allclose(first - second, margin, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(tokens, reference)


def test_left_padded_prompts_continue_as_stored(stored):
    _, decoder, arrays, _ = stored
    prompt, reference = arrays["leftpad_prompt"], arrays["leftpad_output"]
    start = (arrays["leftpad_mask"] == 0).sum(-1).astype(np.int32)
    assert start.max() > 0
    extend = jax.jit(lambda decoder, tokens, cache: decoder.extend(tokens, cache))
    hidden, cache = extend(
        decoder,
        prompt.astype(np.int32),
        decoder.empty_cache(jnp.asarray(start), reference.shape[1]),
    )
    tokens = [prompt]
    for _ in range(20):
        tokens.append(np.asarray(decoder.logits(hidden[:, -1:]).argmax(-1)))
        hidden, cache = extend(decoder, tokens[-1].astype(np.int32), cache)
    np.testing.assert_array_equal(np.concatenate(tokens, -1), reference)


@pytest.mark.parametrize("activation", ["gelu", "gelu_fast"])
def test_each_gelu_of_gpt2_is_its_own(activation, shared_data, tmp_path):
    source = shared_data / "parity" / "hf" / "gpt2_tiny"
    (tmp_path / "model.safetensors").symlink_to(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text()) | {"activation_function": activation}
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, decoder = load_hf(tmp_path)
    tokens = np.load(source / "io.npz")["input_ids"].astype(np.int32)
    reference = np.load(source / "act_variants.npz")[f"logits_{activation}_row0"]
    np.testing.assert_allclose(forward(decoder, tokens)[0], reference, rtol=0, atol=1e-5)
    loss = json.loads((source / "act_variants.json").read_text())[f"loss_{activation}"]
    np.testing.assert_allclose(mean_loss(decoder, tokens, tokens), loss, rtol=2e-6)


def test_the_older_style_of_config_gives_the_same_model(stored, shared_data, tmp_path):
    config, _, _, expected = stored
    source = next(
        path for path in (shared_data / "parity" / "hf").iterdir()
        if path.is_dir() and json.loads((path / "expected.json").read_text())["seed"] == expected["seed"]
    )  # fmt: skip
    (tmp_path / "model.safetensors").symlink_to(source / "model.safetensors")
    (tmp_path / "config.json").write_text((source / "config_transformers_4.36.2.json").read_text())
    assert load_hf(tmp_path)[0] == config
