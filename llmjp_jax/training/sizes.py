"""Whether the sizes of a run fit each other: asked by training and by the plan, before anything is made."""

from __future__ import annotations

from collections.abc import Sequence

from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig


def check_steps(total_steps: int) -> None:
    """Raises a `UserError` where a run has no step."""
    if type(total_steps) is not int or total_steps < 1:
        raise UserError(f"total_steps = {total_steps!r} must be a whole number of at least 1")


def check_sizes(
    model: ModelConfig,
    *,
    batch_size: int,
    sequence_length: int,
    accumulation: int = 1,
    z_loss: float = 0.0,
    router_loss: float = 0.0,
    seed: int = 0,
    longest: int | None = None,
    lengths: Sequence[int] | None = None,
) -> None:
    """Raises a `UserError` that names the first size that does not fit, and its limit."""
    least = {
        "batch_size": batch_size,
        "sequence_length": sequence_length,
        "accumulation": accumulation,
    }
    for name, value in least.items():
        if type(value) is not int or value < 1:
            raise UserError(f"{name} = {value!r} must be a whole number of at least 1")
    if type(seed) is not int or seed < 0:
        raise UserError(f"seed = {seed!r} must be a whole number of at least 0")
    if z_loss < 0:
        raise UserError(f"z_loss = {z_loss} must not be negative")
    if router_loss < 0:
        raise UserError(f"router_loss = {router_loss} must not be negative")
    if router_loss > 0 and model.experts is None:
        raise UserError(
            f"router_loss = {router_loss} must be 0 for a model without experts; set ModelConfig.experts or remove it"
        )
    name, size = (
        ("sequence_length", sequence_length) if longest is None else ("max_length", longest)
    )
    if size > model.max_length:
        raise UserError(f"{name} = {size} exceeds the model's max_length = {model.max_length}")
    for length in (sequence_length, *(lengths or ())):
        if length % model.loss_chunks:
            which = "sequence_length" if length == sequence_length else "the padded rows' length"
            raise UserError(
                f"ModelConfig.loss_chunks = {model.loss_chunks} must divide {which} = {length}"
            )
    if batch_size % accumulation:
        raise UserError(f"accumulation = {accumulation} must divide batch_size = {batch_size}")
