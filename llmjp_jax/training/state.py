"""What a run carries from step to step: the parameters that it trains, and those under adapters that it leaves alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from llmjp_jax.models import ModelConfig, adapters_of, join, without_adapters


class TrainState(NamedTuple):
    """Finished steps (int32 scalar), the parameters that are trained, the optimizer's state, and the frozen parameters.

    Frozen are those under a model's adapters: a step hands them on as they are. Without adapters there are none.
    """

    step: Any
    parameters: Any
    optimizer: Any
    frozen: Any = {}

    @property
    def weights(self) -> Any:
        """All parameters of the model."""
        return join(self.frozen, self.parameters)


def split_trained(model: ModelConfig, parameters: Any) -> tuple[Any, Any]:
    """What is trained of a model's parameters (a nested dict of anything), and what is frozen."""
    if model.lora is None:
        return parameters, {}
    return adapters_of(parameters), without_adapters(parameters)


def as_frozen(parameters: Any, model: ModelConfig) -> Any:
    """Frozen parameters as they are held: matrices in the dtype of their products, which changes no result.

    What norms read stays float32, in which they compute.
    """

    def held(path, array):
        in_norm = any("norm" in key.key for key in path)
        return array.astype(jnp.float32 if in_norm else model.dtype)

    return jax.tree_util.tree_map_with_path(held, parameters)


def moved(array: jax.Array, target: jax.ShapeDtypeStruct) -> jax.Array:
    """The array in the target's dtype and place; where it had another dtype, its memory is given back."""
    result = jax.device_put(array.astype(target.dtype), target.sharding)
    if array.dtype != target.dtype:
        array.delete()
    return result
