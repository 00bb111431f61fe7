"""Logical names of axes: what the model says about its arrays. Where they lie on devices, `parallel` decides.

Parameters:   layers, vocab, positions, embed, heads, kv_heads, head_dim, mlp.
Activations:  batch, length, and the above with `activation_` in front where a parameter and an activation of the same
              size must be laid out differently (FSDP shards a kernel's `embed`, never the residual stream's).
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import jax

Constraint = Callable[[jax.Array, tuple[str | None, ...]], jax.Array]

_constraint: contextvars.ContextVar[Constraint | None] = contextvars.ContextVar(
    "constraint", default=None
)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Asks for the layout of an activation by the logical names of its axes; does nothing outside `constrained_by`."""
    constraint = _constraint.get()
    return x if constraint is None else constraint(x, names)


@contextlib.contextmanager
def constrained_by(constraint: Constraint) -> Iterator[None]:
    """While a function is traced, `constraint(array, names)` lays out its activations."""
    token = _constraint.set(constraint)
    try:
        yield
    finally:
        _constraint.reset(token)
