"""Shares, intervals and bins, by hand and by brute force; and the picture of what has no bins."""

import itertools
import random

import numpy as np
import pytest

from llmjp_jax.search.memorization.plots import draw
from llmjp_jax.search.memorization.summary import FREQUENCIES, last_steps, summarise, wilson


def item(group: str, choice: random.Random, **fields) -> dict:
    answer = {"extractable": choice.random() < 0.3, "matched": choice.randrange(50), "bleu": choice.random(),
              "perplexity": choice.uniform(1, 90), "min_k": round(choice.uniform(-9, 0), 1)}  # fmt: skip
    return {"group": group, "documents": 1, "crosses": False, "last_step": 3, "prefixes": {"10": answer}} | fields  # fmt: skip


@pytest.mark.parametrize(("count", "total"), [(0, 20), (1, 1), (15, 100), (20, 20)])
def test_a_share_has_wilsons_interval(count, total):
    from scipy.stats import binomtest

    expected = binomtest(count, total).proportion_ci(0.95, method="wilson")
    assert wilson(count, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("step", [1, 3, 10, 97, 1200])
def test_every_step_and_every_frequency_has_one_bin(step):
    for last in range(step):
        assert sum(belongs({"last_step": last}) for _, belongs in last_steps(step)) == 1
    assert len(last_steps(step)) == min(10, step)
    for documents, crosses in itertools.product([0, 1, 2, 9, 10, 99, 100, 999, 1000, 10**6], [True, False]):  # fmt: skip
        one = {"documents": documents, "crosses": crosses}
        assert sum(belongs(one) for _, belongs in FREQUENCIES) == 1


def test_held_out_text_that_was_trained_on_is_no_control():
    choice = random.Random(0)
    items = [item("trained", choice) for _ in range(40)] + [item("held_out", choice, documents=0) for _ in range(30)]  # fmt: skip
    items += [item("held_out", choice, documents=2) for _ in range(5)]
    found = summarise(items, [10], 8)
    assert {name: one["samples"] for name, one in found["groups"].items()} == {
        "trained": 40, "held_out": 30, "held_out_known": 5,
    }  # fmt: skip
    left, right = ([one["prefixes"]["10"]["min_k"] for one in items[part]] for part in (slice(40), slice(40, 70)))  # fmt: skip
    pairs = [(a > b) + (a == b) / 2 for a in left for b in right]
    assert found["auc"]["10"] == pytest.approx(np.mean(pairs))


def test_texts_alone_have_a_picture_too(tmp_path):
    found = summarise([item("text", random.Random(1))], [10], 8)
    summary = found | {"step": 8, "protocol": {"prefix_lengths": [10], "continuation": 50}}
    assert draw(summary, tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert found["by_frequency"] == found["by_last_step"] == [] and found["auc"] == {}
