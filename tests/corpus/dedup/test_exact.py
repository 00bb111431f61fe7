import numpy as np
import pytest

from llmjp_jax.corpus.dedup import exact_stages, removed_rows
from llmjp_jax.errors import UserError

from .conftest import run_stages, write_shards

TEXTS = ["a", "b", "a", "c", "b", "a", "", "", "d", "a", "e\nf", "e\nf"]
KEPT = {2: 0, 4: 1, 5: 0, 7: 6, 9: 0, 11: 10}


def removed_by(stages, work, cuts, **how):
    """{removed document: the one kept in its stead}, as numbers in the whole corpus."""
    run_stages(stages, **how)
    return {
        int(cuts[shard] + row): int(cuts[kept_shard] + kept_row)
        for shard in range(len(cuts) - 1)
        for row, kept_shard, kept_row in removed_rows(work, shard).tolist()
    }


@pytest.mark.parametrize("shards", [1, 3, 12])
@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize("how", [{}, {"backwards": True}, {"times": 2}])
def test_all_but_the_first_of_equal_texts_go(tmp_path, shards, partitions, how):
    cuts = write_shards(tmp_path / "in", [{"text": text, "meta": {}} for text in TEXTS], shards)
    work = tmp_path / "work"
    stages = exact_stages(str(tmp_path / "in"), str(work), shards=shards, partitions=partitions)
    assert removed_by(stages, work, cuts, **how) == KEPT


def test_runs_on_disk_change_nothing(tmp_path):
    texts = [str(number % 700) for number in np.random.default_rng(0).integers(0, 10**6, 3000)]
    cuts = write_shards(tmp_path / "in", [{"text": text, "meta": {}} for text in texts], 4)
    first, expected = {}, {}
    for place, text in enumerate(texts):
        if text in first:
            expected[place] = first[text]
        first.setdefault(text, place)
    work = tmp_path / "work"
    stages = exact_stages(
        str(tmp_path / "in"), str(work), shards=4, partitions=2, memory_bytes=4096
    )
    assert removed_by(stages, work, cuts) == expected
    assert list((work / "scratch").iterdir()) == []


def test_the_paragraphs_of_a_document_are_its_text(tmp_path):
    paragraphs = [{"path": "p", "text": line, "link_chars": 0} for line in ("e", "f")]
    documents = [
        {"text": "e\nf", "meta": {}},
        {"text": "not this", "meta": {}, "paragraphs": paragraphs},
        {"text": "not this", "meta": {}},
    ]
    cuts = write_shards(tmp_path / "in", documents, 1)
    stages = exact_stages(str(tmp_path / "in"), str(tmp_path / "work"), shards=1)
    assert removed_by(stages, tmp_path / "work", cuts) == {1: 0}


def test_the_reference_set_loses_its_exact_copies(tmp_path, planted):
    documents, _, _ = planted
    cuts = write_shards(
        tmp_path / "in", [{"text": document["text"], "meta": {}} for document in documents], 3
    )
    removed = removed_by(
        exact_stages(str(tmp_path / "in"), str(tmp_path / "work"), shards=3),
        tmp_path / "work",
        cuts,
    )
    texts = [document["text"] for document in documents]
    assert removed == {
        i: texts.index(text) for i, text in enumerate(texts) if texts.index(text) < i
    }
    copies = [d for d in documents if d["kind"] == "exact"]
    assert len(copies) > 10
    assert {max(copy["id"], copy["source"]) for copy in copies} <= set(removed)


def test_a_removed_list_that_is_not_there_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="run the deduplication first"):
        removed_rows(tmp_path, 0)


def test_a_broken_line_is_named(tmp_path):
    write_shards(tmp_path / "in", [{"text": "a", "meta": {}}], 1)
    with (tmp_path / "in" / "00000.jsonl").open("a") as file:
        file.write("{broken\n")
    (stage, *_) = exact_stages(str(tmp_path / "in"), str(tmp_path / "work"), shards=1)
    with pytest.raises(UserError, match="00000.jsonl, line 2"):
        stage.run(0, lambda size: None)
    assert not list((tmp_path / "work").rglob("*.records"))
