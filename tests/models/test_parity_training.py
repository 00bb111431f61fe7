"""Three AdamW steps of our trainer against torch's AdamW on transformers' model, and against stored results."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from llmjp_jax.checkpoints import load_hf, save_hf
from llmjp_jax.models import assemble, disassemble
from llmjp_jax.parallel import MeshConfig, make_mesh
from llmjp_jax.training import OptimizerConfig, Trainer
from tests import hf_reference
from tests.hf_reference import as_tensor, batch, torch

RATE, DECAY, CLIP = 1e-3, 0.1, 1.0


def train(config, decoder, rows):
    """Three updates on rows [3, batch, length]; (losses before each, gradient norms, decoder after)."""
    optimizer = OptimizerConfig(
        learning_rate=RATE, final_learning_rate=RATE, warmup_steps=0, decay_steps=10,
        schedule="constant", beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=DECAY, clip_norm=CLIP,
    )  # fmt: skip
    trainer = Trainer(
        model=config, optimizer=optimizer, mesh=make_mesh(MeshConfig(), jax.devices()[:1]),
        batch_size=rows.shape[1], sequence_length=rows.shape[2] - 1,
    )  # fmt: skip
    state = trainer.initial_state(disassemble(decoder))
    metrics = []
    for tokens in rows.astype(np.int32):
        fields = {"tokens": tokens[:, :-1], "targets": tokens[:, 1:]}
        fields["loss_weights"] = np.ones(fields["tokens"].shape, np.float32)
        state, measured = trainer.step(state, trainer.put(fields))
        metrics.append({name: float(value) for name, value in measured.items()})
    losses, norms = ([m[name] for m in metrics] for name in ("loss", "gradient_norm"))
    return losses, norms, assemble(trainer.definition, state.parameters)


@pytest.mark.parametrize("name", ["gpt2_tanh", "llama_grouped"])
def test_three_steps_give_torchs_losses_and_weights(name, tmp_path):
    model = hf_reference.make_model(name)
    model.save_pretrained(tmp_path / "before")
    rows = np.stack([batch(4, 17, seed=seed) for seed in range(3)])

    decayed = [p for p in model.parameters() if p.ndim > 1]
    spared = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), eps=1e-8)
    expected_losses, expected_norms = [], []
    for tokens in map(as_tensor, rows):
        optimizer.zero_grad()
        loss = model(tokens, labels=tokens).loss
        loss.backward()
        expected_norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
        expected_losses.append(loss.item())
    assert min(expected_norms) > CLIP  # clipping is part of what is compared

    config, decoder = load_hf(tmp_path / "before")
    losses, norms, trained = train(config, decoder, rows)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(norms, expected_norms, rtol=1e-4)
    save_hf(trained, config, tmp_path / "after")
    after = load_file(tmp_path / "after" / "model.safetensors")
    before = load_file(tmp_path / "before" / "model.safetensors")
    for tensor, parameter in model.named_parameters():
        reference = parameter.detach().numpy()
        if reference.ndim == 2:
            assert np.abs(reference - before[tensor]).max() > RATE  # it moved
        error = np.abs(after[tensor] - reference)
        if tensor.endswith("c_attn.bias"):
            # The softmax does not depend on the keys' bias: its gradient is rounding error, of which Adam takes the sign.
            error = np.delete(error.reshape(3, -1), 1, axis=0)
        # A weight in a thousand may have a gradient so near to nothing that its rounding error shows in Adam's quotient.
        assert np.mean(error > 1e-5) < 1e-3, (
            f"{tensor}: {np.mean(error > 1e-5):.2%} differ by more than 1e-5"
        )
        assert error.max() < 1e-4, f"{tensor}: {error.max():.1e}"


@pytest.mark.parametrize("name", ["gpt2_tiny", "llama_mha_tiny", "llama_gqa_tiny"])
def test_three_steps_give_the_stored_losses_and_logits(name, shared_data):
    directory = shared_data / "parity" / "hf" / name
    arrays = np.load(directory / "io.npz")
    expected = json.loads((directory / "expected.json").read_text())["adamw"]["decay_2d_only"]
    config, decoder = load_hf(directory)
    config = dataclasses.replace(config, dropout=0.0, attention_dropout=0.0)  # as the reference ran
    losses, norms, trained = train(config, decoder, arrays["train_ids"])
    np.testing.assert_allclose(losses, expected["loss_before"], rtol=1e-5)
    np.testing.assert_allclose(norms, expected["grad_norm_before_clip"], rtol=1e-4)
    logits = jax.jit(lambda decoder, tokens: decoder(tokens))(
        trained, arrays["input_ids"].astype(np.int32)
    )
    reference = arrays["logits_after_decay_2d_only_row0_every4"]
    np.testing.assert_allclose(logits[0, ::4], reference, rtol=0, atol=1e-4)
