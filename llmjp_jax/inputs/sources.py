"""The parts that a mixture is made of, and the pieces of them that a row of a batch is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.token_store import TokenStore


@dataclass(frozen=True)
class Source:
    """One store of a mixture: its Task's name, and its share of the tokens as an integer weight."""

    name: str
    weight: int
    store: TokenStore = field(repr=False)

    def __post_init__(self):
        if not isinstance(self.weight, int) or self.weight < 1:
            raise UserError(
                f"the weight of {self.name} is {self.weight!r}; it must be a positive integer"
            )


class Span(NamedTuple):
    """Tokens start..stop-1 of a store's documents joined, which lie in documents first_document..stop_document-1."""

    start: int
    stop: int
    first_document: int
    stop_document: int
