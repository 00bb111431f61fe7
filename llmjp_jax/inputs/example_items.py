"""The examples of one store as a run trains on them: cut to the run's lengths, those without a response left out.

Stores hold whole records, so that one store serves runs of any length. What is left of a record after the cut is one
stretch of the store, or two for a pair; only these bounds are kept in memory.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.token_store import TokenStore

_PIECE = 1 << 22  # tokens whose mask is looked at together


class Limits(NamedTuple):
    """The longest sequence of an example, or of each half of a pair, in tokens with its end; and, of pairs, of its prompt.

    As in TRL: a pair that is too long has its prompts cut to `max_prompt_length`, and if that is not enough its
    responses to what `max_length` then leaves.
    """

    max_length: int
    max_prompt_length: int | None


class Items:
    """The examples, or the pairs, of a store that have a response within the limits.

    An example too long loses its end, the end token with it. A pair too long loses the beginning of its prompts, and
    then the end of its responses (TRL 0.7.10, `DPOTrainer.tokenize_row`, truncation_mode 'keep_end').

    Args:
      store: with a mask. limits: for pairs, with `max_prompt_length`.

    Attributes:
      numbers: which of the store's examples or pairs each is: int64 [items], rising.
      begins, ends: the tokens of the store that it holds, begins..ends-1: int64 [items, 1], or [items, 2] for pairs,
        the chosen one first.
      sizes: slots of a row that it takes, one less than its tokens for each sequence: int64 [items].
      loss_tokens: targets that carry loss, of all items. longest: tokens of the longest sequence.
      dropped: how many have no response within the limits. truncated: how many of the items were cut.

    Raises:
      UserError: the store has no mask, or another than it was built with.
    """

    def __init__(self, store: TokenStore, limits: Limits):
        self.pairs = is_pairs(store)
        if self.pairs and len(store) % 2:
            raise UserError(
                f"{store.prefix} is a store of pairs with {len(store)} documents, an odd number; build it again"
            )
        pieces = _pieces(store)
        _check_mask(store, pieces)
        scan = _scanned_pairs if self.pairs else _scanned_examples
        scanned = [scan(store, first, stop, limits) for first, stop in pieces]
        begins, ends, firsts, truncated, loss = (
            np.concatenate(parts) for parts in zip(*scanned, strict=True)
        )
        kept = np.flatnonzero((firsts < ends).all(1))
        self.numbers, self.begins, self.ends = kept, begins[kept], ends[kept]
        self.sizes = (self.ends - self.begins - 1).sum(1)
        self.loss_tokens = int(loss[kept].sum())
        self.longest = int((self.ends - self.begins).max(initial=0))
        self.dropped, self.truncated = len(begins) - len(kept), int(truncated[kept].sum())
        if not len(kept):
            raise UserError(
                f"none of the {len(begins)} {'pairs' if self.pairs else 'examples'} of {store.prefix} has a response "
                f"within max_length = {limits.max_length} tokens; raise max_length, or look at the data"
            )

    def __len__(self) -> int:
        return len(self.numbers)


def is_pairs(store: TokenStore) -> bool:
    """Whether the documents are pairs: 2 i is the chosen one of pair i, and 2 i + 1 the rejected one."""
    return (store.manifest or {}).get("kind") == "pairs"


def _pieces(store: TokenStore) -> list[tuple[int, int]]:
    """Runs of documents first..stop-1 of about `_PIECE` tokens, which do not part pairs."""
    starts = np.asarray(store.document_starts)
    bounds = [0]
    while bounds[-1] < len(store):
        stop = int(np.searchsorted(starts, starts[bounds[-1]] + _PIECE, "right")) - 1
        stop = max(stop - stop % 2, bounds[-1] + 2)
        bounds.append(min(stop, len(store)))
    return list(zip(bounds, bounds[1:], strict=False))


def _check_mask(store: TokenStore, pieces: list[tuple[int, int]]) -> None:
    if store.mask is None:
        raise UserError(
            f"the store {store.prefix} has no .mask, which says what the responses are: it was built for pre-training; "
            "build it from instructions with tools/cache_tasks.py"
        )
    if not pieces:
        raise UserError(f"the store {store.prefix} has no documents; check what it was built from")
    built_with = (store.manifest or {}).get("mask_sha256")
    if built_with is None:
        return
    digest = hashlib.sha256()
    for start in range(0, store.num_tokens, _PIECE):
        digest.update(store.mask[start : start + _PIECE])
    if digest.hexdigest() != built_with:
        raise UserError(
            f"{store.prefix}.mask is not what it was when the store was built; copy or build the store again"
        )


def _scanned_examples(store: TokenStore, first: int, stop: int, limits: Limits):
    """begins, ends, first response token [n, 1], whether cut [n] and tokens that carry loss [n] of some documents."""
    starts, stops, ones = _bounds(store, first, stop)
    ends = np.minimum(stops, starts + limits.max_length)
    firsts = _first_response(starts, stops, ones)
    loss = _between(ones, starts + 1, ends)
    return starts[:, None], ends[:, None], firsts[:, None], ends < stops, loss


def _scanned_pairs(store: TokenStore, first: int, stop: int, limits: Limits):
    """The same for pairs: begins, ends, first response tokens [n, 2], cut [n] and tokens that carry loss [n]."""
    starts, stops, ones = _bounds(store, first, stop)
    firsts = _first_response(starts, stops, ones)
    prompts, responses = (firsts - starts).reshape(-1, 2), (stops - firsts).reshape(-1, 2)
    longer = responses.max(1, keepdims=True)
    too_long = prompts + longer > limits.max_length
    prompts = np.where(too_long, np.minimum(prompts, limits.max_prompt_length), prompts)
    too_long = prompts + longer > limits.max_length
    room = limits.max_length - limits.max_prompt_length
    responses = np.where(too_long, np.minimum(responses, room), responses)
    begins, ends = firsts.reshape(-1, 2) - prompts, firsts.reshape(-1, 2) + responses
    cut = (ends - begins != (stops - starts).reshape(-1, 2)).any(1)
    loss = _between(ones, firsts, ends.reshape(-1)).reshape(-1, 2).sum(1)
    return begins, ends, firsts.reshape(-1, 2), cut, loss


def _bounds(store: TokenStore, first: int, stop: int):
    """The first token of each document, the one after its last, and the tokens whose mask is 1."""
    bounds = store.document_starts[first : stop + 1]
    ones = bounds[0] + np.flatnonzero(store.mask[bounds[0] : bounds[-1]])
    return bounds[:-1], bounds[1:], ones


def _first_response(starts: np.ndarray, stops: np.ndarray, ones: np.ndarray) -> np.ndarray:
    """The first masked token of each document after its first, which is never a target; `stops` where there is none."""
    place = np.searchsorted(ones, starts + 1)
    return np.minimum(np.append(ones, np.iinfo(np.int64).max)[place], stops)


def _between(ones: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.maximum(np.searchsorted(ones, ends) - np.searchsorted(ones, begins), 0)
