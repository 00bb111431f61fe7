"""Frequent paragraphs and frequent documents."""

import numpy as np
import pytest

from llmjp_jax.corpus.filters.frequency import (
    deduplicate_documents_percentile,
    document_random,
    large_freq_paragraphs,
)
from llmjp_jax.corpus.filters.paragraphs import document_text


def document(frequencies, identifier="id") -> dict:
    paragraphs = [
        {"path": "body>p", "text": str(place), **({} if freq is None else {"near_freq": freq})}
        for place, freq in enumerate(frequencies)
    ]
    return {"text": "", "meta": {"docId": identifier}, "paragraphs": paragraphs}


def test_a_run_of_frequent_paragraphs_is_removed_at_the_limit_and_not_under_it():
    one = large_freq_paragraphs(document([1, 100, 100, 100, 1]), count=3, freq=100)
    assert document_text(one) == "0\n4"
    assert one["paragraphs"][1]["removed"] == "large_freq_paragraphs"
    assert (
        document_text(large_freq_paragraphs(document([1, 100, 99, 100, 1]), count=3, freq=100))
        == "0\n1\n2\n3\n4"
    )
    assert (
        document_text(large_freq_paragraphs(document([1, 100, 100, 1]), count=3, freq=100))
        == "0\n1\n2\n3"
    )
    assert document_text(large_freq_paragraphs(document([None, None]), count=3, freq=2)) == "0\n1"


# Worked out by hand from Uzushio's hash: state 0xdeadbeeffeed133; for each UTF-16 unit, and at the end for their count v,
# state = rotate_right((v + 1442695040888963407 ^ state) * 6364136223846793005 mod 2^64, 23); the low 54 bits over 2^54.
@pytest.mark.parametrize("identifier", ["abc", "f1a9564a-ae00-40ef-838e-a4486a83fd1d", "文書𠮷"])
def test_the_random_number_of_a_document_is_uzushios(identifier):
    mask = np.uint64(2**64 - 1)
    units = np.frombuffer(identifier.encode("utf-16-le"), np.uint16).astype(np.uint64)
    state = np.uint64(0xDEADBEEFFEED133)
    with np.errstate(over="ignore"):
        for value in [*units, np.uint64(len(units))]:
            state = ((value + np.uint64(1442695040888963407)) ^ state) * np.uint64(
                6364136223846793005
            )
            state = (state >> np.uint64(23) | state << np.uint64(41)) & mask
    assert document_random(document([], identifier)) == int(state) % 2**54 / 2**54


def test_random_numbers_are_uniform_and_of_the_text_where_there_is_no_id():
    numbers = [document_random(document([], f"a{place}")) for place in range(2000)]
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert counts.sum() == 2000 and counts.min() > 150 and counts.max() < 250
    first, second = ({"text": text, "meta": {}} for text in ("one", "two"))
    assert document_random(first) == document_random(dict(first)) != document_random(second)


def kept(frequency: int, expected: float) -> set[str]:
    return {
        str(place) for place in range(2000)
        if deduplicate_documents_percentile(document([frequency], str(place)), percentile=0.05, expected=expected)
    }  # fmt: skip


def test_of_a_document_in_many_copies_about_the_expected_number_is_kept():
    assert len(kept(1, 1.0)) == len(kept(5, 5.0)) == 2000
    assert len(kept(10, 5.0)) / 2000 == pytest.approx(5 / 10, abs=0.05)
    assert len(kept(20, 1.5)) / 2000 == pytest.approx(1.5 / 20, abs=0.02)


def test_a_strict_step_keeps_no_document_that_a_mild_one_drops():
    assert kept(20, 1.5) < kept(20, 2.5) < kept(20, 5.0)


def test_the_percentile_is_an_element_of_the_sorted_frequencies_of_kept_paragraphs():
    rare = {"percentile": 0.05, "expected": 0.5}
    # Of 19 paragraphs the first, of 20 the second least frequent one decides.
    identifier = next(
        str(n) for n in range(99) if 0.1 < document_random(document([], str(n))) < 0.4
    )
    assert deduplicate_documents_percentile(document([9000] * 18 + [1], identifier), **rare)
    assert not deduplicate_documents_percentile(document([9000] * 19 + [1], identifier), **rare)
    one = document([9000] * 18 + [1], identifier)
    one["paragraphs"][18]["removed"] = "x"
    assert not deduplicate_documents_percentile(one, **rare)
    assert deduplicate_documents_percentile(document([]), percentile=0.05, expected=0.0)
