"""Steps: names become functions, mistakes are named, and the counts are those of a plain loop."""

import pytest

from llmjp_jax.corpus.filters import FILTERS, MAPS
from llmjp_jax.corpus.pipeline.steps import Chain, parse_steps
from llmjp_jax.errors import UserError

WRITTEN = ["not_empty", ("is_japanese", {"lookup": 5}), "extract_japanese", "not_empty"]


def test_labels_name_parameters_and_are_unique():
    steps = parse_steps(WRITTEN, "ja: steps")
    assert [step.label for step in steps] == [
        "not_empty",
        "is_japanese(lookup=5)",
        "extract_japanese",
        "not_empty #2",
    ]
    assert [step.kind for step in steps] == ["filter", "filter", "map", "filter"]


def test_a_long_list_and_a_path_are_short_in_a_label():
    (step,) = parse_steps([("not_pile_set", {"names": ["a", "b"]})], "")
    assert step.label == "not_pile_set(names=2 values)"
    (step,) = parse_steps([("adult", {"limit": 3, "word_list": "/some/where/words.txt"})], "")
    assert step.label == "adult(limit=3, word_list=words.txt)"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("is_japanes", "ja: steps names the step is_japanes, which there is not; did you mean is_japanese?"),
        (("is_japanese", {"lokup": 5}), "is_japanese has wrong parameters .*it takes lookup"),
        ("is_japanese", "missing a required.* argument: 'lookup'"),
        (("not_empty", 3), "has the entry"),
        (3, "has the entry 3; write 'name'"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(written, message):
    with pytest.raises(UserError, match=message) as error:
        parse_steps([written], "ja: steps")
    assert "\n" not in str(error.value)


def test_no_name_is_both_a_filter_and_a_map():
    assert not set(FILTERS) & set(MAPS)


def test_counts_are_those_of_a_plain_loop():
    chain = Chain(parse_steps(WRITTEN, ""))
    texts = ["", "日本語は\nEnglish\nこう", "English", "    ", "あ"]
    dropped = []
    for text in texts:
        document, reason = chain.run({"text": text, "meta": {}}, len(text.encode()))
        dropped.append(reason)
    assert dropped == ["not_empty", None, "is_japanese(lookup=5)", "not_empty", None]
    sizes = [len(text.encode()) for text in texts]
    assert chain.counts["not_empty"] == [5, 3, sum(sizes), sizes[1] + sizes[2] + sizes[4]]
    assert chain.counts["is_japanese(lookup=5)"] == [3, 2, sizes[1] + sizes[2] + 3, sizes[1] + 3]
    left = len("日本語はこう".encode()) + 3
    assert chain.counts["extract_japanese"] == [2, 2, sizes[1] + 3, left]
    assert chain.counts["not_empty #2"] == [2, 2, left, left]
