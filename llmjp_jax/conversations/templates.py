"""How LLM-jp writes a conversation as text, era by era: the strings, and the same rules as Hugging Face's `chat_template`.

Ids and loss weights are `masks.py`; what a conversation is, `records.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib

from llmjp_jax.conversations.records import Conversation
from llmjp_jax.errors import UserError

Span = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A conversation as text, without special tokens.

    Attributes:
      text: what is tokenised.
      spans: where each response lies in it, [start, end) in characters.
      ends: the places, in characters, where an eos follows: the end of a conversation that ends with a response, and with
        some templates that of every response.
    """

    text: str
    spans: tuple[Span, ...]
    ends: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Template:
    """The strings around the turns of a conversation.

        header, then for each turn: before_instruction, instruction [, before_input, input], before_response, response

    Attributes:
      name: under which `get_template` finds it.
      header, header_with_input: what opens a text, without and with an input. A system message takes their place.
      before_system, after_system: stand around a system message.
      before_instruction, before_input, before_response: stand before a user's text, its input, and a response.
      between_turns: stands before each user's text but the first.
      instruction_marker, response_marker: by which a finished text is taken apart (`masks.response_spans`). With no
        instruction marker only the last response of a text counts, as in LLM-jp's trainer of 2023-10.
      rewrites: (old, new) pairs, made in a finished text before it is tokenised.
      eos_after_each_response: an eos ends every response; else only the last.
      bos: a bos opens the text.
      published: sha256 of chat templates by which others published these rules (see `chat_template_name`).
    """

    name: str
    header: str
    header_with_input: str
    before_system: str = ""
    after_system: str = ""
    before_instruction: str
    before_input: str
    before_response: str
    between_turns: str = ""
    instruction_marker: str | None
    response_marker: str
    rewrites: tuple[tuple[str, str], ...] = ()
    eos_after_each_response: bool = False
    bos: bool = False
    published: tuple[str, ...] = ()

    def __post_init__(self):
        for field in ("before_input", "before_response", "response_marker"):
            if not getattr(self, field):
                raise UserError(
                    f"{field} = '' must not be empty, for it tells one part from the next"
                )

    def render(self, conversation: Conversation, generation_prompt: bool = False) -> Rendered:
        """The text of a conversation.

            get_template("v1.0").render(Conversation((Turn("user", "一番高い山は？"), Turn("assistant", "富士山"))))
              -> Rendered("一番高い山は？ ### 回答：富士山", spans=((15, 18),), ends=(18,))

        Args:
          generation_prompt: ends the text with what stands before a response, for a model to go on from.

        Raises:
          UserError: a generation prompt is asked for after a response.
        """
        if generation_prompt and conversation.answered:
            raise UserError(
                "a generation prompt follows a user's text, and this conversation ends with a response; remove the response"
            )
        first, *others = conversation.turns
        content = first.text
        if conversation.input is not None:
            content += self.before_input + conversation.input
        text = self._opening(conversation.system, content) + self.before_instruction + content
        spans = []
        for turn in others:
            if turn.role == "user":
                text += self.between_turns + self.before_instruction + turn.text
            else:
                text += self.before_response
                spans.append((len(text), len(text) + len(turn.text)))
                text += turn.text
        if generation_prompt:
            text += self.before_response
        if self.eos_after_each_response:
            ends = tuple(end for _, end in spans)
        else:
            ends = (len(text),) if conversation.answered else ()
        return Rendered(text, tuple(spans), ends)

    def _opening(self, system: str | None, first: str) -> str:
        if system is not None:
            return self.before_system + system + self.after_system
        # Messages have no field for an input: it stands in the first one, behind its marker.
        return self.header_with_input if self.before_input in first else self.header

    @property
    def chat_template(self) -> str:
        """The same rules in Jinja, for `transformers`: `apply_chat_template(messages, tokenize=False)` gives `render`'s text.

        An input stands in the first user's content: instruction + `before_input` + input. Where an eos ends every
        response the string has its name (and bos's in front), as `tokenize=True` needs; where only the end of the text has
        one, the string has none: the tokenizer itself appends it, as it does in LLM-jp's v2.x.
        """
        bos = "{{ bos_token }}" if self.bos else ""
        eos = " + eos_token" if self.eos_after_each_response else ""
        between = _quoted(self.between_turns)
        return (
            f"{bos}{{% if messages[0]['role'] == 'system' %}}"
            "{% set turns = messages[1:] %}"
            f"{{{{ {_quoted(self.before_system)} + messages[0]['content'] + {_quoted(self.after_system)} }}}}"
            "{% else %}{% set turns = messages %}"
            f"{{% if {_quoted(self.before_input)} in messages[0]['content'] %}}"
            f"{{{{ {_quoted(self.header_with_input)} }}}}{{% else %}}{{{{ {_quoted(self.header)} }}}}{{% endif %}}"
            "{% endif %}{% for turn in turns %}"
            "{% if turn['role'] != ('user' if loop.index0 % 2 == 0 else 'assistant') %}"
            "{{ raise_exception('after an optional system message, user and assistant must take turns') }}{% endif %}"
            "{% if turn['role'] == 'user' %}"
            f"{{{{ ('' if loop.first else {between}) + {_quoted(self.before_instruction)} + turn['content'] }}}}"
            f"{{% else %}}{{{{ {_quoted(self.before_response)} + turn['content']{eos} }}}}{{% endif %}}"
            f"{{% endfor %}}{{% if add_generation_prompt %}}{{{{ {_quoted(self.before_response)} }}}}{{% endif %}}"
        )


def _quoted(text: str) -> str:
    """A Jinja string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


# v1.0, October 2023. github.com/llm-jp/llm-jp-sft, commit 3b0b97d, README: one line, `### 指示：… ### 質問：… ### 回答：…`, loss
# after `回答：`, which the data had as `### 応答：` before; without an input the instruction stands bare (LLM-jp's
# evaluation of v1.0: `{instruction} ### 回答：`). Unsure: how several turns were joined; here by a space.
_V1_0 = Template(
    name="v1.0",
    header="",
    header_with_input="### 指示：",
    before_system="### 指示：",
    after_system=" ### 質問：",
    before_instruction="",
    before_input=" ### 質問：",
    before_response=" ### 回答：",
    between_turns=" ",
    instruction_marker=None,
    response_marker=" 回答：",
    rewrites=(("### 応答：", "### 回答："),),
)

# Since 2023-12-25, for the instruct models v1.1 and v2.0. github.com/llm-jp/llm-jp-sft, README and train.py at ee864f4;
# several turns, after one header: github.com/llm-jp/llm-jp-dpo, train.py.
_HEADER = "以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。"
_V1_1 = Template(
    name="v1.1",
    header=_HEADER,
    header_with_input="以下は、タスクを説明する指示と、文脈のある入力の組み合わせです。要求を適切に満たす応答を書きなさい。",
    before_instruction="\n\n### 指示:\n",
    before_input="\n\n### 入力:\n",
    before_response="\n\n### 応答:\n",
    instruction_marker="\n\n### 指示:\n",
    response_marker="\n\n### 応答:\n",
)

# LLM-jp-3 instruct: `chat_template` in tokenizer_config.json of huggingface.co/llm-jp/llm-jp-3-13b-instruct, as quoted by
# programs that use it (unsure: not read from the model itself). It writes its header in place of any system message and
# none without one; its model card always gives that very message. Here the header is the default and another
# system message is kept. Unsure: how an input was written; here as in v1.1, under the one header.
_LLM_JP_3 = dataclasses.replace(
    _V1_1,
    name="llm_jp_3",
    header_with_input=_HEADER,
    eos_after_each_response=True,
    bos=True,
    published=("a33e73d8d611c58254e0e314555b8cb689e50b15066ed5098526467b49374a5d",),
)

TEMPLATES: dict[str, Template] = {template.name: template for template in (_V1_0, _V1_1, _LLM_JP_3)}


def get_template(name: str) -> Template:
    """The template of that name.

    Raises:
      UserError: there is none; it says the nearest name.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    near = difflib.get_close_matches(str(name), TEMPLATES, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}?" if near else "take one of them"
    raise UserError(
        f"there is no template {name!r} among {', '.join(map(repr, TEMPLATES))}; {hint}"
    )


def chat_template_name(chat_template: str) -> str | None:
    """The name of the template whose rules a Hugging Face `chat_template` states; None if it is none of ours.

    It is one that we wrote, or one that LLM-jp published with a model.
    """
    # A newline inside a Jinja string may be written out.
    digest = hashlib.sha256(chat_template.strip().replace("\n", "\\n").encode()).hexdigest()
    for template in TEMPLATES.values():
        if chat_template.strip() == template.chat_template or digest in template.published:
            return template.name
    return None
