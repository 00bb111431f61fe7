"""What a chat needs besides a template: a prompt that fits into the model, and the end of an answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmjp_jax.conversations.masks import encode_prompt
from llmjp_jax.conversations.records import Conversation
from llmjp_jax.conversations.templates import Template
from llmjp_jax.errors import UserError

if TYPE_CHECKING:
    from llmjp_jax.tokenizer import Vocabulary


@dataclasses.dataclass(frozen=True)
class ChatPrompt:
    """Attributes:
    ids: what the model goes on from.
    dropped: how many of the oldest turns are not in it; even, for a message goes with its answer.
    room: how many new tokens fit behind it.
    """

    ids: list[int]
    dropped: int
    room: int


def fit_prompt(vocabulary: Vocabulary, conversation: Conversation, template: Template, max_length: int,
               max_new_tokens: int) -> ChatPrompt:  # fmt: skip
    """The prompt for the next answer, without the oldest turns where all do not fit.

    Turns are dropped until `max_new_tokens` have room, but for a short model no more than half of its length is kept free.
    The system message and the last message always stay; the latter alone may leave less room.

    Args:
      max_length: the model's longest sequence in tokens.

    Raises:
      UserError: the last message alone leaves no room for a token.
    """
    reserve = min(max_new_tokens, max_length // 2)
    dropped = 0
    while True:
        ids = encode_prompt(vocabulary, conversation, template)
        room = max_length - len(ids)
        if room >= reserve or len(conversation.turns) == 1:
            break
        conversation = Conversation(conversation.turns[2:], conversation.system)
        dropped += 2
    if room < 1:
        raise UserError(
            f"the message makes a prompt of {len(ids)} tokens, and the model's longest sequence is {max_length}; shorten it"
        )
    return ChatPrompt(ids, dropped, min(room, max_new_tokens))


def until(pieces: Iterator[str], stop: str | None) -> Iterator[str]:
    """The text of `pieces` up to the string `stop`, each as soon as it is known not to begin it; None: all of it.

    A model that learned several turns with an eos behind the last alone goes on with the user's next turn.
    """
    if stop is None:
        yield from pieces
        return
    held = ""
    for piece in pieces:
        held += piece
        place = held.find(stop)
        if place >= 0:
            if place:
                yield held[:place]
            return
        keep = next(
            (n for n in range(min(len(stop) - 1, len(held)), 0, -1) if held.endswith(stop[:n])), 0
        )
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held
