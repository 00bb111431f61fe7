"""A model answers JBBQ: by the number that it writes, or by the number that it finds likeliest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.prompts import build_prompt
from llmjp_jax.evaluation.task_files import Sample
from llmjp_jax.safety.jbbq import BiasQuestion
from llmjp_jax.safety.results import safety_facts

if TYPE_CHECKING:
    from llmjp_jax.language_model import LanguageModel

METHODS = ("generate", "logprobs")
_NUMBERS = ("0", "1", "2")


def jbbq_prompts(
    questions: Sequence[BiasQuestion],
    shots: Mapping[str, Sequence[BiasQuestion]],
    template: str = "llm_jp_eval_1_3",
) -> list[str]:
    """The prompt of each question, with the shots of its category: Nejumi's instruction in llm-jp-eval's template."""
    instruction = safety_facts("jbbq")["instruction"]
    shown = {
        category: [Sample(each.input, str(each.label)) for each in found]
        for category, found in shots.items()
    }
    return [
        build_prompt(instruction, shown.get(question.category, ()), question.input, template)
        for question in questions
    ]


def generated(
    model: LanguageModel, prompts: Sequence[str], *, max_new_tokens: int, batch_size: int
) -> list[dict[str, Any]]:
    """What the model writes after each prompt, greedily: {"raw": text}."""
    texts = model.generate(prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
    return [{"raw": text} for text in texts]


def likeliest(
    model: LanguageModel, prompts: Sequence[str], *, batch_size: int
) -> list[dict[str, Any]]:
    """The likeliest of 0, 1 and 2 after each prompt: {"raw": number, "logprobs": [log p of each]}.

    Log-probabilities are of the tokens that are not the same in all three texts. Numbers that the vocabulary writes with more
    tokens than others are not made up for.
    """
    encode = model.vocabulary.encode
    texts = [[encode(prompt + number) for number in _NUMBERS] for prompt in prompts]
    if any(three[0] == three[1] or three[1] == three[2] or three[0] == three[2] for three in texts):
        raise UserError(
            "the vocabulary writes two of 0, 1 and 2 with the same tokens, so the model cannot tell them apart; "
            "use the method 'generate'"
        )
    scored = iter(model.logprobs([ids for three in texts for ids in three], batch_size=batch_size))
    answers = []
    for three in texts:
        start = len(os.path.commonprefix(three))
        found = [float(next(scored)[start:].astype("float64").sum()) for _ in three]
        answers.append({"raw": _NUMBERS[found.index(max(found))], "logprobs": found})
    return answers


def check_method(method: str) -> None:
    if method not in METHODS:
        raise UserError(f"method = {method!r} is none of {', '.join(METHODS)}")
