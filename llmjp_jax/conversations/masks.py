"""Token ids of a record and which of them carry loss: the responses, found by character offset, and the eos that ends them.

The same tokens as TRL's `DataCollatorForCompletionOnlyLM` as LLM-jp called it, and as its `DPOTrainer.tokenize_row`
(github.com/llm-jp/llm-jp-sft, llm-jp-dpo); but special tokens' names in a text are text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from llmjp_jax.conversations.records import Conversation, Pair, Text
from llmjp_jax.conversations.templates import Rendered, Span, Template
from llmjp_jax.errors import UserError

if TYPE_CHECKING:
    from llmjp_jax.tokenizer import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """Attributes: ids [n] int32; weights [n] uint8, 1 where the token carries loss."""

    ids: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prompt_length(self) -> int:
        """How many tokens stand before the first that carries loss; all of them if none does."""
        return int(np.argmax(self.weights)) if self.weights.any() else len(self.weights)

    def part(self, start: int, stop: int | None = None) -> Encoded:
        """The tokens [start, stop)."""
        return Encoded(self.ids[start:stop], self.weights[start:stop])


def encode(vocabulary: Vocabulary, record: Conversation | Text, template: Template, max_length: int | None = None,
           keep_end: bool = False, bos: bool = False) -> Encoded:  # fmt: skip
    """The tokens of a record, eos behind, and their weights.

        富士山 is one token, です。 two:   ... ### 応 答 :  \\n 富士山 です 。 <EOD>
                            weights   0   0   0  0  0  0  1      1    1  1

    Args:
      record: a conversation that ends with a response, or a finished text.
      max_length: longest result in tokens, bos and eos included; None for any length. What is cut is the end, eos with
        it, so that a cut response never looks finished.
      keep_end: eos takes the last place of a cut text, as in TRL; a part that is cut off then has no say in what is a
        response.
      bos: put bos in front; a template that says so does in any case.

    Raises:
      UserError: the conversation ends with the user's turn, or the vocabulary has no eos, or no bos where one is needed.
    """
    if isinstance(record, Conversation) and not record.answered:
        raise UserError("the conversation ends with the user's turn; a response must end it")
    if isinstance(record, Text):
        text = record.text
        for old, new in template.rewrites:
            text = text.replace(old, new)
        rendered = _taken_apart(text, template)
    else:
        rendered = template.render(record)
    tokens = _Tokens(vocabulary, rendered, bos or template.bos)
    if max_length is None or len(tokens.ids) <= max_length:
        return tokens.weighted(rendered.spans)
    if not keep_end:
        return tokens.weighted(rendered.spans).part(0, max_length)
    tokens.cut(max_length - 1)
    kept = rendered.text[: tokens.stops[-1] if tokens.stops else 0]
    if isinstance(record, Text):
        spans = response_spans(kept, template)
    else:
        spans = [
            (start, min(end, len(kept))) for start, end in rendered.spans if start <= len(kept)
        ]
    tokens.add_eos(len(kept))
    return tokens.weighted(spans)


def encode_pair(vocabulary: Vocabulary, pair: Pair, template: Template, bos: bool = False) -> tuple[Encoded, Encoded]:  # fmt: skip
    """The prompt with the chosen and with the rejected answer; only the answer and its eos carry loss.

    Raises:
      UserError: the vocabulary has no eos, or no bos where one is needed.
    """

    def encoded(answer: str) -> Encoded:
        rendered = template.render(pair.conversation.with_turn("assistant", answer))
        return _Tokens(vocabulary, rendered, bos or template.bos).weighted(rendered.spans[-1:])

    return encoded(pair.chosen), encoded(pair.rejected)


def encode_prompt(
    vocabulary: Vocabulary, conversation: Conversation, template: Template
) -> list[int]:
    """The tokens after which a model writes the next response, as they stand before it in `encode`.

    Raises:
      UserError: the conversation ends with a response, or the vocabulary lacks a special token that the template needs.
    """
    rendered = template.render(conversation, generation_prompt=True)
    return _Tokens(vocabulary, rendered, template.bos).ids


def truncate_pair(chosen: Encoded, rejected: Encoded, max_length: int, max_prompt_length: int) -> tuple[Encoded, Encoded]:  # fmt: skip
    """Both as short as TRL 0.7.10 makes them: first the prompts keep their ends, then the answers their beginnings.

    Where a prompt and the longer answer exceed `max_length`, the prompt keeps its last `max_prompt_length` tokens; if that
    is not enough the answer keeps its first `max_length - max_prompt_length`. A cut answer has no eos.

    Raises:
      UserError: max_prompt_length leaves no room for an answer.
    """
    if not 0 < max_prompt_length < max_length:
        raise UserError(
            f"max_prompt_length = {max_prompt_length} must be positive and less than max_length = {max_length}"
        )
    answer = max(len(each) - each.prompt_length for each in (chosen, rejected))

    def cut(each: Encoded) -> Encoded:
        prompt = each.prompt_length
        if prompt + answer > max_length:
            each = each.part(max(0, prompt - max_prompt_length))
        prompt = each.prompt_length
        if prompt + answer > max_length:
            each = each.part(0, prompt + max_length - max_prompt_length)
        return each

    return cut(chosen), cut(rejected)


def response_spans(text: str, template: Template) -> list[Span]:
    """Where the responses of a finished text lie, [start, end) in characters, by the template's markers.

    As TRL pairs them: all but what lies between the k-th instruction marker's start and the k-th response marker's end,
    and before the first of these; so odd texts give odd spans. No response or no instruction: no span. With more
    instructions than responses the last one and what follows carry no loss. A template without instruction marker has
    one span, after the last response marker.

        "A\\n\\n### 指示:\\nB\\n\\n### 応答:\\nC\\n\\n### 指示:\\nD"  ->  [the span of C]
    """
    marker = template.response_marker
    ends = [place + len(marker) for place in _places(text, marker)]
    if template.instruction_marker is None:
        return [(ends[-1], len(text))] if ends else []
    starts = list(_places(text, template.instruction_marker))
    if not starts or not ends:
        return []
    masked = [
        (start if k else 0, end) for k, (start, end) in enumerate(zip(starts, ends, strict=False))
    ]
    unanswered = len(ends) < len(starts)
    if unanswered:
        masked.append((starts[-1], len(text)))
    spans, position = [], 0
    for start, end in sorted(masked):
        if start >= end:
            continue  # The response stands before its instruction: TRL's slice is empty.
        if start > position:
            spans.append((position, start))
        position = max(position, end)
    # An empty response at the very end is a span too: its eos carries loss.
    return spans if unanswered else [*spans, (position, len(text))]


def _places(text: str, marker: str) -> Iterator[int]:
    place = text.find(marker)
    while place >= 0:
        yield place
        place = text.find(marker, place + 1)


def _taken_apart(text: str, template: Template) -> Rendered:
    spans = tuple(response_spans(text, template))
    ends = {end for _, end in spans} if template.eos_after_each_response else set()
    return Rendered(text, spans, tuple(sorted(ends | {len(text)})))


class _Tokens:
    """The tokens of a rendered text with the characters that each holds."""

    def __init__(self, vocabulary: Vocabulary, rendered: Rendered, bos: bool):
        if vocabulary.eos_id is None:
            raise UserError(
                f"the vocabulary {vocabulary.path} has no eos, and a response must end with one; give another vocabulary"
            )
        if bos and vocabulary.bos_id is None:
            raise UserError(
                f"the vocabulary {vocabulary.path} has no bos to put before a text; set bos to False"
            )
        self._eos = vocabulary.eos_id
        self.ids: list[int] = [vocabulary.bos_id] if bos else []
        self.starts: list[int] = [-1] if bos else []
        self.stops: list[int] = [0] if bos else []
        self._eos_places: dict[int, int] = {}  # index of an eos -> where in the text it stands
        begin = 0
        for end in rendered.ends:
            self._add(rendered.text[begin:end], begin, vocabulary)
            self.add_eos(end)
            begin = end
        if begin < len(rendered.text):
            self._add(rendered.text[begin:], begin, vocabulary)

    def _add(self, text: str, begin: int, vocabulary: Vocabulary) -> None:
        """Adds a stretch between two special tokens, which is tokenised by itself, as Hugging Face does."""
        ids, spans = vocabulary.offsets(text)
        self.ids += ids
        self.starts += [begin + start for start, _ in spans]
        self.stops += [begin + stop for _, stop in spans]

    def add_eos(self, place: int) -> None:
        self._eos_places[len(self.ids)] = place
        self.ids.append(self._eos)
        self.starts.append(place)
        self.stops.append(place)

    def cut(self, length: int) -> None:
        for column in (self.ids, self.starts, self.stops):
            del column[length:]
        self._eos_places = {
            index: place for index, place in self._eos_places.items() if index < length
        }

    def weighted(self, spans: Iterable[Span]) -> Encoded:
        """A token that begins in a span carries loss; an eos does where it ends one."""
        starts = np.array(self.starts, np.int64)
        weights = np.zeros(len(starts), np.uint8)
        for start, end in spans:
            weights[(start <= starts) & (starts < end)] = 1
        closed = {end for _, end in spans}
        for index, place in self._eos_places.items():
            weights[index] = place in closed
        return Encoded(np.array(self.ids, np.int32), weights)
