"""Rotary position embedding, rotate-half layout (Hugging Face's Llama; Su et al., arXiv 2104.09864)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def rope_table(positions: jax.Array, head_dim: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Cosines, and sines with their signs, [batch, length, 1, head_dim] float32, for positions [batch, length]."""
    frequencies = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angles = positions[..., None, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([cos, cos], axis=-1), jnp.concatenate([-sin, sin], axis=-1)


def rotate(x: jax.Array, table: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates the pairs (x[i], x[i + head_dim / 2]) of x [batch, length, heads, head_dim] by their position's angles."""
    cos, sin = table
    # The other half of each pair comes by a roll: one copy of x, where concatenating results would make two slow loops.
    x32 = x.astype(jnp.float32)
    rotated = x32 * cos + jnp.roll(x32, x.shape[-1] // 2, axis=-1) * sin
    return rotated.astype(x.dtype)
