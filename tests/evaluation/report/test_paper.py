"""The paper's tables agree with themselves, name their source, and unknown rows name the nearest."""

import statistics

import pytest

from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.report.paper import PaperTable, choose_rows, load_paper, paper_models


def test_every_table_has_its_source_and_rows_of_known_models():
    tables = load_paper()
    assert {table.source.rpartition(" ")[2] for table in tables.values()} == {"10", "11", "12", "13", "14"}  # fmt: skip
    for table in tables.values():
        assert table.source.startswith("arXiv 2407.03963, Table ") and table.settings
        assert set(table.rows) <= set(paper_models())
    assert len(tables["llm_jp_eval"].rows) == 15 == len(paper_models())
    assert load_manifest("paper_results")["tables"]["open_llm_leaderboard"]["averages"]["Llama-2-7b"] == 0.510  # fmt: skip


@pytest.mark.parametrize("kind, digits", [("llm_jp_eval", 3), ("mt_bench", 2), ("open_llm_leaderboard", 3)])  # fmt: skip
def test_averages_are_the_means_of_their_rows_as_far_as_rounding_goes(kind, digits):
    table = load_paper()[kind]
    for row, values in table.rows.items():
        parts = [value for column, value in zip(table.columns, values, strict=True) if column != table.average]  # fmt: skip
        assert table.value(row, table.average) == pytest.approx(statistics.fmean(parts), abs=1.05 * 10**-digits), row  # fmt: skip


def test_the_nearest_row_is_the_one_with_like_categories():
    table = load_paper()["llm_jp_eval"]
    near = {name: table.value("v2.0-L", name) + 0.004 for name in ("EL", "FA", "MC", "QA")}
    assert table.nearest(near) == "v2.0-L"
    assert table.nearest({**near, "AVR": 0.0}) == "v2.0-L"  # the average is no category
    assert table.nearest({"EL": 0.389, "FA": None, "MC": 0.1}) is None
    assert load_paper()["vicuna"].nearest({"AdjustedWinRate": 71.0}) == "v2.0-N"


def test_rows_are_chosen_by_the_papers_name_or_hugging_faces():
    assert choose_rows(["v2.0-L", "llm-jp-1.3b-v1.0", "v2.0-L"]) == ("v2.0-L", "v1.0-A")
    with pytest.raises(UserError, match="'v2.0-P'; did you mean 'v2.0-"):
        choose_rows(["v2.0-P"])
    with pytest.raises(UserError, match="did you mean 'llm-jp-13b-v2.0'"):
        choose_rows(["LLM-jp-13B-v2"])


def test_a_row_with_too_few_numbers_is_refused():
    with pytest.raises(UserError, match="row A of S has 1 numbers for 2 columns"):
        PaperTable("k", "t", "S", "s", ("a", "b"), "a", {"A": (1.0,)})
