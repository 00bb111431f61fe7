"""Statistics of tasks add up to those of the whole, however documents are dealt to tasks."""

import random
from collections import Counter

from llmjp_jax.corpus.pipeline.statistics import (
    LENGTH_EDGES,
    Broken,
    Histograms,
    Samples,
    merge_broken,
    merge_histograms,
    merge_samples,
    merge_steps,
)

TEXTS = [f"文書{n} " + "あ" * (n % 50) for n in range(300)]


def documents():
    # Every text twice: a sample is of different texts.
    return [{"text": text, "meta": {"id": str(n)}} for n, text in enumerate(TEXTS * 2)]


def test_a_sample_does_not_depend_on_how_documents_are_dealt():
    whole = Samples()
    for document in documents():
        whole.add(document)
    expected = merge_samples([whole.json()])
    assert len(expected) == len({one["text"] for one in expected}) == 5
    for seed in range(5):
        choice = random.Random(seed)
        parts = [Samples() for _ in range(4)]
        shuffled = documents()
        choice.shuffle(shuffled)
        for document in shuffled:
            choice.choice(parts).add(document)
        assert merge_samples(part.json() for part in parts) == expected


def test_a_sample_is_not_the_first_documents():
    whole = Samples()
    for document in documents():
        whole.add(document)
    assert {one["id"] for one in whole.json()} != {"0", "1", "2", "3", "4"}


def test_every_length_falls_between_its_edges():
    lengths = [0, 1, 2, 3, 4, 7, 8, 1023, 1024, 2**25]
    histograms = Histograms()
    for length in lengths:
        histograms.add("a" * length)
    expected = Counter(max(i for i, edge in enumerate(LENGTH_EDGES) if edge <= n) for n in lengths)
    assert histograms.json()["length"] == [expected[i] for i in range(len(LENGTH_EDGES))]


def test_scripts_are_counted_by_character():
    histograms = Histograms()
    histograms.add("ひらカタｶﾅ漢字々𩸽abＡ1２ \n\u3000。!🍣ー")
    assert histograms.json()["script"] == {
        "hiragana": 2, "katakana": 5, "han": 4, "latin": 3, "digit": 2, "space": 3, "other": 3,
    }  # fmt: skip


def test_parts_add_up():
    whole, parts = Histograms(), [Histograms() for _ in range(3)]
    for n, text in enumerate(TEXTS):
        whole.add(text)
        parts[n % 3].add(text)
    assert merge_histograms([part.json() for part in parts]) == whole.json()
    assert merge_steps([{"a": [3, 2, 30, 20]}, {"a": [1, 1, 5, 5], "b": [1, 0, 5, 0]}]) == {
        "a": [4, 3, 35, 25],
        "b": [1, 0, 5, 0],
    }


def test_broken_records_are_counted_by_reason_without_their_details():
    parts = [Broken(), Broken()]
    parts[0].add("a.jsonl", "line 1", "the line is not JSON (unexpected end)")
    parts[1].add("b.jsonl", "line 9", "the line is not JSON (invalid UTF-8)")
    parts[1].add("b.jsonl", "byte 0", "the file is empty")
    merged = merge_broken(part.json() for part in parts)
    assert merged["total"] == 3
    assert merged["by_reason"] == {"the line is not JSON": 2, "the file is empty": 1}
    assert merged["examples"][1] == {
        "file": "b.jsonl", "position": "line 9", "reason": "the line is not JSON (invalid UTF-8)",
    }  # fmt: skip
