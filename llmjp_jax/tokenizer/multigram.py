"""EM for a Unigram language model over a fixed vocabulary (a multigram), as machine code: expected counts, then ln θ.

What LLM-jp's `reestimateScore.py` does in Python: every segmentation of a line into pieces has the product of its
pieces' probabilities; the E step counts how often each piece is expected, the M step makes that the new distribution.
Nothing is pruned. Source: Deligne & Bimbot 1995; github.com/tatHi/multigram; facts of the procedure in `recipes.py`.

A line's segmentations are summed in log space from its end (`backward[i]`: all ways to cut the text from i on), then
their probabilities are handed on from its start (`forward[i]`: how probable it is that a piece begins at i), so that no
difference of large logarithms is ever taken. Text is read in blocks and each block is cut into a fixed number of
chunks, whose partial sums are added in order: the result does not depend on the number of threads.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer.layout import SPACE

# A piece that EM expects less often than this keeps the probability of this count: half an occurrence, where
# SentencePiece's own EM would drop it. Without a floor θ goes to 0 and ln θ to no number at all.
FLOOR_COUNT = 0.5
# A character that no piece covers costs this much less than the dearest piece, as in SentencePiece.
_UNKNOWN_PENALTY = 10.0
_CHUNKS = 32  # of a block: the number is part of the result, threads are not
_BLOCK_CHARACTERS = 1 << 24
_LONGEST_LINE = 1 << 13  # characters; longer ones are cut, which bounds a thread's memory
_NEWLINE = ord("\n")


def _compiled(function: Callable) -> Callable:
    """Machine code that lets other threads run, kept on disk where a folder can be written to."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no place for its cache
        return numba.njit(nogil=True)(function)


@dataclasses.dataclass(frozen=True)
class Trie:
    """Pieces by their characters: edges in an open-addressing hash table.

    Attributes:
      characters: `[0x110000]` int32; the dense number of a code point, from 1; 0: in no piece.
      keys: `[2^k]` int64; node * alphabet + character; -1 where empty.
      children: `[2^k]` int32; the node that the edge of the same place leads to.
      pieces: `[nodes]` int32; the piece that ends at a node; -1: none.
      alphabet: how many dense numbers there are.
      longest: characters of the longest piece.
    """

    characters: np.ndarray
    keys: np.ndarray
    children: np.ndarray
    pieces: np.ndarray
    alphabet: int
    longest: int


def build_trie(pieces: Sequence[str]) -> Trie:
    """The trie of different, non-empty pieces.

    Raises:
      ValueError: a piece is empty or occurs twice.
    """
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    if len(pieces) != len(set(pieces)) or not lengths.all():
        raise ValueError("a piece is empty or occurs twice")
    text = code_points("".join(pieces))
    alphabet = np.unique(text)
    characters = np.zeros(0x110000, np.int32)
    characters[alphabet] = np.arange(1, len(alphabet) + 1)
    size = 1 << int(2 * len(text) + 2).bit_length()
    keys, children = np.full(size, -1, np.int64), np.zeros(size, np.int32)
    ends = np.full(len(text) + 1, -1, np.int32)
    nodes = _insert(characters[text], lengths, keys, children, ends, len(alphabet) + 1)
    longest = int(lengths.max(initial=1))
    return Trie(characters, keys, children, ends[:nodes].copy(), len(alphabet) + 1, longest)


def code_points(text: str) -> np.ndarray:
    """The characters of a text: `[length]` uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@_compiled
def _place(keys, key):
    mask = len(keys) - 1
    place = (key * 0x9E3779B97F4A7C1 >> 20) & mask
    while keys[place] != key and keys[place] != -1:
        place = (place + 1) & mask
    return place


@_compiled
def _insert(characters, lengths, keys, children, ends, alphabet):
    nodes, start = 1, 0
    for piece in range(len(lengths)):
        node = 0
        for position in range(start, start + lengths[piece]):
            key = np.int64(node) * alphabet + characters[position]
            place = _place(keys, key)
            if keys[place] == -1:
                keys[place] = key
                children[place] = nodes
                nodes += 1
            node = children[place]
        ends[node] = piece
        start += lengths[piece]
    return nodes


@_compiled
def _expect_line(
    line, weight, keys, children, ends, alphabet, longest, scores, unknown, counts, work
):
    """Adds the expected counts of one line's pieces, times its weight, to `counts`; returns its log-probability.

    `line`: dense characters; `work`: the arrays backward, forward, first edge of a position, edges' pieces and weights.
    """
    backward, forward, first, edge_pieces, edge_weights = work
    length = len(line)
    backward[length] = 0.0
    edges = 0
    first[length] = 0
    for start in range(length - 1, -1, -1):
        begin, node, best, single = edges, 0, -np.inf, False
        for end in range(start, min(length, start + longest)):
            place = _place(keys, np.int64(node) * alphabet + line[end])
            if line[end] == 0 or keys[place] == -1:
                break
            node = children[place]
            piece = ends[node]
            if piece >= 0:
                single = single or end == start
                logprob = scores[piece] + backward[end + 1]
                edge_pieces[edges] = np.int64(piece) << 16 | (end + 1 - start)
                edge_weights[edges] = logprob
                best = max(best, logprob)
                edges += 1
        if not single:
            logprob = unknown + backward[start + 1]
            edge_pieces[edges] = np.int64(-1) << 16 | 1
            edge_weights[edges] = logprob
            best = max(best, logprob)
            edges += 1
        total = 0.0
        for edge in range(begin, edges):
            edge_weights[edge] = np.exp(edge_weights[edge] - best)
            total += edge_weights[edge]
        for edge in range(begin, edges):
            edge_weights[edge] /= total
        backward[start] = best + np.log(total)
        first[start] = edges
    forward[: length + 1] = 0.0
    forward[0] = 1.0
    for start in range(length):
        here = forward[start]
        if here > 0.0:
            for edge in range(first[start + 1], first[start]):
                share = here * edge_weights[edge]
                piece = edge_pieces[edge] >> 16
                forward[start + (edge_pieces[edge] & 0xFFFF)] += share
                if piece >= 0:
                    counts[piece] += weight * share
    return weight * backward[0]


@_compiled
def _expect_chunk(
    text,
    weights,
    begin,
    end,
    characters,
    keys,
    children,
    ends,
    alphabet,
    longest,
    scores,
    unknown,
    counts,
):
    """`_expect_line` over the lines of text[begin:end], with long ones cut; returns their log-probability.

    `weights`: of each character, that of its line; empty: all 1.
    """
    room = 0  # of the longest line
    start = begin
    for position in range(begin, end + 1):
        if position == end or text[position] == _NEWLINE:
            room = max(room, min(position - start, _LONGEST_LINE))
            start = position + 1
    line = np.empty(room, np.int32)
    work = (
        np.empty(room + 1, np.float64),
        np.empty(room + 1, np.float64),
        np.empty(room + 1, np.int64),
        np.empty((room + 1) * (longest + 1), np.int64),
        np.empty((room + 1) * (longest + 1), np.float64),
    )
    logprob, filled = 0.0, 0
    for position in range(begin, end + 1):
        newline = position == end or text[position] == _NEWLINE
        if (newline or filled == _LONGEST_LINE) and filled > 0:
            weight = weights[position - 1] if len(weights) else 1.0
            logprob += _expect_line(
                line[:filled],
                weight,
                keys,
                children,
                ends,
                alphabet,
                longest,
                scores,
                unknown,
                counts,
                work,
            )
            filled = 0
        if not newline:
            line[filled] = characters[text[position]]
            filled += 1
    return logprob


class Multigram:
    """A Unigram language model over fixed pieces.

    Args:
      pieces: different and not empty.
      scores: `[pieces]` log-probabilities to begin with; None: all alike.
    """

    def __init__(self, pieces: Sequence[str], scores: Sequence[float] | np.ndarray | None = None):
        self.pieces = list(pieces)
        self.trie = build_trie(self.pieces)
        size = len(self.pieces)
        self.scores = np.asarray(
            np.full(size, -np.log(max(size, 1))) if scores is None else scores, np.float64
        ).copy()

    def expected_counts(
        self, blocks: Iterable[str], threads: int | None = None
    ) -> tuple[np.ndarray, float]:
        """How often each piece is expected in a text, and the text's log-probability.

        Args:
          blocks: text with `▁` for spaces; a newline ends a line, and no piece crosses it, nor the end of a block.
          threads: default: every core that the process may use. The result does not depend on it.

        Returns: counts `[pieces]` float64, and the log-probability in nats.
        """
        everywhere = np.zeros(0)
        return self._expected(((code_points(block), everywhere) for block in blocks), threads)

    def expected_counts_of_words(
        self, words: Mapping[str, int], threads: int | None = None
    ) -> tuple[np.ndarray, float]:
        """`expected_counts` of a text in which each word is a line and occurs as often as its count says."""
        lengths = np.fromiter(map(len, words), np.int64, len(words)) + 1
        counts = np.fromiter(words.values(), np.float64, len(words))
        text = code_points("".join(f"{word}\n" for word in words))
        return self._expected([(text, np.repeat(counts, lengths))], threads)

    def _expected(
        self, blocks: Iterable[tuple[np.ndarray, np.ndarray]], threads: int | None
    ) -> tuple[np.ndarray, float]:
        """Of blocks of (code points, weight of each one's line; empty: all 1)."""
        trie, scores = self.trie, self.scores
        unknown = float(scores.min(initial=0.0)) - _UNKNOWN_PENALTY
        total, logprob = np.zeros(len(self.pieces)), 0.0

        def expect(block: tuple[np.ndarray, np.ndarray], begin: int, end: int):
            counts = np.zeros(len(self.pieces))
            found = _expect_chunk(
                *block, begin, end, trie.characters, trie.keys, trie.children, trie.pieces,
                trie.alphabet, trie.longest, scores, unknown, counts,
            )  # fmt: skip
            return counts, found

        with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
            for block in blocks:
                bounds = _chunk_bounds(block[0])
                parts = pool.map(lambda at, block=block: expect(block, *at), bounds)
                for counts, found in parts:  # in order, whichever thread is first
                    total += counts
                    logprob += found
        return total, logprob

    def maximise(self, counts: np.ndarray) -> None:
        """The M step: scores become ln(count / sum), with counts below `FLOOR_COUNT` raised to it."""
        if not counts.sum() > 0:
            raise UserError(
                "the text holds none of the vocabulary's pieces, so their scores cannot be estimated; give the text "
                "that the vocabulary was trained on"
            )
        floored = np.maximum(counts, FLOOR_COUNT)
        self.scores = np.log(floored) - np.log(floored.sum())

    def fit(
        self,
        blocks: Callable[[], Iterable[str]],
        epochs: int,
        threads: int | None = None,
    ) -> list[float]:
        """`epochs` of EM over the text that each call of `blocks` gives; returns the log-probability before each."""
        history = []
        for _ in range(epochs):
            counts, logprob = self.expected_counts(blocks(), threads)
            self.maximise(counts)
            history.append(logprob)
        return history


def _chunk_bounds(text: np.ndarray) -> list[tuple[int, int]]:
    """Cuts a block into `_CHUNKS` stretches of whole lines, of about the same length."""
    ends = np.flatnonzero(text == _NEWLINE) + 1
    wanted = np.arange(1, _CHUNKS) * len(text) // _CHUNKS
    cuts = ends[np.minimum(np.searchsorted(ends, wanted), len(ends) - 1)] if len(ends) else ends
    bounds = np.unique(np.concatenate([[0], cuts, [len(text)]]))
    return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))


def marked_blocks(lines: Iterable[str], characters: int = _BLOCK_CHARACTERS) -> Iterator[str]:
    """Lines as EM reads them, in blocks: `▁` before each, and for each space.

    "a b", "東京" -> "▁a▁b\\n▁東京\\n"
    """
    block, size = [], 0
    for line in lines:
        block.append(SPACE + line.replace(" ", SPACE) + "\n")
        size += len(block[-1])
        if size >= characters:
            yield "".join(block)
            block, size = [], 0
    if block:
        yield "".join(block)
