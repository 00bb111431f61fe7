"""Prompts of many lengths as few shapes: left padding, length buckets, batches of like lengths.

Every distinct shape costs a compilation, so lengths are rounded up: prompts as `bucket_length` says, room for new tokens
to a multiple of 64. Padding never changes a row's result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from llmjp_jax.errors import UserError

_SMALLEST_BUCKET = 16
# Below, a finer bucket's compilation takes longer than the batches of a call gain by it.
_POWERS_OF_TWO_UNTIL = 256
_ROOM_MULTIPLE = 64
_SHORTEST_PREFIX = 64


def bucket_length(length: int, longest: int) -> int:
    """`length` rounded up, but not beyond `longest`: to 16, 32, 64, 128, 256, then four steps to each doubling.

    300, 513 and 1100 become 320, 640 and 1280.
    """
    length = max(length, _SMALLEST_BUCKET)
    power = 1 << (length - 1).bit_length()
    step = power // 8 if power > _POWERS_OF_TWO_UNTIL else power
    return min(-(-length // step) * step, longest)


def room_for(new_tokens: int) -> int:
    """`new_tokens` rounded up to a multiple of 64."""
    return -(-new_tokens // _ROOM_MULTIPLE) * _ROOM_MULTIPLE


def check_prompts(
    prompts: Sequence[Sequence[int]], max_new_tokens: int, vocab_size: int, max_length: int
) -> None:
    """Raises UserError at a prompt that is empty, has ids outside the vocabulary, or leaves too little room."""
    if type(max_new_tokens) is not int or max_new_tokens < 1:
        raise UserError(f"max_new_tokens = {max_new_tokens!r} must be a whole number of at least 1")
    for number, prompt in enumerate(prompts, 1):
        place = f"prompt {number} of {len(prompts)}"
        if len(prompt) == 0:
            raise UserError(f"{place} has no tokens; start it with the id that precedes a document")
        if len(prompt) + max_new_tokens > max_length:
            raise UserError(
                f"{place} has {len(prompt)} tokens and max_new_tokens is {max_new_tokens}, together more than "
                f"the model's longest sequence, {max_length}; shorten one of them"
            )
        if min(prompt) < 0 or max(prompt) >= vocab_size:
            raise UserError(
                f"{place} holds a token id outside 0 .. {vocab_size - 1}; "
                "encode it with the vocabulary that the model was trained with"
            )


def left_pad(prompts: Sequence[Sequence[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [batch, length] int32 with zeros on the left, and where each row starts, [batch] int32.

    left_pad([[5, 6, 7], [8]], 4) is [[0, 5, 6, 7], [0, 0, 0, 8]], [1, 3].
    """
    tokens = np.zeros((len(prompts), length), np.int32)
    start = np.array([length - len(prompt) for prompt in prompts], np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, start[row] :] = prompt
    return tokens, start


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices in groups of at most `batch_size`, longest first: the first batch needs the most memory."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with; each keeps one of its own, and below 64 it is 0: too few to be worth it."""
    if len(prompts) < 2:
        return 0
    # The first and the last in lexicographic order are those that differ the earliest.
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    most = min(len(prompt) for prompt in prompts) - 1
    alike = next(
        (i for i, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), most
    )
    length = min(alike, most)
    return length if length >= _SHORTEST_PREFIX else 0
