import pytest

from llmjp_jax.evaluation.judges.benchmarks import find_benchmark
from llmjp_jax.evaluation.judges.verdicts import published_rating, rating, verdict
from llmjp_jax.evaluation.judges.vicuna import outcome, win_rates, winner

VICUNA = find_benchmark("vicuna").judge
MT_BENCH = find_benchmark("mt_bench").judge
COMPAT = "ja_vicuna_qa"


@pytest.mark.parametrize(
    "text, sound, published",
    [
        ("[[A]]", "A", "A"),
        ("まず[[B]]と思えますが、最終的な判断は[[A]]", "A", "A"),
        ("[[A]]か[[B]]で答えます。最終的な判断は[[B]]", "B", "A"),
        ("[[C]] [[B]]", "B", "B"),
        ("[[B]]ではなく[[C]]", "tie", "B"),
        ("[[C]]", "tie", "tie"),
        ("［［A］］", "error", "error"),
        ("[[a]]", "error", "error"),
        ("[A]", "error", "error"),
        ("", "error", "error"),
    ],
)
def test_the_last_verdict_stands_and_in_compat_a_goes_before_b_before_c(text, sound, published):
    assert verdict(text, VICUNA.verdict) == sound
    assert verdict(text, VICUNA.verdict, COMPAT) == published


def test_a_is_model_1_in_game_1_and_model_2_in_game_2():
    assert [winner("[[A]]", game, VICUNA.verdict) for game in (1, 2)] == ["model_1", "model_2"]
    assert [winner("[[B]]", game, VICUNA.verdict) for game in (1, 2)] == ["model_2", "model_1"]
    assert winner("[[C]]", 2, VICUNA.verdict) == "tie"
    assert winner("?", 2, VICUNA.verdict) == "error"


@pytest.mark.parametrize(
    "winners, sound, published",
    [
        (("model_1", "model_1"), "model_1", "model_1"),
        (("model_2", "model_2"), "model_2", "model_2"),
        (("model_1", "model_2"), "tie", "tie"),
        (("tie", "model_2"), "tie", "tie"),
        (("tie", "tie"), "tie", "tie"),
        (("error", "error"), "error", "model_2"),
        (("error", "model_1"), "error", "tie"),
        (("model_2", "error"), "error", "tie"),
        (("tie", "error"), "error", "tie"),
    ],
)
def test_an_error_is_nobodys_win_but_in_compat(winners, sound, published):
    assert outcome(winners) == sound
    assert outcome(winners, COMPAT) == published


def test_errors_are_left_out_of_the_rates():
    rates = win_rates(["model_1", "tie", "error", "model_2", "error"])
    assert rates == {"adjusted_win_rate": 0.5, "win_rate": 1 / 3, "tie_rate": 1 / 3}
    assert win_rates(["error"])["adjusted_win_rate"] is None


@pytest.mark.parametrize(
    "text, mark",
    [
        ("評価：[[5]]", 5), ("[[7.5]]", 7.5), ("[[rating: 9]]", 9), ("[[rating:9]] [[3]]", 3), ("[[８]]", 8), ("[[010]]", 10),
        ("[5]", None), ("[[5点]]", None), ("[[rating：4]]", None), ("[[0]]", None), ("[[11]]", None), ("", None),
    ],
)  # fmt: skip
def test_a_mark_of_vicuna_is_a_number_on_the_scale(text, mark):
    assert rating(text, VICUNA.rating, VICUNA.lowest, VICUNA.highest) == mark


@pytest.mark.parametrize("text, mark", [("評価：[[10]]", 10), ("[[3]]、いや[[5]]", 3), ("[[7.5]]", None), ("[[0]]", None), ("[[11]]", None), ("[5]", None)])  # fmt: skip
def test_a_mark_of_mt_bench_is_the_first_whole_number_from_1_to_10(text, mark):
    assert rating(text, MT_BENCH.rating, MT_BENCH.lowest, MT_BENCH.highest) == mark


@pytest.mark.parametrize("text", ["[[010]]", "[[５]]"])
def test_the_published_program_stops_at_leading_zeros_and_full_width_digits(text):
    with pytest.raises(SyntaxError):
        published_rating(text, VICUNA.rating)
