"""Which Hugging Face tensor holds which parameter of ours, as one table a family. Reads and writes no files.

Rows whose parameters a model lacks (biases, an output matrix of its own) drop out, so a table serves every variant of
its family. `transposed` marks torch's Linear, which stores [out, in]; GPT-2's Conv1D stores [in, out] as we do.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Row:
    """One Hugging Face tensor, or one in every layer, or one for every expert of every layer.

    Attributes:
      name: its name; `{layer}` and `{expert}` stand for their numbers.
      parameters: paths of ours that lie side by side along its last axis (GPT-2's fused query, key, value).
      inputs: leading axes of our array (without those that are counted) that make its input side; the others make the
        output side.
      transposed: the file has [out, in].
    """

    name: str
    parameters: tuple[str, ...]
    inputs: int = 0
    transposed: bool = False

    @property
    def counted(self) -> int:
        """Leading axes of our array whose every entry is a tensor of its own: layers, then experts."""
        return ("{layer}" in self.name) + ("{expert}" in self.name)

    def names(self, shape: Shape) -> dict[tuple[int, ...], str]:
        """The tensors of a parameter of `shape`, by their numbers along its counted axes."""
        return {
            numbers: self.name.format(**dict(zip(("layer", "expert"), numbers, strict=False)))
            for numbers in np.ndindex(*shape[: self.counted])
        }

    def file_shape(self, shape: Shape) -> Shape:
        """The tensor's shape in the file, for parameters of `shape` each."""
        shape = shape[self.counted :]
        left = (math.prod(shape[: self.inputs]),) if self.inputs else ()
        right = (math.prod(shape[self.inputs :]) * len(self.parameters),)
        return right + left if self.transposed else left + right

    def to_ours(self, tensor: np.ndarray, parameter: str, shape: Shape) -> np.ndarray:
        """A view of the file's tensor that is this parameter, `shape` without the counted axes."""
        tensor = tensor.T if self.transposed else tensor
        width = tensor.shape[-1] // len(self.parameters)
        start = self.parameters.index(parameter) * width
        return tensor[..., start : start + width].reshape(shape)

    def to_file(self, arrays: list[np.ndarray]) -> np.ndarray:
        """The tensor as the file has it, from its parameters (without the counted axes)."""
        sides = [
            (math.prod(array.shape[: self.inputs]), -1) if self.inputs else (-1,)
            for array in arrays
        ]
        flat = [array.reshape(side) for array, side in zip(arrays, sides, strict=True)]
        tensor = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=-1)
        return tensor.T if self.transposed else tensor


def _linear(theirs: str, *ours: str, inputs: int = 1, transposed: bool) -> tuple[Row, Row]:
    return (
        Row(f"{theirs}.weight", tuple(f"{name}/kernel" for name in ours), inputs, transposed),
        Row(f"{theirs}.bias", tuple(f"{name}/bias" for name in ours)),
    )


def _norm(theirs: str, ours: str) -> tuple[Row, Row]:
    return Row(f"{theirs}.weight", (f"{ours}/scale",)), Row(f"{theirs}.bias", (f"{ours}/bias",))


# fmt: off
_ATTENTION, _MLP = "blocks/attention", "blocks/mlp"
_H, _LAYER = "transformer.h.{layer}", "model.layers.{layer}"
_EXPERT = f"{_LAYER}.block_sparse_moe.experts.{{expert}}"


def _llama_around(*mlp: Row) -> tuple[Row, ...]:
    """A Llama's tensors, with these in place of the MLP's."""
    return (
        Row("model.embed_tokens.weight", ("embed/tokens",), inputs=1),
        *_norm(f"{_LAYER}.input_layernorm", "blocks/attention_norm"),
        *_linear(f"{_LAYER}.self_attn.q_proj", f"{_ATTENTION}/query", transposed=True),
        *_linear(f"{_LAYER}.self_attn.k_proj", f"{_ATTENTION}/key", transposed=True),
        *_linear(f"{_LAYER}.self_attn.v_proj", f"{_ATTENTION}/value", transposed=True),
        *_linear(f"{_LAYER}.self_attn.o_proj", f"{_ATTENTION}/output", inputs=2, transposed=True),
        *_norm(f"{_LAYER}.post_attention_layernorm", "blocks/mlp_norm"),
        *mlp,
        *_norm("model.norm", "final_norm"),
        Row("lm_head.weight", ("head/kernel",), inputs=1, transposed=True),
    )


TABLES: dict[str, tuple[Row, ...]] = {
    "gpt2": (
        Row("transformer.wte.weight", ("embed/tokens",), inputs=1),
        Row("transformer.wpe.weight", ("embed/positions",), inputs=1),
        *_norm(f"{_H}.ln_1", "blocks/attention_norm"),
        *_linear(f"{_H}.attn.c_attn", f"{_ATTENTION}/query", f"{_ATTENTION}/key", f"{_ATTENTION}/value", transposed=False),
        *_linear(f"{_H}.attn.c_proj", f"{_ATTENTION}/output", inputs=2, transposed=False),
        *_norm(f"{_H}.ln_2", "blocks/mlp_norm"),
        *_linear(f"{_H}.mlp.c_fc", f"{_MLP}/up", transposed=False),
        *_linear(f"{_H}.mlp.c_proj", f"{_MLP}/down", transposed=False),
        *_norm("transformer.ln_f", "final_norm"),
        Row("lm_head.weight", ("head/kernel",), inputs=1, transposed=True),
    ),
    "llama": _llama_around(
        *_linear(f"{_LAYER}.mlp.gate_proj", f"{_MLP}/gate", transposed=True),
        *_linear(f"{_LAYER}.mlp.up_proj", f"{_MLP}/up", transposed=True),
        *_linear(f"{_LAYER}.mlp.down_proj", f"{_MLP}/down", transposed=True),
    ),
    # The names of Mistral's own files; transformers 5 still writes them, though it holds the experts fused.
    "mixtral": _llama_around(
        Row(f"{_LAYER}.block_sparse_moe.gate.weight", (f"{_MLP}/router",), inputs=1, transposed=True),
        Row(f"{_EXPERT}.w1.weight", (f"{_MLP}/gate",), inputs=1, transposed=True),
        Row(f"{_EXPERT}.w2.weight", (f"{_MLP}/down",), inputs=1, transposed=True),
        Row(f"{_EXPERT}.w3.weight", (f"{_MLP}/up",), inputs=1, transposed=True),
    ),
}
# fmt: on

# Prefix that a file saved from the bare model (`GPT2Model`) leaves out.
PREFIXES = {"gpt2": "transformer.", "llama": "model.", "mixtral": "model."}

# Buffers that old files carry: causal masks and rotary frequencies, which follow from the config.
IGNORED = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")


def flatten(parameters: dict[str, Any]) -> dict[str, Any]:
    """Nested dict → {'blocks/mlp/up/kernel': leaf}."""
    leaves, _ = jax.tree.flatten_with_path(parameters)
    return {"/".join(key.key for key in path): leaf for path, leaf in leaves}


def unflatten(leaves: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *rooms, name = path.split("/")
        place = nested
        for room in rooms:
            place = place.setdefault(room, {})
        place[name] = leaf
    return nested


def rows_of(family: str, shapes: dict[str, Shape]) -> list[Row]:
    """The rows of a family's table that a model with these parameters has; they cover every parameter exactly once."""
    rows = [row for row in TABLES[family] if all(path in shapes for path in row.parameters)]
    covered = sorted(path for row in rows for path in row.parameters)
    if covered != sorted(shapes):
        raise ValueError(f"the {family} table and the model differ in {set(covered) ^ set(shapes)}")
    return rows
