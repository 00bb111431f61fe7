"""What is asked of a model: after how many tokens of its training data it writes the next ones. Asking is in `asking`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from llmjp_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Prefixes of several lengths before one and the same continuation, so that the lengths can be compared.

    The numbers are those of LLM-jp's memorization-analysis: lengths 100, 200, 500 and 1,000, a continuation of 50 tokens that
    ends at one place of a training row, greedy decoding that does not stop at an end of a document, Min-K% with K = 20. Its
    script counts the 50 tokens in (its length 100 is 50 tokens of prompt); here, as in Carlini et al., 'Quantifying
    Memorization Across Neural Language Models' (2023), a prefix is what the model is shown, so 50, 150, 450 and 950 ask what
    that script asked. Which of the two LLM-jp's published numbers mean is unsure.

    Attributes:
      prefix_lengths: tokens shown, ascending, each once.
      continuation: tokens that follow.
      min_k_percent: K of Min-K% Prob (Shi et al., 2023).
    """

    prefix_lengths: tuple[int, ...] = (100, 200, 500, 1000)
    continuation: int = 50
    min_k_percent: float = 20.0

    def __post_init__(self):
        lengths = self.prefix_lengths
        if not lengths or any(type(length) is not int or length < 1 for length in lengths):
            raise UserError(f"prefix_lengths = {lengths!r} must be whole numbers of at least 1")
        object.__setattr__(self, "prefix_lengths", tuple(sorted(set(lengths))))
        if type(self.continuation) is not int or self.continuation < 1:
            raise UserError(f"continuation = {self.continuation!r} must be a whole number of at least 1")  # fmt: skip
        if not 0 < self.min_k_percent <= 100:
            raise UserError(f"min_k_percent = {self.min_k_percent!r} must be above 0 and at most 100")  # fmt: skip

    @property
    def length(self) -> int:
        """Tokens of the longest prefix and the continuation."""
        return self.prefix_lengths[-1] + self.continuation

    def fitted(self, room: int, whose: str) -> tuple[Protocol, list[str]]:
        """The protocol with the prefixes that fit, and a sentence about the others, if there are others.

        Args:
          room: tokens that prefix and continuation may have together.
          whose: what has so many, for the sentence: 'the model's longest sequence'.

        Raises:
          UserError: none fits.
        """
        fitting = tuple(k for k in self.prefix_lengths if k + self.continuation <= room)
        left = [k for k in self.prefix_lengths if k not in fitting]
        if not fitting:
            most = room - self.continuation
            fix = (
                f"give --prefix_lengths= of at most {most}"
                if most > 0
                else "give a smaller --continuation= and --prefix_lengths="
            )
            raise UserError(
                f"no prefix of {_listed(left)} tokens with the {self.continuation} that follow fits in {whose}, {room} tokens; {fix}"
            )
        if not left:
            return self, []
        sentence = (
            f"prefixes of {_listed(left)} tokens are left out: with the {self.continuation} that follow they are longer than "
            f"{whose}, {room} tokens"
        )
        return dataclasses.replace(self, prefix_lengths=fitting), [sentence]


def _listed(lengths: Sequence[int]) -> str:
    return ", ".join(map(str, lengths))
