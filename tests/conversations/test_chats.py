"""A chat's prompt fits into the model whatever was said, and an answer ends where the user's turn would begin."""

import itertools

import pytest

from llmjp_jax.conversations import (
    Conversation,
    Turn,
    encode_prompt,
    fit_prompt,
    get_template,
    until,
)
from llmjp_jax.errors import UserError

V1_1 = get_template("v1.1")


def conversation(count: int, **fields) -> Conversation:
    return Conversation(tuple(Turn(("user", "assistant")[i % 2], f"{i}番目の話。") for i in range(count)), **fields)  # fmt: skip


def test_the_oldest_turns_are_dropped_until_the_rest_has_room(released):
    vocabulary, whole = released["v2.1-50k"], conversation(21, system="短く。")
    lengths = [
        len(encode_prompt(vocabulary, Conversation(whole.turns[n:], whole.system), V1_1))
        for n in range(0, 21, 2)
    ]
    for max_length in range(lengths[-1] + 1, lengths[0] + 40):
        prompt = fit_prompt(vocabulary, whole, V1_1, max_length, max_new_tokens=30)
        reserve = min(30, max_length // 2)
        fitting = [2 * n for n, length in enumerate(lengths) if length + reserve <= max_length]
        assert prompt.dropped == (fitting[0] if fitting else 20)
        kept = Conversation(whole.turns[prompt.dropped :], whole.system)
        assert prompt.ids == encode_prompt(vocabulary, kept, V1_1)
        assert prompt.room == min(30, max_length - len(prompt.ids)) >= 1
    assert prompt.dropped == 0
    with pytest.raises(UserError, match=f"a prompt of {lengths[-1]} tokens, and the model's longest sequence is {lengths[-1]}; shorten"):  # fmt: skip
        fit_prompt(vocabulary, whole, V1_1, lengths[-1], max_new_tokens=30)


def test_the_input_goes_with_the_first_turn(released):
    whole = conversation(3, input="長い文。" * 50)
    prompt = fit_prompt(released["v2.1-50k"], whole, V1_1, 100, max_new_tokens=30)
    assert prompt.ids == encode_prompt(released["v2.1-50k"], Conversation(whole.turns[2:]), V1_1)


def test_text_ends_before_the_stop_however_it_is_cut():
    stop = "\n\n###"
    for text, expected in [
        ("ab\n\n### c", "ab"),
        ("a\n\nb\n", "a\n\nb\n"),
        ("\n\n\n### c", "\n"),
        ("\n\n###", ""),
        ("a\n\n## ", "a\n\n## "),
        ("", ""),
    ]:
        for cuts in itertools.product([False, True], repeat=max(0, len(text) - 1)):
            pieces, last = [], 0
            for place, cut in enumerate(cuts, 1):
                if cut:
                    pieces.append(text[last:place])
                    last = place
            pieces.append(text[last:])
            assert "".join(until(iter(pieces), stop)) == expected
    assert list(until(iter(["a", "\n"]), None)) == ["a", "\n"]


def test_text_that_cannot_begin_the_stop_is_not_held_back():
    seen = []

    def pieces():
        for piece in ("a", "b\n", "c", "\n\n", "d"):
            seen.append("given")
            yield piece

    for piece in until(pieces(), "\n\n###"):
        seen.append(piece)
    assert seen == ["given", "a", "given", "b", "given", "\nc", "given", "given", "\n\nd"]
