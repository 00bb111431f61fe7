"""What a data set for tuning consists of: conversations, finished texts, and pairs of answers.

How they are read is `parsing.py`; how they become text, `templates.py`.
"""

from __future__ import annotations

import dataclasses

from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one side said: `role` is 'user' or 'assistant'."""

    role: str
    text: str

    def __post_init__(self):
        if self.role not in ("user", "assistant"):
            raise UserError(f"role = {self.role!r} must be 'user' or 'assistant'")
        if not isinstance(self.text, str):
            raise UserError(f"text = {self.text!r} must be a string")


@dataclasses.dataclass(frozen=True)
class Conversation:
    """User and assistant in turns, the user first.

    Attributes:
      turns: at least one. A conversation that ends with the user's is a prompt.
      system: a system message; None for the template's own header.
      input: what the first instruction is about, where a data set keeps it apart; None for none.
    """

    turns: tuple[Turn, ...]
    system: str | None = None
    input: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "turns", tuple(self.turns))
        if not self.turns:
            raise UserError("turns = () must hold at least one turn of the user")
        for number, turn in enumerate(self.turns, 1):
            expected = "user" if number % 2 else "assistant"
            if turn.role != expected:
                before = f"after {self.turns[number - 2].role!r}" if number > 1 else "first"
                raise UserError(
                    f"turn {number} has the role {turn.role!r} {before}, where {expected!r} must stand; "
                    "user and assistant take turns, the user first"
                )

    @property
    def answered(self) -> bool:
        """Whether it ends with a response."""
        return self.turns[-1].role == "assistant"

    def with_turn(self, role: str, text: str) -> Conversation:
        """The same with one turn more."""
        return dataclasses.replace(self, turns=(*self.turns, Turn(role, text)))


@dataclasses.dataclass(frozen=True)
class Text:
    """A text that holds prompts and responses already, in some template's form."""

    text: str


@dataclasses.dataclass(frozen=True)
class Pair:
    """A conversation that ends with the user, and two answers of which the first is preferred."""

    conversation: Conversation
    chosen: str
    rejected: str

    def __post_init__(self):
        if self.conversation.answered:
            raise UserError(
                "the prompt of chosen and rejected ends with a response; it must end with the user's turn"
            )


Record = Conversation | Text | Pair
