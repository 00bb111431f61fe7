import gzip
import json

import numpy as np
import pytest
import zstandard

from llmjp_jax.errors import UserError
from llmjp_jax.safety.toxicity_classifier import ToxicityClassifier
from llmjp_jax.safety.toxicity_features import Ngrams
from llmjp_jax.safety.toxicity_rates import Rate, rate_files, wilson_interval

NGRAMS = Ngrams((1,), 1 << 12, 10_000)


@pytest.fixture
def classifier():
    """Knows one letter by heart: 毒 is 'toxic', 罵 'obscene' alone."""
    weights = np.zeros((2, NGRAMS.buckets), np.float32)
    for row, letter in enumerate("毒罵"):
        weights[row, NGRAMS.counts(letter)[0]] = 200.0
    bias = np.array([-3.0, -3.0], np.float32)
    return ToxicityClassifier(("toxic", "obscene"), (0.5, 0.5), NGRAMS, np.ones(NGRAMS.buckets, np.float32), weights, bias, {})  # fmt: skip


TEXTS = ["普通の文", "毒がある", "罵る", "毒と罵", "また普通"]


def test_shares_are_of_the_texts_that_say_something(classifier):
    rate = Rate(classifier)
    rate.add(TEXTS)
    rate.add(["", " \n"])
    result = rate.result()
    assert result["scores"]["toxicity_rate"] == 2 / 5
    assert result["categories"] == {"obscene": 2 / 5}
    assert result["counts"] == {"items": 7, "empty": 2, "flagged": 2}
    assert result["scores"]["mean_probability"] == pytest.approx((2 + 3 / (1 + np.exp(3))) / 5, abs=1e-3)  # fmt: skip


def test_an_empty_text_is_not_flagged_even_where_the_bias_alone_would(classifier):
    rate = Rate(classifier.with_threshold(0.01))
    rate.add(["", "普通"])
    assert rate.result()["counts"]["flagged"] == 1


def test_without_a_text_there_is_no_rate(classifier):
    with pytest.raises(UserError, match="no text to score"):
        Rate(classifier).result()


def test_the_interval_is_wilson_s():
    low, high = wilson_interval(2, 5)
    assert (low, high) == (pytest.approx(0.1176, abs=1e-4), pytest.approx(0.7693, abs=1e-4))
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(0, 10)[1] == pytest.approx(0.2775, abs=1e-4)
    assert wilson_interval(10, 10) == (pytest.approx(0.7225, abs=1e-4), pytest.approx(1.0))


def lines(texts, field="text"):
    return "".join(json.dumps({field: text, "meta": {}}, ensure_ascii=False) + "\n" for text in texts).encode()  # fmt: skip


def test_plain_and_compressed_files_give_the_same_rate(classifier, tmp_path):
    texts = TEXTS * 150  # more than are scored together
    (tmp_path / "a.jsonl").write_bytes(lines(texts))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(texts)))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(lines(texts)))
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        rate = rate_files(classifier, [tmp_path / name])
        assert (rate.texts, int(rate.flagged[0])) == (750, 300)
    both = rate_files(classifier, [tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"])
    assert (both.texts, int(both.flagged[0])) == (1500, 600)
    assert rate_files(classifier, [tmp_path / "a.jsonl"], max_texts=7).texts == 7


def test_broken_and_other_files_are_named(classifier, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(TEXTS, "content"))
    assert rate_files(classifier, [path], field="content").texts == 5
    with pytest.raises(UserError, match=r"line 1 has no string 'text' \(it has content, meta\)"):
        rate_files(classifier, [path])
    path.write_bytes(lines(TEXTS) + b'{"text": "')
    with pytest.raises(UserError, match="line 6: the line is not JSON"):
        rate_files(classifier, [path])
    with pytest.raises(UserError, match="there is no file"):
        rate_files(classifier, [tmp_path / "nowhere.jsonl"])
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(lines(TEXTS * 50))[:-20])
    with pytest.raises(UserError, match="ends too early"):
        rate_files(classifier, [cut])
