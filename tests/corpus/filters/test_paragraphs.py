"""What the paragraphs of a document are, and which of them runs remove (cases of Uzushio's LargeFreqParagraphsSpec)."""

import pytest

from llmjp_jax.corpus.filters.paragraphs import (
    count_of_share,
    document_text,
    kept_paragraphs,
    paragraphs_of,
    remove_runs,
)


def test_a_document_without_paragraphs_gets_those_of_its_lines_and_keeps_them():
    document = {"text": "一\n\n \u3000\n二\n", "meta": {}}
    assert document_text(document) == "一\n\n \u3000\n二\n"
    paragraphs = paragraphs_of(document)
    assert paragraphs == [{"path": "", "text": "一"}, {"path": "", "text": "二"}]
    assert paragraphs_of(document) is paragraphs is document["paragraphs"]
    assert document_text(document) == "一\n二"


def test_paragraphs_are_the_truth_and_removed_ones_stay_in_their_place():
    document = {"text": "old", "meta": {}, "paragraphs": [
        {"path": "p", "text": "a"}, {"path": "p", "text": "b", "removed": "x"}, {"path": "p", "text": "c"},
    ]}  # fmt: skip
    assert document_text(document) == "a\nc"
    assert [one["text"] for one in kept_paragraphs(document)] == ["a", "c"]
    assert len(paragraphs_of(document)) == 3
    assert document_text({"text": "old", "meta": {}, "paragraphs": []}) == ""


def test_a_share_of_a_count_is_cut_as_java_cuts_it():
    assert [count_of_share(n, 0.05) for n in (0, 19, 20, 39, 40, 60, 140)] == [0, 0, 1, 1, 2, 3, 7]
    assert [count_of_share(n, 0.1) for n in (9, 10, 30, 70)] == [0, 1, 3, 7]


# x: bad; .: good; what stays after is written below it.
RUNS = [
    ("", ""),
    ("...", "..."),
    ("xxx", "   "),
    ("xxx.", "   ."),
    ("xx..", "  .."),
    ("x...", " ..."),
    (".xxx", ".   "),
    ("..xx", "..  "),
    ("...x", "... "),
    ("..x..", "..x.."),
    ("..xx..", "..xx.."),
    (".xxx.", ".   ."),
    (".xxxx.", ".    ."),
    ("xx..xx", "  ..  "),
    (".xx.xx.", ".xx.xx."),
    # Of the three before one of a run, the bad ones go with it.
    (".xx.xxx", ".  .   "),
    (".x.xxx.", ". .   ."),
    (".x...xxx.", ".x...   ."),
    (".x..xxx.", ". ..   ."),
    (".xxxxxxx.", ".       ."),
]


@pytest.mark.parametrize(("before", "after"), RUNS)
def test_runs_of_three_are_removed(before, after):
    paragraphs = [{"path": "", "text": str(place)} for place in range(len(before))]
    remove_runs(paragraphs, [one == "x" for one in before], 3, "step")
    left = "".join(
        " " if "removed" in one else sign for one, sign in zip(paragraphs, before, strict=True)
    )
    assert left == after


def test_an_earlier_removal_stands_in_a_run_and_keeps_its_reason():
    paragraphs = [{"text": str(place)} for place in range(5)]
    paragraphs[2]["removed"] = "earlier"
    remove_runs(paragraphs, [False, True, True, True, False], 3, "step")
    assert [one.get("removed") for one in paragraphs] == [None, "step", "earlier", "step", None]
