"""adapter_config.json: what PEFT says of a LoRA adapter, read and written. Knows nothing of tensors.

Field names and their meaning are those of peft's `LoraConfig` (0.7, which llm-jp-sft used, to 0.21).
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError

ADAPTER_CONFIG = "adapter_config.json"

# Fields that say nothing of what an adapter computes. Every other field must be empty: a new one may well say something.
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules",
    "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern", "loftq_config", "lora_alpha",
    "lora_dropout", "megatron_config", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "revision",
    "runtime_config", "target_modules", "task_type", "use_rslora",
}  # fmt: skip
# Ways to draw A and B that leave the model under them as it is; the others change it.
_INITIALISERS = (True, False, "gaussian", "eva", "orthogonal")


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """A LoRA adapter without its tensors: `base` is the path of the model under it, as it stands in the file."""

    base: str | None
    rank: int
    alpha: float
    dropout: float


def read_adapter_config(directory: Path) -> AdapterConfig:
    """The adapter_config.json of a directory. An adapter with `use_rslora` gets the alpha that gives its scale.

    Raises:
      UserError: there is none, or it describes an adapter that is more than x·A·B on the plain model.
    """
    file = directory / ADAPTER_CONFIG
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{directory} has no {ADAPTER_CONFIG}; give the directory of a PEFT adapter"
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {file}: {error}; copy it again") from None
    if not isinstance(fields, dict):
        raise UserError(f"{file} is not a table of fields; copy it again")
    _check_plain(fields, file)
    rank, alpha, dropout = (_number(fields, name, file) for name in ("r", "lora_alpha", "lora_dropout"))  # fmt: skip
    if type(rank) is not int or rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
        raise UserError(
            f"{file} has r = {rank}, lora_alpha = {alpha} and lora_dropout = {dropout}; wanted are a whole number of at "
            "least 1, a positive number and one in [0, 1): copy the file again"
        )
    if fields.get("use_rslora"):
        alpha *= math.sqrt(rank)  # PEFT divides this one by the root of the rank.
    return AdapterConfig(fields.get("base_model_name_or_path") or None, rank, alpha, dropout)


def _check_plain(fields: dict[str, Any], file: Path) -> None:
    def refuse(field: str, why: str) -> None:
        raise UserError(
            f"{file}: {field} = {fields.get(field)!r} {why}; merge the adapter with peft's merge_and_unload and save the model"
        )

    if fields.get("peft_type") != "LORA":
        refuse("peft_type", "is not 'LORA', the one kind of adapter that is computed here")
    if fields.get("bias", "none") != "none":
        refuse("bias", "trains biases, and only matrices are adapted here")
    if fields.get("init_lora_weights", True) not in _INITIALISERS:
        refuse("init_lora_weights", "changes the model under the adapter")
    for field, value in fields.items():
        if value and field not in _HARMLESS and field != "bias":
            refuse(field, "is not computed here")


def _number(fields: dict[str, Any], name: str, file: Path) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{file}: {name} = {value!r} must be a number; copy the file again")
    return value


def write_adapter_config(
    adapter: AdapterConfig, target_modules: list[str], fan_in_fan_out: bool
) -> dict[str, Any]:
    """The adapter_config.json of an adapter, with the fields that peft 0.7 knows: later versions add their defaults.

    Args:
      target_modules: ends of the names of the adapted modules.
      fan_in_fan_out: whether these store [in, out] (GPT-2's Conv1D).
    """
    alpha = int(adapter.alpha) if adapter.alpha == int(adapter.alpha) else adapter.alpha
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base,
        "r": adapter.rank,
        "lora_alpha": alpha,
        "lora_dropout": adapter.dropout,
        "target_modules": target_modules,
        "fan_in_fan_out": fan_in_fan_out,
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
        "layers_to_transform": None,
        "layers_pattern": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "auto_mapping": None,
        "revision": None,
    }
