"""`LanguageModel`: load a model with its vocabulary, write text with it, score text with it. The door for notebooks.

    model = LanguageModel.load("runs/quickstart/model")  # or a Hugging Face directory
    model.generate(["昔々あるところに"], max_new_tokens=32)
    model.model.blocks.mlp.up.kernel[...].shape          # weights are plain attributes: (layers, embed, mlp)

Token ids without text are for `decoding`.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from llmjp_jax import decoding
from llmjp_jax.checkpoints import load_hf, load_run, read_run
from llmjp_jax.errors import UserError
from llmjp_jax.models import (
    Decoder,
    ModelConfig,
    abstract_decoder,
    assemble,
    disassemble,
    token_log_probabilities,
)
from llmjp_jax.tokenizer import Vocabulary, load_vocabulary


class LanguageModel:
    """A decoder and its vocabulary.

    A document is what LLM-jp's pre-training made of it: its text's tokens, no token in front, `vocabulary.eos_id`
    behind. What stands before a document is therefore the eos of the one before it: an empty prompt starts from eos,
    and the first token of a text is scored after eos.

    Attributes:
      model: the `Decoder`; its weights are attributes.
      config: its `ModelConfig`.
      vocabulary: its `Vocabulary`.
    """

    def __init__(self, model: Decoder, vocabulary: Vocabulary):
        if vocabulary.vocab_size > model.config.vocab_size:
            raise UserError(
                f"the vocabulary {vocabulary.path} has {vocabulary.vocab_size} ids and the model only "
                f"{model.config.vocab_size}; give the vocabulary that the model was trained with"
            )
        self.model = model
        self.vocabulary = vocabulary

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @classmethod
    def load(cls, path: str | os.PathLike, step: int | None = None, mesh: jax.sharding.Mesh | None = None,
             dtype: str | None = None, vocabulary: str | os.PathLike | None = None) -> LanguageModel:  # fmt: skip
        """Loads a run directory (it holds run.json) or a Hugging Face directory (config.json).

        Args:
          step: which checkpoint of a run; None: the newest.
          mesh: the devices to lay the parameters out over; None: one.
          dtype: 'float32' or 'bfloat16', of the parameters and of the computation; None: parameters as saved, and the
            computation as the run's config says, float32 for a Hugging Face model.
          vocabulary: a .model file, tokenizer.json or their folder; None: the one in the directory, else a run's own.

        Raises:
          UserError: the directory holds neither kind of model, or no vocabulary, or one that does not fit.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(
                f"{path} is not a folder; give a run's MODEL_DIR or a Hugging Face model's folder"
            )
        is_run = (path / "run.json").is_file()
        if not is_run and not (path / "config.json").is_file():
            raise UserError(
                f"{path} holds no model: neither run.json (a run) nor config.json (Hugging Face); give a folder with one"
            )
        if step is not None and not is_run:
            raise UserError(
                f"{path} is a Hugging Face model and has no step {step}; leave step out"
            )
        if dtype not in (None, "float32", "bfloat16"):
            raise UserError(f"dtype = {dtype!r} must be 'float32', 'bfloat16' or None")
        # The vocabulary comes first: it is read at once, and its mistakes need not wait for the weights.
        found = load_vocabulary(
            _vocabulary_path(path, is_run) if vocabulary is None else vocabulary
        )
        if is_run:
            config, model = load_run(path, step, mesh=mesh, dtype=dtype)
        else:
            config, model = load_hf(path, mesh=mesh, dtype=dtype)
        return cls(model if dtype is None else _computed_in(model, config, dtype), found)

    def generate(self, prompts: str | Sequence[str], max_new_tokens: int = 64, temperature: float = 0.0, top_p: float = 1.0,
                 top_k: int = 0, repetition_penalty: float = 1.0, seed: int = 0, batch_size: int = 16,
                 progress: bool = False) -> list[str]:  # fmt: skip
        """What the model writes after each prompt, without the prompt, up to eos or `max_new_tokens`.

        Prompts are encoded as text: names of special tokens in them mean nothing. The same seed gives the same texts,
        and with another batch_size too. See `decoding.Sampling` for temperature (0: greedy), top_p, top_k and
        repetition_penalty.

        Raises:
          UserError: a number out of range, or a prompt too long for the model.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        encoded = self.vocabulary.encode_batch(prompts)
        generated = decoding.generate(
            self.model,
            [ids or self._before_document() for ids in encoded],
            max_new_tokens=max_new_tokens,
            sampling=decoding.Sampling(
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                repetition_penalty=repetition_penalty,
            ),
            stop_ids=self._stop_ids(),
            seed=seed,
            batch_size=batch_size,
            progress=progress,
        )
        return [self._continuation(ids, new) for ids, new in zip(encoded, generated, strict=True)]

    def stream(self, prompt: str, max_new_tokens: int = 64, temperature: float = 0.0, top_p: float = 1.0, top_k: int = 0,
               repetition_penalty: float = 1.0, seed: int = 0) -> Iterator[str]:  # fmt: skip
        """Yields, piece by piece as it is written, the text that `generate` gives for this prompt alone."""
        ids = self.vocabulary.encode(prompt)
        tokens = decoding.stream(
            self.model,
            ids or self._before_document(),
            max_new_tokens=max_new_tokens,
            sampling=decoding.Sampling(
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                repetition_penalty=repetition_penalty,
            ),
            stop_ids=self._stop_ids(),
            seed=seed,
        )
        return self._pieces(ids, tokens)

    def _pieces(self, ids: list[int], tokens: Iterator[int]) -> Iterator[str]:
        new, text, sent = [], "", 0
        for token in tokens:
            new.append(token)
            text = self._continuation(ids, new)
            if text.endswith("\N{REPLACEMENT CHARACTER}"):
                continue  # Bytes of a character that is not complete yet.
            if len(text) > sent:
                yield text[sent:]
            sent = len(text)
        if len(text) > sent:
            yield text[sent:]

    def logprobs(self, texts: str | Sequence[str], batch_size: int = 8) -> list[np.ndarray]:
        """The log-probability of each token of each text given those before it; of the first, given eos.

        Returns:
          One float32 array a text, as long as `vocabulary.encode(text)`; natural logarithms over the `vocab_size` ids.

        Raises:
          UserError: a text has more tokens than the model's longest sequence.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        encoded = self.vocabulary.encode_batch(texts)
        longest = self.config.max_length
        for number, ids in enumerate(encoded, 1):
            if len(ids) > longest:
                raise UserError(
                    f"text {number} of {len(texts)} has {len(ids)} tokens, more than the model's longest sequence, {longest}; cut it"
                )
        definition, parameters = nnx.graphdef(self.model), disassemble(self.model)
        results: list[np.ndarray] = [np.zeros(0, np.float32) for _ in texts]
        size = max(1, min(batch_size, len(texts)))
        for batch in decoding.batches_by_length([len(ids) for ids in encoded], size):
            shape = (size, decoding.bucket_length(max(len(encoded[i]) for i in batch), longest))
            tokens, targets = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
            for row, index in enumerate(batch):
                ids = encoded[index]
                targets[row, : len(ids)] = ids
                tokens[row, : len(ids)] = (self._before_document() + ids)[:-1]
            scores = np.asarray(_score(definition, parameters, tokens, targets))
            for row, index in enumerate(batch):
                results[index] = scores[row, : len(encoded[index])].copy()
        return results

    def _before_document(self) -> list[int]:
        if self.vocabulary.eos_id is None:
            raise UserError(
                f"the vocabulary {self.vocabulary.path} has no eos, so nothing can stand before a document; "
                "give a prompt with at least one token"
            )
        return [self.vocabulary.eos_id]

    def _stop_ids(self) -> list[int]:
        return [] if self.vocabulary.eos_id is None else [self.vocabulary.eos_id]

    def _continuation(self, prompt: list[int], new: list[int]) -> str:
        """The text of `new` as it reads after `prompt`: alone it would lose its first space."""
        if new and new[-1] == self.vocabulary.eos_id:
            new = new[:-1]
        before, whole = self.vocabulary.decode(prompt), self.vocabulary.decode(prompt + new)
        return whole[len(os.path.commonprefix([before, whole])) :]

    def __repr__(self) -> str:
        return f"LanguageModel({self.config}, {self.vocabulary})"


@functools.partial(jax.jit, static_argnums=0)
def _score(
    definition: nnx.GraphDef, parameters, tokens: jax.Array, targets: jax.Array
) -> jax.Array:
    """log p(targets) [batch, length] over the model's `vocab_size` ids, without the rows that only pad them."""
    model = assemble(definition, parameters)
    kernel = model.output_kernel()[:, : model.config.vocab_size]
    # Pieces of 16 positions: the [tokens, vocab] logits never exist whole.
    length = tokens.shape[1]
    chunks = length // 16 if length % 16 == 0 else 1
    return token_log_probabilities(
        model.hidden(tokens), kernel, jnp.asarray(targets), chunks=chunks
    )


def _computed_in(model: Decoder, config: ModelConfig, dtype: str) -> Decoder:
    """The same parameters in a decoder that computes in `dtype`; what `config` leaves open is chosen anew for it."""
    config = dataclasses.replace(config, dtype=dtype)
    return assemble(abstract_decoder(config)[0], disassemble(model))


def _vocabulary_path(path: Path, is_run: bool) -> Path:
    """Where the vocabulary of a model's folder is."""
    if any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return (
            path / "tokenizer.json"
            if (path / "tokenizer.json").is_file()
            else path / "tokenizer.model"
        )
    if not is_run:
        return path
    recorded = read_run(path).get("vocabulary")
    if not recorded or not Path(recorded).exists():
        raise UserError(
            f"{path} has no tokenizer.model, and the vocabulary that its run.json names is not there ({recorded}); "
            "copy the tokenizer to that folder or give vocabulary=..."
        )
    return Path(recorded)
