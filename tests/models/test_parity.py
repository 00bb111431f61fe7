"""The decoder gives what Hugging Face transformers gives, for weights that came through `load_hf`."""

import copy
import dataclasses

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
from tests import hf_reference
from tests.hf_reference import LENGTH, NAMES, as_tensor, batch, torch


@pytest.fixture(scope="module", params=NAMES)
def pair(request, tmp_path_factory):
    """(Hugging Face model, our config, our decoder) with the same weights."""
    model = hf_reference.make_model(request.param)
    directory = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(directory)
    return (model, *load_hf(directory))


@jax.jit
def extend(decoder, tokens, cache):
    hidden, cache = decoder.extend(tokens, cache)
    return decoder.logits(hidden), cache


@jax.jit
def forward(decoder, tokens, segment_ids=None, positions=None):
    return decoder(tokens, segment_ids, positions)


@jax.jit
def hidden_states(decoder, tokens):
    return decoder.hidden(tokens)


@jax.jit
def loss_sum(decoder, tokens, weights):
    """Sum of the next-token losses of tokens [batch, length]; weights [batch, length - 1] are the targets'."""
    hidden = decoder.hidden(tokens[:, :-1])
    return token_losses(hidden, decoder.output_kernel(), tokens[:, 1:], weights)[0]


def test_logits_are_those_of_transformers(pair):
    model, _, decoder = pair
    tokens = batch()
    with torch.no_grad():
        reference = model(as_tensor(tokens)).logits.numpy()
    assert np.abs(reference).max() > 2  # not a comparison of zeros
    np.testing.assert_allclose(forward(decoder, tokens), reference, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pair", ["gpt2_tanh", "llama_grouped", "mixtral_eight"], indirect=True)
def test_hidden_states_agree_after_every_layer(pair):
    """The model cut off after k layers and its final norm, against the norm of transformers' k-th hidden state."""
    model, config, decoder = pair
    tokens = batch()
    base = model.transformer if config.position == "learned" else model.model
    norm = base.ln_f if config.position == "learned" else base.norm
    with torch.no_grad():
        states = base(as_tensor(tokens), output_hidden_states=True).hidden_states
        references = [norm(state).numpy() for state in states[1:-1]] + [states[-1].numpy()]
    parameters = disassemble(decoder)
    for layers, reference in enumerate(references, 1):
        cut = parameters | {"blocks": jax.tree.map(lambda x, n=layers: x[:n], parameters["blocks"])}
        shallow = assemble(abstract_decoder(dataclasses.replace(config, layers=layers))[0], cut)
        np.testing.assert_allclose(hidden_states(shallow, tokens), reference, rtol=0, atol=1e-5)


def test_loss_over_masked_labels_is_that_of_transformers(pair):
    model, _, decoder = pair
    tokens = batch(3)
    labels = as_tensor(tokens).clone()
    labels[0, :10] = -100
    labels[2, 5:] = -100
    with torch.no_grad():
        reference = model(as_tensor(tokens), labels=labels).loss.item()
    weights = (labels[:, 1:] != -100).numpy().astype(np.float32)
    loss = loss_sum(decoder, tokens, weights) / weights.sum()
    np.testing.assert_allclose(loss, reference, rtol=1e-5)


def test_log_probabilities_are_those_of_transformers(pair):
    model, _, decoder = pair
    tokens = batch()
    with torch.no_grad():
        table = torch.log_softmax(model(as_tensor(tokens)).logits, -1)
        reference = table[:, :-1].gather(-1, as_tensor(tokens)[:, 1:, None])[..., 0].numpy()
    hidden = hidden_states(decoder, tokens[:, :-1])
    ours = token_log_probabilities(hidden, decoder.output_kernel(), tokens[:, 1:])
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)


def test_right_padding_by_segment_ids_is_transformers_attention_mask(pair):
    model, _, decoder = pair
    tokens = batch(3)
    lengths = np.array([LENGTH, 9, 1])
    real = np.arange(LENGTH) < lengths[:, None]
    with torch.no_grad():
        reference = model(
            as_tensor(tokens), attention_mask=torch.from_numpy(real.astype(np.int64))
        ).logits.numpy()
    ours = np.asarray(forward(decoder, tokens, real.astype(np.int32)))
    np.testing.assert_allclose(ours[real], reference[real], rtol=0, atol=1e-5)


def test_gradients_are_those_of_transformers_tensor_by_tensor(pair, tmp_path):
    model, config, decoder = pair
    tokens = batch()
    # transformers' own exporter gives its gradients the names and shapes of the file (it holds experts fused).
    model = copy.deepcopy(model)
    model(as_tensor(tokens), labels=as_tensor(tokens)).loss.backward()
    for parameter in model.parameters():
        parameter.data = parameter.grad
    model.save_pretrained(tmp_path / "reference")
    reference = load_file(tmp_path / "reference" / "model.safetensors")

    definition = abstract_decoder(config)[0]
    weights = np.full((2, LENGTH - 1), 1 / (2 * (LENGTH - 1)), np.float32)
    gradient = jax.jit(jax.grad(lambda p: loss_sum(assemble(definition, p), tokens, weights)))
    gradients = gradient(disassemble(decoder))
    # Gradients have the parameters' layout, so that the exporter puts them into transformers' layout.
    save_hf(assemble(definition, gradients), config, tmp_path / "gradients")
    ours = load_file(tmp_path / "gradients" / "model.safetensors")
    assert ours.keys() == reference.keys()
    for name, gradient in reference.items():
        if not gradient.any():  # an expert that no token went to
            assert ".experts." in name and not ours[name].any()
            continue
        error = np.linalg.norm(ours[name] - gradient) / np.linalg.norm(gradient)
        assert error < 1e-4, f"{name}: relative error {error:.1e}"


def test_twenty_greedy_tokens_are_those_of_transformers(pair):
    model, _, decoder = pair
    prompt = batch(3, 6, seed=5)
    with torch.no_grad():
        everything = torch.ones(
            3, 6, dtype=torch.int64
        )  # without it, pad ids in the prompt would be masked
        reference = model.generate(
            as_tensor(prompt),
            attention_mask=everything,
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=None,
        )
    tokens = np.zeros((3, 26), np.int32)
    tokens[:, :6] = prompt
    for length in range(6, 26):
        # What lies to the right of a token does not reach it: one compiled shape serves all lengths.
        logits = forward(decoder, tokens)[:, length - 1]
        tokens[:, length] = np.argmax(logits, -1)
    np.testing.assert_array_equal(tokens, reference.numpy())


def test_left_padded_rows_in_the_cache_give_transformers_logits(pair):
    model, config, decoder = pair
    tokens = batch(3, 16, seed=2)
    start = np.array([0, 5, 15])
    real = (np.arange(16) >= start[:, None]).astype(np.int64)
    positions = np.maximum(np.cumsum(real, -1) - 1, 0)
    with torch.no_grad():
        reference = model(
            as_tensor(tokens),
            attention_mask=torch.from_numpy(real),
            position_ids=torch.from_numpy(positions),
        ).logits.numpy()
    cache = decoder.empty_cache(jnp.asarray(start, jnp.int32), slots=20)
    pieces = []
    for first, last in ((0, 12), (12, 13), (13, 14), (14, 16)):
        logits, cache = extend(decoder, tokens[:, first:last], cache)
        pieces.append(logits)
    ours = np.concatenate(pieces, axis=1)
    seen = real.astype(bool)
    np.testing.assert_allclose(ours[seen], reference[seen], rtol=0, atol=1e-5)
    assert int(cache["length"]) == 16 and config.layers == cache["keys"].shape[0]
