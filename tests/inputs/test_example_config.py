"""ExamplesConfig: what it makes of a sequence length, and one sentence for whatever is wrong."""

from __future__ import annotations

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import ExamplesConfig


def test_lengths_follow_from_the_rows_where_they_are_not_given():
    assert ExamplesConfig().limits(2048, pairs=False) == (2048, None)
    assert ExamplesConfig().limits(4096, pairs=True) == (2048, 1024)
    given = ExamplesConfig(max_length=96, max_prompt_length=48)
    assert given.limits(2048, pairs=True) == (96, 48)
    assert given.limits(2048, pairs=False) == (96, None)
    assert ExamplesConfig(packing=False).row_lengths(2048) == (256, 512, 1024, 2048)
    assert ExamplesConfig(packing=False).row_lengths(3) == (1, 3)
    assert ExamplesConfig(packing=False, buckets=[64, 128]).row_lengths(2048) == (64, 128)


def test_an_example_of_one_token_more_than_the_row_has_slots_fits():
    assert ExamplesConfig(max_length=65).limits(64, pairs=False).max_length == 65
    assert ExamplesConfig(max_length=33).limits(64, pairs=True).max_length == 33
    for pairs, longest in ((False, 65), (True, 33)):
        with pytest.raises(UserError, match=f"up to {longest} tokens"):
            ExamplesConfig(max_length=longest + 1).limits(64, pairs)


def test_files_are_one_or_several():
    assert ExamplesConfig(train_files="a.jsonl").train_files == ("a.jsonl",)
    assert ExamplesConfig(train_files=["a", "b"]).train_files == ("a", "b")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"packing": 1}, "packing = 1 must be True or False"),
        ({"bos": None}, "bos = None must be True or False"),
        ({"max_length": 1}, "max_length = 1 must be None or a whole number of at least 2"),
        ({"max_length": 2.0}, "max_length = 2.0 must be"),
        ({"max_prompt_length": 0}, "max_prompt_length = 0 must be"),
        ({"buckets": (8, 4), "packing": False}, "must be rising whole numbers"),
        ({"buckets": (), "packing": False}, "must be rising whole numbers"),
        ({"buckets": 8, "packing": False}, "must be rising whole numbers"),
        ({"buckets": (8, 16)}, "are for padded rows; set packing = False"),
        ({"train_files": ()}, "train_files = .* must be a path or pattern"),
        ({"validation_files": [3]}, "validation_files = .* must be a path or pattern"),
        ({"template": "v1.2"}, "did you mean 'v1.1'"),
        ({"template": None, "train_files": "a.jsonl"}, "need the name of a template"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_its_value(changes, sentence):
    with pytest.raises(UserError, match=sentence) as raised:
        ExamplesConfig(**changes)
    assert "\n" not in str(raised.value)


def test_a_prompt_that_leaves_no_room_for_a_response_is_refused():
    with pytest.raises(UserError, match="max_prompt_length = 8 must be less than max_length = 8"):
        ExamplesConfig(max_length=8, max_prompt_length=8).limits(64, pairs=True)
