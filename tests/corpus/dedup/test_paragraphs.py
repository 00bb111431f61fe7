import random
from collections import Counter

import numpy as np
import orjson
import pytest

from llmjp_jax.corpus.dedup import paragraph_stages
from llmjp_jax.corpus.dedup.near_paragraphs import _SORTED, FindNearParagraphs, _Window
from llmjp_jax.corpus.dedup.paragraphs import comparable_text
from llmjp_jax.corpus.dedup.shards import shard_path
from llmjp_jax.corpus.dedup.simhash import code_units, near_duplicates
from llmjp_jax.errors import UserError

from .conftest import edited, run_stages, sentence, write_shards
from .test_simhash import components


def annotate(folder, documents, shards=2, how=None, **parameters):
    """The documents of all shards after the stages."""
    write_shards(folder / "in", documents, shards)
    parameters = {"partitions": 4, **parameters}
    stages = paragraph_stages(
        str(folder / "in"), str(folder / "out"), str(folder / "work"), shards=shards, **parameters
    )
    run_stages(stages, **(how or {}))
    return [
        orjson.loads(line)
        for shard in range(shards)
        for line in shard_path(folder / "out", shard).read_bytes().splitlines()
    ]


def page(*texts):
    paragraphs = [{"path": "html>body>p", "text": text, "link_chars": 1} for text in texts]
    return {"text": "\n".join(texts), "meta": {"url": "u"}, "paragraphs": paragraphs}


def frequencies(documents):
    return [
        [(p["exact_freq"], p["near_freq"]) for p in document["paragraphs"]]
        for document in documents
    ]


LONG = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。"


def test_frequencies_of_a_small_corpus(tmp_path):
    documents = [
        page("ホーム", LONG, "一度だけの段落"),
        page("ホーム", LONG.replace("薄暗い", "うす暗い"), "　 "),
        page(" ホーム\u00a0", LONG, "", "別の話が続いている"),
    ]
    assert frequencies(annotate(tmp_path, documents)) == [
        [(3, 3), (2, 3), (1, 1)],
        [(3, 3), (1, 3), (1, 1)],
        [(3, 3), (2, 3), (1, 1), (1, 1)],
    ]


def test_all_else_of_a_document_is_kept(tmp_path):
    document = page("あいう", "えお")
    document["meta"]["x"] = [1, {"y": None}]
    document["paragraphs"][0]["other"] = 7
    document["paragraphs"][1]["exact_freq"] = document["paragraphs"][1]["near_freq"] = 99
    (result,) = annotate(tmp_path, [document], shards=1)
    for paragraph in document["paragraphs"]:
        paragraph["exact_freq"] = paragraph["near_freq"] = 1
    assert result == document


def test_a_document_without_paragraphs_has_one_a_line(tmp_path):
    documents = [{"text": "あいう\nえおか", "meta": {}}, {"text": "えおか", "meta": {}}]
    results = annotate(tmp_path, documents)
    assert [[p["text"] for p in d["paragraphs"]] for d in results] == [
        ["あいう", "えおか"],
        ["えおか"],
    ]
    assert frequencies(results) == [[(1, 1), (2, 2)], [(2, 2)]]


@pytest.fixture(scope="module")
def corpus():
    """Documents of paragraphs drawn from families of near-duplicates, short and long, and single ones."""
    choice = random.Random(0)
    pool = []
    for length in (5, 12, 17, 24, 35, 80, 250):
        for _ in range(12):
            base = sentence(choice, length)
            pool += [edited(base, choice, choice.randrange(0, 1 + length // 10)) for _ in range(3)]
            pool.append(sentence(choice, length))
    return [page(*choice.choices(pool, k=choice.randrange(0, 9))) for _ in range(150)]


@pytest.fixture(scope="module")
def annotated(tmp_path_factory, corpus):
    return annotate(tmp_path_factory.mktemp("paragraphs"), corpus, shards=1, partitions=1)


def test_in_a_corpus_within_one_window_groups_are_those_of_all_pairs(corpus, annotated):
    counts = Counter(p["text"] for document in corpus for p in document["paragraphs"])
    texts = list(counts)
    pairs = [
        (i, j) for i in range(len(texts)) for j in range(i) if near_duplicates(texts[i], texts[j])
    ]
    assert len(pairs) > 50
    groups = components(pairs, len(texts))
    sums = Counter()
    for text, group in zip(texts, groups, strict=True):
        sums[group] += counts[text]
    near = {text: sums[group] for text, group in zip(texts, groups, strict=True)}
    assert frequencies(annotated) == [
        [(counts[p["text"]], near[p["text"]]) for p in document["paragraphs"]]
        for document in corpus
    ]


@pytest.mark.parametrize(
    ("shards", "parameters", "how"),
    [
        (3, {"partitions": 8}, {}),
        (7, {"partitions": 1}, {"backwards": True}),
        (3, {}, {"times": 2}),
        (2, {"memory_bytes": 4096}, {}),
    ],
)
def test_frequencies_hang_on_the_documents_alone(
    tmp_path, corpus, annotated, shards, parameters, how
):
    assert annotate(tmp_path, corpus, shards, how, **parameters) == annotated
    assert list((tmp_path / "work" / "scratch").iterdir()) == []


def test_small_windows_find_most_pairs_and_do_not_hang_on_partitions(tmp_path, corpus, annotated):
    results = [
        annotate(tmp_path / str(partitions), corpus, partitions=partitions, candidate_bytes=16_000)
        for partitions in (1, 8, 64)
    ]
    assert results[0] == results[1] == results[2]
    all_near = [p["near_freq"] for document in annotated for p in document["paragraphs"]]
    near = [p["near_freq"] for document in results[0] for p in document["paragraphs"]]
    assert all(few <= many for few, many in zip(near, all_near, strict=True))
    assert 0.7 * sum(all_near) < sum(near) < sum(all_near)


def test_more_rotations_find_more(tmp_path, corpus):
    sums = []
    for shifts in (1, 5):
        documents = annotate(
            tmp_path / str(shifts), corpus, candidate_bytes=16_000, num_shifts=shifts
        )
        sums.append(sum(p["near_freq"] for document in documents for p in document["paragraphs"]))
    assert sums[0] < sums[1]


@pytest.mark.parametrize(("range_bits", "pairs"), [(0, 1), (1, 0)])
def test_paragraphs_are_compared_within_a_range_alone(range_bits, pairs):
    """Two equal texts on either side of the middle of all signatures."""
    units = code_units(LONG)
    records = np.zeros(2, _SORTED)
    records["high"], records["hash"] = [2**63 - 1, 2**63 + 2**62 - 1], [5, 6]
    records["bytes"] = 2 * len(units)
    window = _Window(1 << 20, range_bits)
    assert len(window.pairs(records, np.concatenate([units, units]))) == pairs


def test_range_bits_grow_with_the_corpus_up_to_six(tmp_path):
    stage = FindNearParagraphs(
        work=str(tmp_path), shards=1, partitions=2, memory_bytes=1 << 20, num_shifts=5,
        candidate_bytes=10 << 20,
    )  # fmt: skip
    (tmp_path / "counts").mkdir()
    for distinct, bits in (
        (0, 0),
        (20_479, 0),
        (20_480, 1),
        (655_359, 5),
        (655_360, 6),
        (10**8, 6),
    ):
        for partition, size in ((0, distinct // 2), (1, distinct - distinct // 2)):
            with (tmp_path / "counts" / f"{partition:05d}.counted").open("wb") as file:
                file.truncate(16 * size)
        assert stage.range_bits() == bits


def test_paragraphs_are_compared_after_uzushios_cleaning():
    assert comparable_text(" a\t\u00a0b \n \n\u3000c\u3000") == "a b\nc"
    assert comparable_text("　\u00a0\n\t ") == ""


def test_a_number_of_shifts_out_of_range_is_refused():
    with pytest.raises(UserError, match="num_shifts is 0"):
        paragraph_stages("in", "out", "work", shards=1, num_shifts=0)
