import dataclasses
import pickle
import random

import numpy as np
import pytest

from llmjp_jax.corpus.dedup import exact_stages, minhash_stages
from llmjp_jax.corpus.dedup.candidates import BUCKETED, bucket_pairs
from llmjp_jax.corpus.dedup.selection import select
from llmjp_jax.corpus.dedup.shingles import (
    code_points,
    hash_functions,
    jaccard,
    minhash,
    shingle_hashes,
    shingle_set,
)
from llmjp_jax.errors import UserError

from .conftest import edited, run_stages, sentence, write_shards
from .test_exact import removed_by


def deduplicate(folder, texts, shards=3, how=None, **parameters):
    cuts = write_shards(folder / "in", [{"text": text, "meta": {}} for text in texts], shards)
    parameters = {"partitions": 4, **parameters}
    stages = minhash_stages(str(folder / "in"), str(folder / "work"), shards=shards, **parameters)
    return removed_by(stages, folder / "work", cuts, **(how or {}))


def python_jaccard(first, second, order=5):
    a, b = (
        {text[i : i + order] for i in range(max(1, len(text) - order + 1))} if text else set()
        for text in (first, second)
    )
    return len(a & b) / len(a | b) if a | b else 0.0


@pytest.fixture(scope="module")
def reference_run(tmp_path_factory, planted):
    documents, _, _ = planted
    return deduplicate(tmp_path_factory.mktemp("minhash"), [d["text"] for d in documents])


def test_jaccard_coefficients_and_set_sizes_are_the_references(planted):
    documents, pairs, sizes = planted
    sets = [shingle_set(document["text"], 5) for document in documents]
    assert [len(shingles) for shingles in sets] == sizes
    for (a, b), coefficient in pairs.items():
        assert jaccard(sets[a], sets[b]) == pytest.approx(coefficient, abs=1e-6)


def test_of_each_pair_of_near_duplicates_at_most_one_stays(planted, reference_run):
    """Recall: a pair at or above the threshold is resolved when not both stay."""
    _, pairs, _ = planted
    near = [pair for pair, coefficient in pairs.items() if coefficient >= 0.8]
    resolved = [pair for pair in near if set(pair) & set(reference_run)]
    assert len(near) > 100
    assert len(resolved) >= 0.98 * len(near)


def test_planted_copies_are_found(planted, reference_run):
    """Of a copy and its source one goes; where the later one stays, the earlier went for one that is unlike it."""
    documents, pairs, _ = planted
    copies = [
        (min(document["source"], document["id"]), max(document["source"], document["id"]))
        for document in documents
        if document["source"] is not None
    ]
    near = [pair for pair in copies if pairs.get(pair, 0) >= 0.8]
    found = [(a, b) for a, b in near if a in reference_run or b in reference_run]
    assert len(near) > 80
    assert len(found) >= 0.98 * len(near)
    for a, b in found:
        if b not in reference_run:
            assert pairs.get((reference_run[a], b), 0) < 0.8


def test_the_removed_are_those_of_a_greedy_pass_over_all_pairs(planted, reference_run):
    """LSH missed none of the 128 pairs here, so that its result is that of comparing everything."""
    documents, pairs, _ = planted
    expected = {}
    for later in range(len(documents)):
        for earlier in range(later):
            if earlier not in expected and pairs.get((earlier, later), 0) >= 0.8:
                expected[later] = earlier
                break
    assert reference_run == expected


def test_no_document_is_joined_with_one_under_the_threshold(planted, reference_run):
    documents, _, _ = planted
    assert reference_run
    for removed, kept in reference_run.items():
        assert kept < removed
        assert kept not in reference_run
        assert python_jaccard(documents[removed]["text"], documents[kept]["text"]) >= 0.8


def test_similarity_does_not_chain(tmp_path):
    """Five documents, each 0.8 like the next: each second one stays."""
    choice = random.Random(0)
    texts = [sentence(choice, 600)]
    for step in range(4):
        cut = texts[-1]
        texts.append(cut[66:] + sentence(random.Random(step + 1), 66))
    coefficients = [[python_jaccard(a, b) for b in texts] for a in texts]
    assert all(coefficients[i][i + 1] >= 0.8 for i in range(4))
    assert all(coefficients[i][i + 2] < 0.8 for i in range(3))
    assert deduplicate(tmp_path, texts) == {1: 0, 3: 2}


@pytest.fixture(scope="module")
def variants():
    """Families of a text and its copies with some characters changed, mixed with texts alone."""
    choice = random.Random(1)
    texts = []
    for _ in range(120):
        base = sentence(choice, choice.randrange(60, 300))
        texts += [
            edited(base, choice, choice.randrange(0, 8)) for _ in range(choice.randrange(1, 5))
        ]
    choice.shuffle(texts)
    return ["", "短い", *texts, "", "短い"]


@pytest.fixture(scope="module")
def variants_removed(tmp_path_factory, variants):
    return deduplicate(tmp_path_factory.mktemp("variants"), variants, shards=1)


@pytest.mark.parametrize(
    ("shards", "parameters", "how"),
    [
        (3, {}, {}),
        (7, {"partitions": 1}, {}),
        (7, {"partitions": 8}, {"backwards": True}),
        (3, {}, {"times": 2}),
        (3, {"memory_bytes": 8192}, {}),
    ],
)
def test_the_result_hangs_on_documents_and_order_alone(
    tmp_path, variants, variants_removed, shards, parameters, how
):
    assert len(variants_removed) > 20
    assert deduplicate(tmp_path, variants, shards, how, **parameters) == variants_removed


def test_the_empty_text_is_near_to_none_and_a_short_one_to_itself(variants, variants_removed):
    last = len(variants) - 1
    assert variants_removed[last] == 1
    assert last - 1 not in variants_removed


def test_what_an_earlier_step_removed_takes_no_part(tmp_path):
    base = sentence(random.Random(2), 200)
    near = edited(base, random.Random(3), 2)
    cuts = write_shards(
        tmp_path / "in", [{"text": text, "meta": {}} for text in (base, near, base, near)], 2
    )
    exact, work = str(tmp_path / "exact"), tmp_path / "near"
    run_stages(exact_stages(str(tmp_path / "in"), exact, shards=2))
    stages = minhash_stages(str(tmp_path / "in"), str(work), shards=2, without=exact)
    assert removed_by(stages, work, cuts) == {1: 0}


def test_minhash_values_agree_as_often_as_the_jaccard_coefficient_says():
    choice = random.Random(4)
    functions = hash_functions(4000, 1)
    for edits in (5, 20, 60):
        base = sentence(choice, 500)
        other = edited(base, choice, edits)
        first, second = (
            minhash(shingle_hashes(code_points(text), 5), *functions) for text in (base, other)
        )
        # One standard error of 4000 trials is at most 0.008.
        assert np.mean(first == second) == pytest.approx(python_jaccard(base, other), abs=0.03)


def test_a_member_of_a_bucket_pairs_with_the_first_ones_alone():
    records = np.array([(1, 10), (5, 1), (5, 2), (5, 3), (5, 4), (9, 7), (9, 8)], BUCKETED)
    expected = {(2, 1), (3, 1), (4, 1), (3, 2), (4, 2), (8, 7)}
    for cuts in ([], [2], [1, 3, 4], [4], list(range(1, 7))):
        blocks = iter(np.split(records, cuts))
        pairs = [tuple(pair) for block in bucket_pairs(blocks, 2) for pair in block.tolist()]
        assert sorted(pairs) == sorted(expected)


def test_pairs_of_a_large_bucket_grow_with_its_members_not_their_square():
    records = np.zeros(20_000, BUCKETED)
    records["place"] = np.arange(20_000)
    pairs = sum(len(block) for block in bucket_pairs(iter(np.split(records, 8)), 32))
    assert pairs == 32 * 20_000 - 32 * 33 // 2


def test_a_template_of_many_documents_leaves_one(tmp_path):
    choice = random.Random(5)
    template = sentence(choice, 400)
    texts = [edited(template, choice, 3) for _ in range(150)]
    removed = deduplicate(tmp_path, texts, bucket_limit=4)
    kept = [texts[i] for i in range(150) if i not in removed]
    assert len(kept) < 5
    for place, text in enumerate(kept):
        assert all(python_jaccard(text, other) < 0.8 for other in kept[:place])


def test_selection_removes_for_a_kept_document_only():
    bits = np.zeros(2, np.uint8)
    later = np.array([1, 2, 3, 3, 9, 9])
    earlier = np.array([0, 1, 1, 2, 1, 3])
    assert select(later, earlier, bits).tolist() == [True, False, False, True, False, False]
    assert np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("field", "value"), [("bands", 0), ("threshold", 0.0), ("threshold", 1.5), ("order", 0)]
)
def test_parameters_out_of_range_are_refused(field, value):
    with pytest.raises(UserError, match=field):
        minhash_stages("in", "work", shards=1, **{field: value})


def test_stages_are_frozen_and_travel_to_other_processes():
    for stage in minhash_stages("in", "work", shards=2):
        assert pickle.loads(pickle.dumps(stage)) == stage
        with pytest.raises(dataclasses.FrozenInstanceError):
            stage.shards = 3
