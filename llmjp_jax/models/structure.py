"""A decoder as a description and a nested dict of arrays: the form that jit, Optax and Orbax work on."""

from __future__ import annotations

from typing import Any

from flax import nnx

from llmjp_jax.models.config import ModelConfig
from llmjp_jax.models.decoder import Decoder

Parameters = dict[str, Any]


def abstract_decoder(config: ModelConfig) -> tuple[nnx.GraphDef, Parameters, Parameters]:
    """The decoder without its arrays.

    Returns:
      definition: for `assemble`.
      parameters: nested dict of `jax.ShapeDtypeStruct`.
      axes: the same nested dict with each array's logical axis names.
    """
    abstract = nnx.eval_shape(lambda: Decoder(config, nnx.Rngs(0)))
    definition, state = nnx.split(abstract)
    axes = {}
    for path, variable in nnx.to_flat_state(state):
        names = tuple(variable.get_metadata("out_sharding"))
        if len(names) != variable.ndim:
            raise ValueError(f"{'/'.join(map(str, path))} has {variable.ndim} axes, names {names}")
        axes[path] = names
    parameters = nnx.to_pure_dict(nnx.as_pure(state))
    return definition, parameters, nnx.traversals.unflatten_mapping(axes)


def initialize(config: ModelConfig, seed: int) -> Parameters:
    """Fresh parameters; call it under `jax.jit` with `out_shardings` to have them born on their devices."""
    return disassemble(Decoder(config, nnx.Rngs(seed)))


def assemble(definition: nnx.GraphDef, parameters: Parameters) -> Decoder:
    """The decoder that has these parameters."""
    return nnx.merge(definition, parameters)


def disassemble(decoder: Decoder) -> Parameters:
    """The parameters of a decoder as a nested dict of arrays."""
    return nnx.to_pure_dict(nnx.as_pure(nnx.split(decoder)[1]))
