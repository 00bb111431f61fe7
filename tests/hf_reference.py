"""Small Hugging Face models with random weights, made when a test wants them, and their results as numpy arrays.

Biases are not zero, norms' scales are not one and the spread is large, so that a mistake in any tensor shows.
"""

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="torch is the reference of these tests; install the dev extra"
)
transformers = pytest.importorskip(
    "transformers", reason="transformers is the reference of these tests; install the dev extra"
)

VOCAB, LENGTH = 97, 24
_GPT2 = {"vocab_size": VOCAB, "n_positions": 32, "n_embd": 32, "n_layer": 3, "n_head": 4,
         "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 7, "eos_token_id": 7}  # fmt: skip
_LLAMA = {"vocab_size": VOCAB, "max_position_embeddings": 32, "hidden_size": 48, "intermediate_size": 80,
          "num_hidden_layers": 2, "num_attention_heads": 6, "rms_norm_eps": 1e-5}  # fmt: skip
_MIXTRAL = _LLAMA | {"num_key_value_heads": 2, "num_local_experts": 4, "sliding_window": None}

CONFIGS = {
    "gpt2_tanh": ("gpt2", _GPT2 | {"activation_function": "gelu_new"}),
    "gpt2_erf": ("gpt2", _GPT2 | {"activation_function": "gelu", "n_inner": 80}),
    "gpt2_untied": ("gpt2", _GPT2 | {"tie_word_embeddings": False}),
    "llama": ("llama", _LLAMA),
    "llama_grouped": ("llama", _LLAMA | {"num_key_value_heads": 2}),
    # Head size apart from hidden_size / heads, biases, tied embeddings, another base of the rotation.
    "llama_variant": ("llama", _LLAMA | {
        "num_key_value_heads": 3, "head_dim": 10, "attention_bias": True, "mlp_bias": True,
        "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    }),
    "mixtral": ("mixtral", _MIXTRAL),
    "mixtral_eight": ("mixtral", _MIXTRAL | {"num_local_experts": 8, "num_hidden_layers": 3, "intermediate_size": 40}),
}  # fmt: skip
NAMES = tuple(CONFIGS)


def make_model(name: str):
    """The model of that name, in evaluation mode, float32, with eager attention."""
    family, fields = CONFIGS[name]
    classes = {
        "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "mixtral": (transformers.MixtralConfig, transformers.MixtralForCausalLM),
    }
    config_class, model_class = classes[family]
    torch.manual_seed(sorted(CONFIGS).index(name))
    model = model_class(config_class(**fields, attn_implementation="eager"))
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(noise * 0.15 if parameter.ndim > 1 else parameter + noise * 0.2)
    return model.eval()


def batch(rows: int = 2, length: int = LENGTH, seed: int = 0) -> np.ndarray:
    """Random tokens [rows, length] int32."""
    return np.random.default_rng(seed).integers(0, VOCAB, (rows, length), dtype=np.int32)


def as_tensor(tokens: np.ndarray):
    return torch.from_numpy(np.asarray(tokens, np.int64))
