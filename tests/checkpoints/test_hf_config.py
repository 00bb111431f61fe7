"""config.json ↔ ModelConfig: both styles are read, and what the decoder does not compute is refused by name."""

import dataclasses
import json

import pytest

from llmjp_jax.checkpoints.hf_config import family_of, read_config, write_config
from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig

GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 99,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 32,
}
LLAMA = {"model_type": "llama", "vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 2,
         "num_attention_heads": 4, "intermediate_size": 40, "max_position_embeddings": 32}  # fmt: skip
MIXTRAL = LLAMA | {"model_type": "mixtral", "num_key_value_heads": 2}
NO_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def read(tmp_path, values):
    (tmp_path / "config.json").write_text(json.dumps(values))
    return read_config(tmp_path / "config.json")[1]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("gelu", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("gelu_fast", "gelu_tanh"),
    ],
)
def test_every_gelu_has_its_name(name, ours, tmp_path):
    assert read(tmp_path, GPT2 | {"activation_function": name}).activation == ours


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 5e5, "rope_scaling": None},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        {"rope_theta": 5e5, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        {"rope_theta": 500000, "rope_scaling": {"type": "default"}},
    ],
)
def test_both_styles_of_rope_are_read(rope, tmp_path):
    theta = read(tmp_path, LLAMA | rope).rope_theta
    assert theta == 5e5 and type(theta) is float


def test_defaults_are_those_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    gpt2, llama = read(tmp_path, GPT2), read(tmp_path, LLAMA)
    reference = transformers.GPT2Config(**{k: v for k, v in GPT2.items() if k != "model_type"})
    assert gpt2.norm_epsilon == reference.layer_norm_epsilon
    assert (gpt2.dropout, gpt2.attention_dropout) == (reference.resid_pdrop, reference.attn_pdrop)
    assert (
        gpt2.mlp == 4 * reference.n_embd and gpt2.activation == "gelu_tanh" and gpt2.tied_embeddings
    )
    reference = transformers.LlamaConfig(**{k: v for k, v in LLAMA.items() if k != "model_type"})
    assert llama.norm_epsilon == reference.rms_norm_eps
    assert llama.rope_theta == reference.rope_parameters["rope_theta"]
    assert (llama.kv_heads, llama.head_dim) == (reference.num_key_value_heads, reference.head_dim)
    assert llama.tied_embeddings == reference.tie_word_embeddings
    plain = {k: v for k, v in MIXTRAL.items() if k not in ("model_type", "max_position_embeddings")}
    mixtral, reference = read(tmp_path, MIXTRAL), transformers.MixtralConfig(**plain)
    assert mixtral.norm_epsilon == reference.rms_norm_eps
    assert mixtral.rope_theta == reference.rope_parameters["rope_theta"]
    assert mixtral.experts == reference.num_local_experts
    assert mixtral.experts_per_token == reference.num_experts_per_tok
    assert (
        read(tmp_path, plain | {"model_type": "mixtral"}).max_length
        == reference.max_position_embeddings
    )


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"model_type": "mistral"}, "model_type"),
        ({}, "model_type"),
        (GPT2 | {"activation_function": "relu"}, "activation_function"),
        (GPT2 | {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        (GPT2 | {"scale_attn_weights": False}, "scale_attn_weights"),
        (GPT2 | {"add_cross_attention": True}, "add_cross_attention"),
        (GPT2 | {"embd_pdrop": 0.2}, "embd_pdrop"),
        (GPT2 | {"n_head": 3}, "heads"),
        (GPT2 | {"n_embd": "16"}, "n_embd"),
        (GPT2 | {"n_layer": True}, "n_layer"),
        ({k: v for k, v in GPT2.items() if k != "n_layer"}, "n_layer"),
        (LLAMA | {"hidden_act": "gelu"}, "hidden_act"),
        (LLAMA | {"attention_bias": True}, "mlp_bias"),
        (LLAMA | {"mlp_bias": True}, "mlp_bias"),
        (LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        (LLAMA | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}, "rope_parameters"),
        (LLAMA | {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "rope_parameters"),
        (LLAMA | {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "rope_parameters"),
        (LLAMA | {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (LLAMA | {"sliding_window": 4096}, "sliding_window"),
        (LLAMA | {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        (LLAMA | {"num_attention_heads": 3}, "num_attention_heads"),
        (LLAMA | {"num_key_value_heads": 3}, "kv_heads"),
        (LLAMA | {"vocab_size": 0}, "vocab_size"),
        (MIXTRAL | {"sliding_window": 4096}, "sliding_window"),
        (MIXTRAL | {"router_jitter_noise": 0.1}, "router_jitter_noise"),
        (MIXTRAL | {"num_experts_per_tok": 9}, "experts_per_token"),
        (MIXTRAL | {"num_local_experts": 1}, "experts"),
        (MIXTRAL | {"attention_bias": True}, "attention_bias"),
        (MIXTRAL | {"hidden_act": "gelu"}, "hidden_act"),
    ],
)  # fmt: skip
def test_what_the_decoder_does_not_compute_is_refused_with_file_and_field(values, field, tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path, values)
    assert field in str(error.value) and str(tmp_path / "config.json") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_config_that_is_not_a_json_object_is_named(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json is not"):
        read_config(tmp_path / "config.json")


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no .*config.json"):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    "values",
    [
        GPT2 | {"activation_function": "gelu", "n_inner": 40, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
        GPT2 | {"tie_word_embeddings": False, "initializer_range": 0.013},
        LLAMA | {"num_key_value_heads": 2, "rope_theta": 5e5, "rms_norm_eps": 1e-5},
        LLAMA | {"attention_bias": True, "mlp_bias": True, "head_dim": 6, "tie_word_embeddings": True},
        MIXTRAL | {"num_local_experts": 5, "num_experts_per_tok": 3, "head_dim": None},
    ],
)  # fmt: skip
def test_written_config_is_read_back_equal(values, tmp_path):
    config = read(tmp_path, values)
    assert read(tmp_path, write_config(config, "float32", NO_IDS)) == config


def test_written_config_has_the_keys_of_both_transformers_lines(tmp_path):
    values = write_config(
        read(tmp_path, LLAMA | {"rope_theta": 5e5}), "bfloat16", {"eos_token_id": 7}
    )
    assert values["rope_theta"] == values["rope_parameters"]["rope_theta"] == 5e5
    assert values["dtype"] == values["torch_dtype"] == "bfloat16"
    assert values["eos_token_id"] == 7


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"norm": "layernorm"}, "norm"),
        ({"activation": "gelu"}, "activation"),
        ({"position": "learned"}, "norm = 'rmsnorm'"),
        ({"embed": 18, "head_dim": 4}, "heads = 4"),
        ({"norm": "layernorm", "experts": 4}, "mixtral cannot express"),
    ],
)
def test_a_mixture_of_families_is_not_exported(change, field, tmp_path):
    config = read(tmp_path, LLAMA)
    assert isinstance(config, ModelConfig)
    with pytest.raises(UserError, match="cannot express") as error:
        family_of(dataclasses.replace(config, **change))
    assert field in str(error.value)
