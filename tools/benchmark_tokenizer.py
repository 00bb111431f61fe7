"""Times the E step of EM over a tokenizer's vocabulary, and the same in plain Python: one line of figures each.

Called by `tools/benchmark.py tokenizer`; `measure_tokenizer` gives the JSON object.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from llmjp_jax.corpus import read_documents
from llmjp_jax.files import git_commit


def measure_tokenizer(options: argparse.Namespace) -> dict:
    """Megabytes of UTF-8 a second of one E step, ours on one thread and on `threads`, and the plain one's.

    Args:
      options: `tokenizer`: a .model, whose pieces and scores are taken; `inputs`: JSONL files; `megabytes`: of text for ours;
        `plain_megabytes`: of text for plain Python; `threads`; `rounds`: the best of so many counts; `commit`.
    """
    from llmjp_jax.tokenizer import load_vocabulary
    from llmjp_jax.tokenizer.multigram import Multigram, marked_blocks

    vocabulary = load_vocabulary(options.tokenizer)
    chosen = [
        (piece, score)
        for piece, score, type in zip(vocabulary.pieces, vocabulary.backend.scores, vocabulary.backend.types, strict=True)
        if type == 1 and piece != "\n"
    ]  # fmt: skip
    pieces, scores = map(list, zip(*chosen, strict=True))
    text = _lines(options.inputs, options.megabytes * 1e6)
    few = text[:: max(1, round(options.megabytes / options.plain_megabytes))]
    model = Multigram(pieces, scores)
    model.expected_counts(marked_blocks(text[:100]))  # compiles

    def ours(lines: Sequence[str], threads: int) -> tuple[np.ndarray, float]:
        blocks = list(marked_blocks(lines))
        return _best(lambda: model.expected_counts(blocks, threads)[0], options.rounds)

    marked = [f"▁{line.replace(' ', '▁')}" for line in few]
    expected, plain_seconds = _best(lambda: plain_expected_counts(pieces, scores, marked)[0], 1)
    counts, seconds_of_few = ours(few, 1)
    rates = {
        "ours_1_thread": _megabytes(text) / ours(text, 1)[1],
        f"ours_{options.threads}_threads": _megabytes(text) / ours(text, options.threads)[1],
        "plain_python": _megabytes(few) / plain_seconds,
    }
    return {
        "benchmark": "tokenizer",
        "what": "one E step of EM over a fixed vocabulary",
        "tokenizer": os.path.basename(options.tokenizer),  # noqa: PTH119
        "pieces": len(pieces),
        "megabytes": _megabytes(text),
        "plain_megabytes": _megabytes(few),
        "megabytes_per_second": rates,
        "ratio_to_plain_same_text_1_thread": plain_seconds / seconds_of_few,
        "largest_difference_of_counts": float(np.abs(counts - expected).max()),
        "commit": getattr(options, "commit", None) or git_commit(),
        "python": platform.python_version(),
        "numba": version("numba"),
        "cpu_cores": len(os.sched_getaffinity(0)),
    }


def plain_expected_counts(
    pieces: Sequence[str], scores: Sequence[float], lines: Sequence[str]
) -> tuple[np.ndarray, float]:
    """What `Multigram.expected_counts` gives, by the textbook: forward, backward, posteriors, in plain Python.

    Args:
      lines: with `▁` for spaces; a character without a piece of its own costs 10 more than the dearest piece.
    """
    from math import exp, inf, log

    table = {piece: (index, float(score)) for index, (piece, score) in enumerate(zip(pieces, scores, strict=True))}  # fmt: skip
    longest = max(map(len, pieces))
    unknown = min(0.0, min(map(float, scores))) - 10.0
    counts, logprob = np.zeros(len(pieces)), 0.0

    def log_sum(values: list[float]) -> float:
        best = max(values)
        return best + log(sum(exp(value - best) for value in values)) if best > -inf else -inf

    for line in lines:
        edges = []  # (start, end, piece or None, score)
        for start in range(len(line)):
            if line[start] not in table:
                edges.append((start, start + 1, None, unknown))
            for end in range(start + 1, min(len(line), start + longest) + 1):
                if line[start:end] in table:
                    edges.append((start, end, *table[line[start:end]]))
        ending: list[list] = [[] for _ in range(len(line) + 1)]
        starting: list[list] = [[] for _ in range(len(line) + 1)]
        for edge in edges:
            starting[edge[0]].append(edge)
            ending[edge[1]].append(edge)
        forward, backward = [0.0] * (len(line) + 1), [0.0] * (len(line) + 1)
        for end in range(1, len(line) + 1):
            forward[end] = log_sum([forward[start] + score for start, _, _, score in ending[end]])
        for start in range(len(line) - 1, -1, -1):
            backward[start] = log_sum([backward[end] + score for _, end, _, score in starting[start]])  # fmt: skip
        for start, end, piece, score in edges:
            if piece is not None:
                counts[piece] += exp(forward[start] + score + backward[end] - backward[0])
        logprob += backward[0]
    return counts, logprob


def _best(measured, rounds: int):
    """The result, and the least seconds of `rounds`."""
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        result = measured()
        least = min(least, time.perf_counter() - start)
    return result, least


def _lines(paths: Sequence[str], size: float) -> list[str]:
    """Lines of the files, as many bytes of each."""
    lines = []
    for path in paths:
        left = size / len(paths)
        for _, document in read_documents(path):
            if left <= 0:
                break
            lines += document["text"].split("\n")
            left -= len(document["text"].encode())
    return lines


def _megabytes(lines: Sequence[str]) -> float:
    return sum(len(line.encode()) + 1 for line in lines) / 1e6
