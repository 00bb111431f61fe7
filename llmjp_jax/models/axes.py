"""Logical names of axes: what the model says about its arrays. Where they lie on devices, `parallel` decides.

Parameters:   layers, vocab, positions, embed, heads, kv_heads, head_dim, mlp, experts, lora_rank.
Activations:  batch, length, stream_length (the residual stream's length between blocks), and the above with
              `activation_` in front where a parameter and an activation of the same size must be laid out differently
              (FSDP shards a kernel's `embed`, never the residual stream's).
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Protocol

import jax

Names = tuple[str | None, ...]


class Placement(Protocol):
    """What `parallel.Placement` offers: devices, seen through the names of axes."""

    def constrain(self, x: jax.Array, names: Names) -> jax.Array: ...

    def sharded(
        self, function: Callable, in_names: tuple[Names, ...], out_names: Names
    ) -> Callable: ...

    def mesh_axes(self, name: str) -> tuple[str, ...]: ...


_placement: contextvars.ContextVar[Placement | None] = contextvars.ContextVar(
    "placement", default=None
)


@contextlib.contextmanager
def placed_by(placement: Placement) -> Iterator[None]:
    """While a function is traced, its arrays lie where `placement` says; without one, on a single device."""
    token = _placement.set(placement)
    try:
        yield
    finally:
        _placement.reset(token)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Asks for the layout of an activation by the logical names of its axes."""
    placement = _placement.get()
    return x if placement is None else placement.constrain(x, names)


def relaid(x: jax.Array, names: Names, new_names: Names) -> jax.Array:
    """An activation laid out by `names`, then by `new_names`; its gradient the other way round.

    Both are said in both passes: XLA, told only one side of a matrix product, may split it along another axis.
    """
    return x if _placement.get() is None else _relaid(x, names, new_names)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _relaid(x, names, new_names):
    return constrain(constrain(x, *names), *new_names)


_relaid.defvjp(
    lambda x, names, new_names: (_relaid(x, names, new_names), None),
    lambda names, new_names, _, gradient: (_relaid(gradient, new_names, names),),
)


def sharded(function: Callable, in_names: tuple[Names, ...], out_names: Names) -> Callable:
    """`function` run by each device on its own part of the arguments, with collectives over `mesh_axes` inside.

    Args:
      function: of arrays, in positions; without a placement it is returned as it is and gets the whole arrays.
      in_names: for each argument, the logical names of its axes.
      out_names: those of the result.
    """
    placement = _placement.get()
    return function if placement is None else placement.sharded(function, in_names, out_names)


def mesh_axes(name: str) -> tuple[str, ...]:
    """The mesh axes of more than one device that split a logical axis: what a collective inside `sharded` runs over."""
    placement = _placement.get()
    return () if placement is None else placement.mesh_axes(name)
