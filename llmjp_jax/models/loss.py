"""Cross-entropy from hidden states, in pieces, so that the [tokens, vocab] logits never exist whole."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from llmjp_jax.models.axes import constrain


def token_losses(hidden, kernel, targets, weights, *, z_loss=0.0, chunks=1):
    """Sums of the loss over tokens, and of its two parts.

    Args:
      hidden: [batch, length, embed]; kernel: [embed, vocab]; targets: [batch, length] int32.
      weights: [batch, length] float32, the weight of each target in the sums.
      z_loss: factor of the square of the log-normaliser (PaLM, arXiv 2204.02311, section 5).
      chunks: pieces, as many as divide the length evenly.

    Returns:
      (loss, cross_entropy): float32 scalars, sums over all tokens; loss = cross_entropy + z_loss * sum of log²Z.
      Only `loss` has a gradient; `cross_entropy` is there to be reported.
    """
    if targets.shape[1] % chunks:
        raise ValueError(f"loss_chunks={chunks} must divide the sequence length {targets.shape[1]}")
    loss, cross_entropy = _chunked(hidden, kernel, targets, weights, z_loss, chunks)
    return loss, jax.lax.stop_gradient(cross_entropy)


def token_log_probabilities(hidden, kernel, targets, *, chunks=1):
    """log p(target) [batch, length] float32 of each target given its hidden state.

    Its gradient computes the logits of each piece once more in place of keeping them.
    """
    if targets.shape[1] % chunks:
        raise ValueError(f"loss_chunks={chunks} must divide the sequence length {targets.shape[1]}")
    return _log_probabilities(hidden, kernel, targets, chunks)


def _split(x, chunks):
    """[batch, length, ...] → [chunks, batch, length / chunks, ...]; piece i has the positions i, i + chunks, ...

    Strided pieces keep a length that is sharded over devices evenly spread within every piece.
    """
    batch, length = x.shape[:2]
    return jnp.moveaxis(x.reshape(batch, length // chunks, chunks, *x.shape[2:]), 2, 0)


def _join(parts):
    """The inverse of `_split`."""
    chunks, batch, length = parts.shape[:3]
    return jnp.moveaxis(parts, 0, 2).reshape(batch, length * chunks, *parts.shape[3:])


def _logits(hidden, kernel):
    logits = jnp.einsum(
        "ble,ev->blv", hidden, kernel.astype(hidden.dtype), preferred_element_type=jnp.float32
    )
    return constrain(logits, "batch", "length", "vocab")


def _is_target(targets, vocab):
    # A masked sum, not a gather: it stays local when the vocabulary is sharded.
    return targets[..., None] == jnp.arange(vocab)


def _log_z_and_picked(hidden, targets, kernel):
    logits = _logits(hidden, kernel)
    picked = jnp.sum(jnp.where(_is_target(targets, logits.shape[-1]), logits, 0.0), axis=-1)
    return jax.nn.logsumexp(logits, axis=-1), picked


def _kernel_of(kernel):
    """The kernel of a forward pass with symbolic zeros, and whether anyone wants its gradient (a frozen one's: no one)."""
    return kernel.value, kernel.perturbed


def _gradient_sum(kernel, wanted: bool):
    """Where the kernel's gradient is summed up, [embed, vocab] float32; nothing for a frozen kernel."""
    return jnp.zeros(kernel.shape, jnp.float32) if wanted else None


def _back_through_logits(hidden, kernel, gradient, kernel_gradient):
    """The gradient of the hidden states [batch, length, embed], and the sum of the kernel's with this piece's in it."""
    hidden_gradient = jnp.einsum("blv,ev->ble", gradient, kernel.astype(hidden.dtype))
    if kernel_gradient is not None:
        kernel_gradient += jnp.einsum(
            "ble,blv->ev", hidden, gradient, preferred_element_type=jnp.float32
        )
    return hidden_gradient, kernel_gradient


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _chunked(hidden, kernel, targets, weights, z_loss, chunks):
    def piece(sums, part):
        hidden, targets, weights = part
        log_z, picked = _log_z_and_picked(hidden, targets, kernel)
        entropy = jnp.sum(weights * (log_z - picked))
        loss = entropy + z_loss * jnp.sum(weights * log_z**2)
        return (sums[0] + loss, sums[1] + entropy), None

    zero = jnp.zeros((), jnp.float32)
    parts = [_split(x, chunks) for x in (hidden, targets, weights)]
    return jax.lax.scan(piece, (zero, zero), parts, unroll=chunks == 1)[0]


def _chunked_forward(hidden, kernel, targets, weights, z_loss, chunks):
    """The sums, and the gradients of `loss` with them: each piece's logits are computed once and never kept."""
    kernel, wanted = _kernel_of(kernel)
    hidden, targets, weights = hidden.value, targets.value, weights.value

    def piece(carry, part):
        loss, entropy, kernel_gradient = carry
        hidden, targets, weights = part
        logits = _logits(hidden, kernel)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        is_target = _is_target(targets, logits.shape[-1])
        picked = jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
        piece_entropy = jnp.sum(weights * (log_z - picked))
        loss += piece_entropy + z_loss * jnp.sum(weights * log_z**2)
        # d loss / d logits = w (1 + 2 z log Z) softmax - w [target]
        scale = (weights * (1 + 2 * z_loss * log_z))[..., None]
        gradient = scale * jnp.exp(logits - log_z[..., None])
        gradient = jnp.where(is_target, gradient - weights[..., None], gradient).astype(
            hidden.dtype
        )
        hidden_gradient, kernel_gradient = _back_through_logits(
            hidden, kernel, gradient, kernel_gradient
        )
        return (loss, entropy + piece_entropy, kernel_gradient), hidden_gradient

    zero = jnp.zeros((), jnp.float32)
    carry = (zero, zero, _gradient_sum(kernel, wanted))
    parts = [_split(x, chunks) for x in (hidden, targets, weights)]
    (loss, entropy, kernel_gradient), hidden_gradient = jax.lax.scan(
        piece, carry, parts, unroll=chunks == 1
    )
    if kernel_gradient is not None:
        kernel_gradient = kernel_gradient.astype(kernel.dtype)
    return (loss, entropy), (_join(hidden_gradient), kernel_gradient)


def _chunked_backward(z_loss, chunks, saved, cotangents):
    scale = cotangents[0]
    hidden, kernel = (
        None if gradient is None else gradient * scale.astype(gradient.dtype) for gradient in saved
    )
    return hidden, kernel, None, None


_chunked.defvjp(_chunked_forward, _chunked_backward, symbolic_zeros=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _log_probabilities(hidden, kernel, targets, chunks):
    def piece(part):
        log_z, picked = _log_z_and_picked(*part, kernel)
        return picked - log_z

    return _join(jax.lax.map(piece, (_split(hidden, chunks), _split(targets, chunks))))


def _log_probabilities_forward(hidden, kernel, targets, chunks):
    kernel, wanted = _kernel_of(kernel)
    hidden, targets = hidden.value, targets.value
    # `wanted` rides along as a tree without leaves: what is saved must be arrays.
    saved = (hidden, kernel, targets, () if wanted else None)
    return _log_probabilities(hidden, kernel, targets, chunks), saved


def _log_probabilities_backward(chunks, saved, cotangent):
    hidden, kernel, targets, wanted = saved

    def piece(kernel_gradient, part):
        hidden, targets, cotangent = part
        logits = _logits(hidden, kernel)
        # d log p(target) / d logits = [target] - softmax
        gradient = _is_target(targets, logits.shape[-1]) - jax.nn.softmax(logits, axis=-1)
        gradient = (cotangent[..., None] * gradient).astype(hidden.dtype)
        hidden_gradient, kernel_gradient = _back_through_logits(
            hidden, kernel, gradient, kernel_gradient
        )
        return kernel_gradient, hidden_gradient

    parts = [_split(x, chunks) for x in (hidden, targets, cotangent)]
    kernel_gradient, hidden_gradient = jax.lax.scan(
        piece, _gradient_sum(kernel, wanted is not None), parts, unroll=chunks == 1
    )
    if kernel_gradient is not None:
        kernel_gradient = kernel_gradient.astype(kernel.dtype)
    return _join(hidden_gradient), kernel_gradient, None


_log_probabilities.defvjp(
    _log_probabilities_forward, _log_probabilities_backward, symbolic_zeros=True
)
