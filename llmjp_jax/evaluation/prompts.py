"""Prompts: instruction, shots and input in the text of a template. What a model is then asked is `asking.py`.

A template is plain text with places for them; all other braces, in it or in what is filled in, are text. llm-jp-eval 1.3
reads them as LangChain does, which `compat` reproduces.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
import string
from collections.abc import Sequence
from typing import Protocol

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import ReferenceStops, check_compat

_PLACE = re.compile(r"\{(instruction|few_shots_text|input|output)\}")
_INPUT = "{input}"


class Shot(Protocol):
    """A worked example: anything with an input and an output, such as `task_files.Sample`."""

    input: str
    output: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """The text around an instruction, its shots and an input.

    Attributes:
      name: under which `find_template` finds it, or one's own.
      text: with {instruction} and {input}, and {few_shots_text} where shots go.
      shot: the text of one shot, with {input} and {output}.

    Raises:
      UserError: a place is missing, or stands twice.
    """

    name: str
    text: str
    shot: str

    def __post_init__(self):
        for field, needed, allowed in (
            ("text", ("instruction", "input"), ("few_shots_text",)),
            ("shot", ("input", "output"), ()),
        ):
            places = _PLACE.findall(getattr(self, field))
            for place in needed:
                if places.count(place) != 1:
                    raise UserError(
                        f"{field} of the prompt template {self.name!r} must have {{{place}}} once, and has it {places.count(place)} times"
                    )
            for place in set(places) - set(needed):
                if place not in allowed or places.count(place) > 1:
                    raise UserError(
                        f"{field} of the prompt template {self.name!r} cannot have {{{place}}} {places.count(place)} times; remove it"
                    )

    @property
    def sha256(self) -> str:
        """Of both texts; its first twelve digits stand beside every number."""
        return hashlib.sha256(f"{self.text}\0{self.shot}".encode()).hexdigest()


_HEADER = "以下は、タスクを説明する指示と、文脈のある入力の組み合わせです。要求を適切に満たす応答を書きなさい。"

PROMPT_TEMPLATES: dict[str, PromptTemplate] = {
    template.name: template
    for template in (
        # llm-jp-eval since 1.1; LLM-jp's instruct models v1.1 and v2.0 were tuned on these words.
        PromptTemplate(
            name="llm_jp_eval_1_3",
            text=_HEADER
            + "\n\n### 指示:\n{instruction}{few_shots_text}\n\n### 入力:\n{input}\n\n### 応答:\n",
            shot="\n\n### 入力:\n{input}\n\n### 応答:\n{output}",
        ),
        # llm-jp-eval 1.0, from a comment in github.com/llm-jp/llm-leaderboard, configs; there without shots.
        # Unsure: how 1.0 wrote shots; here as since 1.1, between instruction and input, with 1.0's own marks.
        PromptTemplate(
            name="llm_jp_eval_1_0",
            text=(
                "以下はタスクを説明する指示と、追加の背景情報を提供する入力の組み合わせです。要求を適切に満たす回答を書いてください。\n"
                "### 指示：\n{instruction}{few_shots_text}\n### 入力：\n{input}\n### 回答：\n"
            ),
            shot="\n### 入力：\n{input}\n### 回答：\n{output}",
        ),
    )
}
DEFAULT_TEMPLATE = "llm_jp_eval_1_3"


def find_template(template: str | PromptTemplate) -> PromptTemplate:
    """The template of that name, or the one given.

    Raises:
      UserError: there is none; it says the nearest name.
    """
    if isinstance(template, PromptTemplate):
        return template
    if template in PROMPT_TEMPLATES:
        return PROMPT_TEMPLATES[template]
    near = difflib.get_close_matches(str(template), PROMPT_TEMPLATES, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}?" if near else "take one of them, or make a PromptTemplate"
    raise UserError(
        f"there is no prompt template {template!r} among {', '.join(map(repr, PROMPT_TEMPLATES))}; {hint}"
    )


def custom_template(text: str, shot: str | None = None) -> PromptTemplate:
    """A template of one's own, as llm-jp-eval's `custom_prompt_template` and `custom_fewshots_template`.

    Args:
      shot: None for llm-jp-eval's own.
    """
    if shot is None:
        shot = PROMPT_TEMPLATES[DEFAULT_TEMPLATE].shot
    return PromptTemplate(name="custom", text=text, shot=shot)


def build_prompt(instruction: str, shots: Sequence[Shot], input: str,
                 template: str | PromptTemplate = DEFAULT_TEMPLATE, *, compat: str | None = None) -> str:  # fmt: skip
    """The prompt of one item.

        build_prompt("足して。", [Sample("1+1", "2")], "2+3", custom_template("{instruction}{few_shots_text}\\n{input}=", "\\n{input}={output}"))
          = "足して。\\n1+1=2\\n2+3="

    Args:
      shots: worked examples, in order.
      compat: 'llm_jp_eval_1_3' reads braces in template, instruction and shots as LangChain's f-string template: "{{" is "{",
        "{input}" is the input.

    Raises:
      UserError: there is no such template, or no place in it for shots.
      ReferenceStops: with compat, where llm-jp-eval 1.3 ends with an exception: at most braces.
    """
    check_compat(compat)
    if not compat:
        return _filled(instruction, shots, input, find_template(template))
    assembled = build_template(instruction, shots, template)
    try:
        # It tries the template on a word before it fills it.
        for value in ("foo", input):
            prompt = string.Formatter().vformat(assembled, (), {"input": value})
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise ReferenceStops(
            # LangChain passes a name that it does not know on as a failed validation.
            "ValidationError" if isinstance(error, KeyError) else type(error).__name__,
            f"it reads braces in the instruction or the shots as places to fill in ({error})",
        ) from None
    return prompt


def build_template(instruction: str, shots: Sequence[Shot],
                   template: str | PromptTemplate = DEFAULT_TEMPLATE) -> str:  # fmt: skip
    """The prompt of a task with a literal {input} in the place of the item's, as in llm-jp-eval's result file."""
    return _filled(instruction, shots, _INPUT, find_template(template))


def _filled(instruction: str, shots: Sequence[Shot], input: str, template: PromptTemplate) -> str:
    if shots and "{few_shots_text}" not in template.text:
        raise UserError(
            f"the prompt template {template.name!r} has no place for {len(shots)} shots; write {{few_shots_text}} into it, or ask for 0 shots"
        )
    few_shots_text = "".join(
        _replaced(template.shot, input=shot.input, output=shot.output) for shot in shots
    )
    return _replaced(template.text, instruction=instruction, few_shots_text=few_shots_text, input=input)  # fmt: skip


def _replaced(text: str, **values: str) -> str:
    return _PLACE.sub(lambda place: values[place.group(1)], text)
