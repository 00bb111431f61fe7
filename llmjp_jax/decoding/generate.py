"""Prompts in, new tokens out: batched generation over a key-value cache, whole or streamed. Token ids only, no text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from tqdm import tqdm

from llmjp_jax.decoding.loop import State, advance, prefill, read_prefix
from llmjp_jax.decoding.prompts import (
    batches_by_length,
    bucket_length,
    check_prompts,
    left_pad,
    room_for,
    shared_length,
)
from llmjp_jax.decoding.sampling import Sampling
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, disassemble
from llmjp_jax.models.cache import Prefix, each_layer

_STOP_ID_SLOTS = 8
_ASKED_EVERY = 16

# (number of a prompt, its new tokens) -> whether they suffice
Enough = Callable[[int, list[int]], bool]


def generate(decoder: Decoder, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, sampling: Sampling | None = None,
             stop_ids: Iterable[int] = (), seed: int = 0, rows: Sequence[int] | None = None,
             batch_size: int | None = None, enough: Enough | None = None,
             progress: bool = False) -> list[list[int]]:  # fmt: skip
    """The new tokens of each prompt, with the stop id that ended it, if one did.

    A row depends on its prompt, the seed and its number, never on other rows or on padding. What all prompts begin with, 64
    tokens and more, is read once for the call and kept once, not in each row.

    Args:
      decoder: its arrays may lie on any mesh.
      prompts: token ids, at least one each. Prompt and new tokens must fit in `config.max_length`.
      sampling: None for greedy.
      stop_ids: ids that end a row.
      seed: the same seed gives the same tokens.
      rows: the number of each row, which with the seed makes its random numbers; None: 0, 1, 2 ...
      batch_size: prompts decoded together, gathered by length; None: all of them. The cache takes
        layers * 2 * kv_heads * head_dim elements for each of batch_size * (longest prompt without what is shared +
        max_new_tokens) tokens.
      enough: asked after every 16 new tokens, with the number of a prompt and its tokens so far, whether they suffice; a row
        for which it says so ends there.
      progress: a bar on stderr that counts prompts.

    Raises:
      UserError: an empty or too long prompt, an id outside the vocabulary, a bad number.
    """
    config = decoder.config
    check_prompts(prompts, max_new_tokens, config.vocab_size, config.max_length)
    rows = range(len(prompts)) if rows is None else rows
    if len(rows) != len(prompts):
        raise UserError(f"rows has {len(rows)} numbers for {len(prompts)} prompts; give one each")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size = {batch_size!r} must be at least 1")
    size = max(1, min(batch_size or len(prompts), len(prompts)))
    program = _Program(decoder, sampling or Sampling(), stop_ids, seed)
    shared = shared_length(prompts)
    prefix = program.read_prefix(prompts[0][:shared]) if shared else None
    results: list[list[int]] = [[] for _ in prompts]
    with tqdm(total=len(prompts), unit="prompt", disable=not progress) as bar:
        for batch in batches_by_length([len(prompt) for prompt in prompts], size):
            state = program.prefill(
                [prompts[i][shared:] for i in batch],
                [rows[i] for i in batch],
                max_new_tokens,
                size,
                prefix,
            )
            for until in range(_ASKED_EVERY, max_new_tokens, _ASKED_EVERY) if enough else ():
                state = program.advance(state, until, prefix)
                state = _ended(state, batch, enough)
            state = program.advance(state, max_new_tokens, prefix)
            for index, tokens in zip(batch, _new_tokens(state), strict=False):
                results[index] = tokens
            bar.update(len(batch))
    return results


def _new_tokens(state: State) -> list[list[int]]:
    tokens, lengths = _fetched(state["tokens"]), _fetched(state["lengths"])
    return [tokens[row, :length].tolist() for row, length in enumerate(lengths)]


def _fetched(array: jax.Array) -> np.ndarray:
    """The whole array; of one that several processes hold, by an exchange in which all of them take part."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return multihost_utils.process_allgather(array, tiled=True)


def _ended(state: State, batch: Sequence[int], enough: Enough) -> State:
    """The state in which rows that have written enough write no more."""
    finished = _fetched(state["finished"]).copy()
    if finished.all():
        return state
    for row, (index, tokens) in enumerate(zip(batch, _new_tokens(state), strict=False)):
        finished[row] = finished[row] or enough(index, tokens)
    return state | {"finished": jax.device_put(finished, state["finished"].sharding)}


def stream(decoder: Decoder, prompt: Sequence[int], *, max_new_tokens: int, sampling: Sampling | None = None,
           stop_ids: Iterable[int] = (), seed: int = 0, row: int = 0) -> Iterator[int]:  # fmt: skip
    """Yields, one by one, the tokens that `generate` gives for this prompt, seed and row."""
    check_prompts([prompt], max_new_tokens, decoder.config.vocab_size, decoder.config.max_length)
    program = _Program(decoder, sampling or Sampling(), stop_ids, seed)
    return _stream(program, prompt, row, max_new_tokens)


def _stream(program: _Program, prompt, row, max_new_tokens) -> Iterator[int]:
    state = program.prefill([prompt], [row], max_new_tokens, 1)
    for count in range(1, max_new_tokens + 1):
        # The next token is under way on the device while the caller handles this one.
        token, finished = state["tokens"][0, count - 1], state["finished"][0]
        if count < max_new_tokens:
            state = program.advance(state, count + 1)
        yield int(token)
        if bool(finished):
            return


class _Program:
    """`prefill` and `advance` with what stays the same over a call's batches."""

    def __init__(self, decoder: Decoder, sampling: Sampling, stop_ids: Iterable[int], seed: int):
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**31:
            raise UserError(f"seed = {seed!r} must be a whole number in [0, 2^31)")
        self.seed = np.int32(seed)
        self.definition = nnx.graphdef(decoder)
        self.parameters = disassemble(decoder)
        self.layers = each_layer(self.parameters["blocks"])
        self.longest = decoder.config.max_length
        self.steps, self.values = sampling.steps, sampling.values()
        ids = sorted(set(stop_ids))
        slots = -(-max(len(ids), 1) // _STOP_ID_SLOTS) * _STOP_ID_SLOTS
        self.stop_ids = np.full((slots,), -1, np.int32)
        self.stop_ids[: len(ids)] = ids

    def read_prefix(self, tokens: Sequence[int]) -> Prefix:
        """What stands before all prompts of `prefill`, for it and `advance`."""
        padded = np.zeros((bucket_length(len(tokens), self.longest),), np.int32)
        padded[: len(tokens)] = tokens
        return read_prefix(
            self.definition, self.parameters, self.layers, padded, np.int32(len(tokens))
        )

    def prefill(self, prompts, rows, max_new_tokens, size, prefix: Prefix | None = None) -> State:
        """`size` rows: the prompts', without the prefix, and idle ones where there are fewer prompts."""
        idle = size - len(prompts)
        length = bucket_length(max(len(prompt) for prompt in prompts), self.longest)
        tokens, start = left_pad([*prompts, *[[0]] * idle], length)
        rows = np.array([*rows, *[0] * idle], np.int32)
        active = np.arange(size) < len(prompts)
        return prefill(self.definition, self.steps, room_for(max_new_tokens), self.parameters, self.layers, self.values,
                       self.stop_ids, prefix, tokens, start, rows, active, self.seed)  # fmt: skip

    def advance(self, state: State, until: int, prefix: Prefix | None = None) -> State:
        return advance(self.definition, self.steps, self.parameters, self.layers, self.values, self.stop_ids, prefix, state,
                       np.int32(until))  # fmt: skip
