"""EM: equal to every segmentation counted out, to a plain forward-backward, and the same on any number of threads."""

import math
import random

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer.multigram import FLOOR_COUNT, Multigram, build_trie, marked_blocks
from tools.benchmark_tokenizer import plain_expected_counts

ALPHABET = "abc▁日本"


def random_model(seed: int, pieces: int = 40) -> Multigram:
    choose = random.Random(seed)
    words = {"".join(choose.choices(ALPHABET, k=choose.randrange(2, 5))) for _ in range(pieces)}
    names = [*ALPHABET, *sorted(words)]
    weights = [choose.random() for _ in names]
    return Multigram(names, np.log(np.array(weights) / sum(weights)))


def random_lines(seed: int, count: int, longest: int) -> list[str]:
    choose = random.Random(seed)
    return ["".join(choose.choices(ALPHABET, k=choose.randrange(longest))) for _ in range(count)]


def count_out(model: Multigram, line: str) -> tuple[dict[str, float], float]:
    """Expected counts and log-probability from the list of all segmentations."""
    scores = dict(zip(model.pieces, model.scores, strict=True))
    found: list[tuple[float, list[str]]] = []

    def cut(start: int, pieces: list[str], logprob: float) -> None:
        if start == len(line):
            found.append((logprob, pieces))
        for end in range(start + 1, len(line) + 1):
            if line[start:end] in scores:
                piece = line[start:end]
                cut(end, [*pieces, piece], logprob + scores[piece])

    cut(0, [], 0.0)
    total = math.fsum(math.exp(logprob) for logprob, _ in found)
    counts: dict[str, float] = {}
    for logprob, pieces in found:
        for piece in pieces:
            counts[piece] = counts.get(piece, 0.0) + math.exp(logprob) / total
    return counts, math.log(total)


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_all_segmentations(seed):
    model, lines = random_model(seed), random_lines(seed, 30, 10)
    counts, logprob = model.expected_counts(["\n".join(lines)])
    expected, expected_logprob = np.zeros(len(model.pieces)), 0.0
    for line in filter(None, lines):
        found, found_logprob = count_out(model, line)
        expected_logprob += found_logprob
        for piece, count in found.items():
            expected[model.pieces.index(piece)] += count
    np.testing.assert_allclose(counts, expected, rtol=0, atol=1e-9)
    assert logprob == pytest.approx(expected_logprob, abs=1e-9)


def test_counts_are_those_of_a_plain_forward_backward_with_unknown_characters():
    model = random_model(7, pieces=200)
    lines = [line.replace("b本", "?") for line in random_lines(7, 300, 200)]
    counts, logprob = model.expected_counts(["\n".join(lines)])
    expected, expected_logprob = plain_expected_counts(model.pieces, model.scores, lines)
    assert any("?" in line for line in lines)
    np.testing.assert_allclose(counts, expected, rtol=1e-9, atol=1e-6)
    assert logprob == pytest.approx(expected_logprob, rel=1e-12)


def test_one_epoch_is_the_plain_one_within_a_millionth():
    model = random_model(3)
    lines = random_lines(3, 200, 60)
    expected, _ = plain_expected_counts(model.pieces, model.scores, lines)
    model.fit(lambda: ["\n".join(lines)], epochs=1)
    kept = expected >= FLOOR_COUNT
    floored = np.maximum(expected, FLOOR_COUNT)
    np.testing.assert_allclose(model.scores, np.log(floored / floored.sum()), rtol=0, atol=1e-6)
    assert kept.sum() > 10


def test_the_result_does_not_depend_on_threads_and_blocks_only_in_the_last_digits():
    model, lines = random_model(1), random_lines(1, 2000, 60)
    whole = ["\n".join(lines) + "\n"]
    one, _ = model.expected_counts(whole, threads=1)
    for threads in (2, 7):
        again, _ = model.expected_counts(whole, threads=threads)
        assert (one == again).all()
    apart, _ = model.expected_counts(line + "\n" for line in lines)
    np.testing.assert_allclose(apart, one, rtol=1e-12)


def test_each_epoch_makes_the_text_more_probable():
    model, lines = random_model(2), random_lines(2, 500, 40)
    history = model.fit(lambda: ["\n".join(lines)], epochs=6)
    assert all(after > before for before, after in zip(history, history[1:], strict=False))


def test_words_count_as_often_as_they_occur():
    model = random_model(4)
    words = {"abab": 3, "日本a": 2, "c": 1}
    lines = [word for word, count in words.items() for _ in range(count)]
    weighted, weighted_logprob = model.expected_counts_of_words(words)
    listed, logprob = model.expected_counts(["\n".join(lines)])
    np.testing.assert_allclose(weighted, listed, rtol=1e-12)
    assert weighted_logprob == pytest.approx(logprob, rel=1e-12)


def test_a_piece_that_never_occurs_has_the_floor_and_long_lines_are_cut():
    model = Multigram(["a", "ab", "zz"])
    model.fit(lambda: ["a" * 20_000], epochs=1)
    assert model.scores[2] == pytest.approx(math.log(FLOOR_COUNT / (20_000 + 2 * FLOOR_COUNT)))
    counts, _ = Multigram(["a", "aa"], [-50.0, -1.0]).expected_counts(["a" * 20_000])
    assert counts[1] == pytest.approx(10_000)  # the cuts fall on even places, so none is lost


def test_text_without_any_piece_and_repeated_pieces_are_refused():
    with pytest.raises(UserError, match="none of the vocabulary's pieces"):
        Multigram(["a"]).fit(lambda: ["東京"], epochs=1)
    for pieces in (["a", "a"], ["a", ""]):
        with pytest.raises(ValueError, match="empty or occurs twice"):
            build_trie(pieces)


def test_lines_are_marked_as_encoding_marks_them():
    assert list(marked_blocks(["a b", "東京", ""])) == ["▁a▁b\n▁東京\n▁\n"]
    assert list(marked_blocks(["a b", "東京"], characters=3)) == ["▁a▁b\n", "▁東京\n"]
