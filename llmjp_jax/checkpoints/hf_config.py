"""config.json of Hugging Face's GPT-2, Llama and Mixtral ↔ `ModelConfig`. Reads no weights.

Both styles of file are read: `rope_theta`, `torch_dtype` (transformers 4) and `rope_parameters`, `dtype` (5). What our
decoder does not compute is refused, never dropped.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig

# Hugging Face's names of the activations; gelu_fast is the tanh formula with its constants written out.
_GELUS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
_SILUS = {"silu": "swiglu", "swish": "swiglu"}


class _Fields:
    """The fields of one config.json, read with errors that name the file and the field."""

    def __init__(self, file: Path, values: dict[str, Any]):
        self.file, self.values = file, values

    def get(self, name: str, default: Any = None, kind: type | tuple[type, ...] = object) -> Any:
        """A field; null counts as absent, an absent field without a default is an error."""
        value = self.values.get(name)
        if value is None:
            if default is None:
                raise UserError(
                    f"{self.file} has no field {name!r}; copy the model's own config.json here"
                )
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.refuse(name, f"it must be {_kind_name(kind)}")
        return value

    def whole(self, name: str, default: int | None = None) -> int:
        return self.get(name, default, int)

    def number(self, name: str, default: float | None = None) -> float:
        return float(self.get(name, default, (int, float)))

    def flag(self, name: str, default: bool) -> bool:
        return self.get(name, default, bool)

    def choice(self, name: str, default: str, choices: dict[str, str]) -> str:
        value = self.get(name, default, str)
        if value not in choices:
            raise self.refuse(name, f"supported are {', '.join(choices)}")
        return choices[value]

    def require(self, name: str, *allowed: Any) -> None:
        if name in self.values and self.values[name] not in allowed:
            supported = " or ".join(json.dumps(value) for value in allowed)
            raise self.refuse(
                name, f"only {supported} is supported; convert the model to that first"
            )

    def refuse(self, name: str, reason: str) -> UserError:
        return UserError(
            f"{self.file}: {name} = {json.dumps(self.values.get(name))} cannot be loaded: {reason}"
        )


def _kind_name(kind) -> str:
    names = {
        int: "a whole number",
        (int, float): "a number",
        bool: "true or false",
        str: "a string",
    }
    return names[kind]


def read_config(file: Path) -> tuple[str, ModelConfig]:
    """The family ('gpt2', 'llama' or 'mixtral') and the config that a config.json describes.

    `vocab_size` is the number of embedding rows: Hugging Face does not record which of them are padding.

    Raises:
      UserError: no such file, not JSON, or something in it that the decoder does not compute.
    """
    if not file.is_file():
        raise UserError(
            f"there is no {file}; give the directory of a Hugging Face model with its config.json"
        )
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} is not JSON ({error}); copy the model's config.json again"
        ) from None
    if not isinstance(values, dict):
        raise UserError(f"{file} is not a JSON object; copy the model's config.json again")
    fields = _Fields(file, values)
    readers = {"gpt2": _read_gpt2, "llama": _read_llama, "mixtral": _read_mixtral}
    family = fields.choice("model_type", "absent", {name: name for name in readers})
    fields.require("quantization_config", None)
    fields.require("sliding_window", None)
    try:
        return family, readers[family](fields)
    except UserError as error:
        named = str(error).startswith(str(file))
        raise error if named else UserError(f"{file}: {error}") from None


def _read_gpt2(fields: _Fields) -> ModelConfig:
    fields.require("scale_attn_weights", True)
    fields.require("scale_attn_by_inverse_layer_idx", False)
    fields.require("add_cross_attention", False)
    dropout = fields.number("resid_pdrop", 0.1)
    if fields.number("embd_pdrop", 0.1) != dropout:
        raise fields.refuse("embd_pdrop", f"it must equal resid_pdrop = {dropout}; set both alike")
    embed = fields.whole("n_embd")
    return ModelConfig(
        vocab_size=fields.whole("vocab_size"),
        layers=fields.whole("n_layer"),
        embed=embed,
        heads=fields.whole("n_head"),
        mlp=fields.whole("n_inner", 4 * embed),
        max_length=fields.whole("n_positions"),
        position="learned",
        norm="layernorm",
        norm_epsilon=fields.number("layer_norm_epsilon", 1e-5),
        activation=fields.choice("activation_function", "gelu_new", _GELUS),
        bias=True,
        tied_embeddings=fields.flag("tie_word_embeddings", True),
        dropout=dropout,
        attention_dropout=fields.number("attn_pdrop", 0.1),
        initializer_std=fields.number("initializer_range", 0.02),
    )


def _read_llama(fields: _Fields) -> ModelConfig:
    bias = fields.flag("attention_bias", False)
    if fields.flag("mlp_bias", False) != bias:
        raise fields.refuse(
            "mlp_bias",
            f"it must equal attention_bias = {json.dumps(bias)}: biases are on all linear layers or on none",
        )
    heads = fields.whole("num_attention_heads")
    return _llama_like(
        fields, bias=bias, kv_heads=fields.whole("num_key_value_heads", heads), rope_theta=10000.0,
        norm_epsilon=1e-6, max_length=2048,
    )  # fmt: skip


def _read_mixtral(fields: _Fields) -> ModelConfig:
    for name in ("attention_bias", "mlp_bias"):
        fields.require(name, None, False)
    fields.require("router_jitter_noise", None, 0)
    config = _llama_like(
        fields, bias=False, kv_heads=fields.whole("num_key_value_heads", 8), rope_theta=1e6,
        norm_epsilon=1e-5, max_length=4096 * 32,
    )  # fmt: skip
    return dataclasses.replace(
        config,
        experts=fields.whole("num_local_experts", 8),
        experts_per_token=fields.whole("num_experts_per_tok", 2),
    )


def _llama_like(fields: _Fields, *, bias: bool, kv_heads: int, rope_theta: float, norm_epsilon: float,
                max_length: int) -> ModelConfig:  # fmt: skip
    """What Llama and Mixtral have in common; the numbers are what a missing field means."""
    heads = fields.whole("num_attention_heads")
    embed = fields.whole("hidden_size")
    if heads < 1 or (fields.values.get("head_dim") is None and embed % heads):
        raise fields.refuse(
            "num_attention_heads", f"it must divide hidden_size = {embed}, or set head_dim"
        )
    return ModelConfig(
        vocab_size=fields.whole("vocab_size"),
        layers=fields.whole("num_hidden_layers"),
        embed=embed,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=fields.whole("head_dim", embed // heads),
        mlp=fields.whole("intermediate_size"),
        max_length=fields.whole("max_position_embeddings", max_length),
        position="rope",
        rope_theta=_rope_theta(fields, rope_theta),
        norm="rmsnorm",
        norm_epsilon=fields.number("rms_norm_eps", norm_epsilon),
        activation=fields.choice("hidden_act", "silu", _SILUS),
        bias=bias,
        tied_embeddings=fields.flag("tie_word_embeddings", False),
        attention_dropout=fields.number("attention_dropout", 0.0),
        initializer_std=fields.number("initializer_range", 0.02),
    )


def _rope_theta(fields: _Fields, default: float) -> float:
    theta = fields.number("rope_theta", default)
    for name in ("rope_scaling", "rope_parameters"):
        rope = fields.values.get(name) or {}
        if (
            not isinstance(rope, dict)
            or rope.get("rope_type", rope.get("type", "default")) != "default"
        ):
            raise fields.refuse(
                name,
                "only the rope_type 'default' is supported; choose a model without RoPE scaling",
            )
        unknown = {
            k for k in rope if k not in ("rope_type", "type", "rope_theta", "partial_rotary_factor")
        }
        if unknown or rope.get("partial_rotary_factor", 1.0) != 1.0:
            raise fields.refuse(
                name,
                "only rope_type 'default' over the whole head with one rope_theta is supported",
            )
        theta = _Fields(fields.file, rope).number("rope_theta", theta)
    fields.require("partial_rotary_factor", None, 1.0)
    return theta


def family_of(config: ModelConfig) -> str:
    """'gpt2', 'llama' or 'mixtral': the Hugging Face class that computes this config.

    Raises:
      UserError: none does; the sentence names the fields in the way.
    """
    llama = {"position": "rope", "norm": "rmsnorm", "activation": "swiglu"}
    need = {
        "gpt2": {"position": "learned", "norm": "layernorm", "bias": True, "kv_heads": config.heads,
                 "head_dim": config.embed / config.heads},
        "llama": llama,
        "mixtral": llama,
    }  # fmt: skip
    family = "gpt2" if config.position == "learned" else "llama"
    if config.experts is not None:
        family = "mixtral"
    wrong = [
        f"{field} = {getattr(config, field)!r} (wants {value!r})"
        for field, value in need[family].items()
        if getattr(config, field) != value
    ]
    if family == "gpt2" and config.activation == "swiglu":
        wrong.append("activation = 'swiglu' (wants 'gelu' or 'gelu_tanh')")
    if config.embed % config.heads:
        wrong.append(f"heads = {config.heads} (must divide embed = {config.embed})")
    if wrong:
        raise UserError(
            f"Hugging Face's {family} cannot express this model: {'; '.join(wrong)}; change these fields to export it"
        )
    return family


def write_config(config: ModelConfig, dtype: str, special: dict[str, int | None]) -> dict[str, Any]:
    """The config.json of a model, readable by transformers 4 and 5 alike.

    Args:
      dtype: of the stored parameters.
      special: bos_token_id, eos_token_id and pad_token_id; None where there is none.
    """
    common = {
        "vocab_size": config.padded_vocab_size,
        "tie_word_embeddings": config.tied_embeddings,
        "initializer_range": config.initializer_std,
        **special,
        "dtype": dtype,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    family = family_of(config)
    if family == "gpt2":
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_layer": config.layers,
            "n_embd": config.embed,
            "n_head": config.heads,
            "n_inner": config.mlp,
            "n_positions": config.max_length,
            "activation_function": {"gelu": "gelu", "gelu_tanh": "gelu_new"}[config.activation],
            "layer_norm_epsilon": config.norm_epsilon,
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
            "attn_pdrop": config.attention_dropout,
            **common,
        }
    own = {
        "llama": {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": config.bias,
            "mlp_bias": config.bias,
        },
        "mixtral": {
            "architectures": ["MixtralForCausalLM"],
            "num_local_experts": config.experts,
            "num_experts_per_tok": config.experts_per_token,
            "sliding_window": None,
        },
    }
    return {
        **own[family],
        "model_type": family,
        "num_hidden_layers": config.layers,
        "hidden_size": config.embed,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp,
        "max_position_embeddings": config.max_length,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_dropout": config.attention_dropout,
        **common,
    }
