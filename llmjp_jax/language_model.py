"""`LanguageModel`: load a model with its vocabulary, write text with it, score text with it. The door for notebooks.

    model = LanguageModel.load("runs/quickstart/model")  # or a Hugging Face directory
    model.generate(["昔々あるところに"], max_new_tokens=32)
    model.chat([{"role": "user", "content": "一番高い山は？"}])  # of an instruction-tuned model
    model.model.blocks.mlp.up.kernel[...].shape          # weights are plain attributes: (layers, embed, mlp)

Token ids without text are for `decoding`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from llmjp_jax import decoding
from llmjp_jax.checkpoints import base_of, load_model, merged, read_run, vocabulary_path
from llmjp_jax.conversations import (
    TEMPLATES,
    ChatPrompt,
    Template,
    chat_template_name,
    fit_prompt,
    get_template,
    parse_messages,
    until,
)
from llmjp_jax.errors import UserError
from llmjp_jax.models import (
    Decoder,
    ModelConfig,
    abstract_decoder,
    assemble,
    disassemble,
    token_log_probabilities,
)
from llmjp_jax.tokenizer import Vocabulary, load_vocabulary, read_chat_template


class LanguageModel:
    """A decoder and its vocabulary.

    A document is what LLM-jp's pre-training made of it: its text's tokens, no token in front, `vocabulary.eos_id`
    behind. What stands before a document is therefore the eos of the one before it: an empty prompt starts from eos,
    and the first token of a text is scored after eos.

    Attributes:
      model: the `Decoder`; its weights are attributes.
      config: its `ModelConfig`.
      vocabulary: its `Vocabulary`.
      template: the name of the template that it was tuned to answer with, one of `conversations.TEMPLATES`; None where
        its directory names none.
    """

    def __init__(self, model: Decoder, vocabulary: Vocabulary, template: str | None = None):
        if vocabulary.vocab_size > model.config.vocab_size:
            raise UserError(
                f"the vocabulary {vocabulary.path} has {vocabulary.vocab_size} ids and the model only "
                f"{model.config.vocab_size}; give the vocabulary that the model was trained with"
            )
        self.model = model
        self.vocabulary = vocabulary
        self.template = template

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @classmethod
    def load(cls, path: str | os.PathLike, step: int | str | None = None, mesh: jax.sharding.Mesh | None = None,
             dtype: str | None = None, vocabulary: str | os.PathLike | None = None, merge: bool = True) -> LanguageModel:  # fmt: skip
        """Loads a run directory (it holds run.json), a Hugging Face model (config.json) or a PEFT adapter (adapter_config.json).

        Args:
          step: which checkpoint of a run; None: the newest; 'best': that of the lowest validation loss.
          mesh: the devices to lay the parameters out over; None: one.
          dtype: 'float32' or 'bfloat16', of the parameters and of the computation; None: parameters as saved, and the
            computation as the run's config says, float32 for a Hugging Face model.
          vocabulary: a .model file, tokenizer.json or their folder; None: the one in the directory, else a run's own, or
            that of the model under an adapter.
          merge: adapters (LoRA) become part of the matrices, which is faster; False: they stay parameters of their own.

        Raises:
          UserError: the directory holds no model, or no vocabulary, or one that does not fit, or the model under its
            adapters is missing.
        """
        if dtype not in (None, "float32", "bfloat16"):
            raise UserError(f"dtype = {dtype!r} must be 'float32', 'bfloat16' or None")
        # The vocabulary comes first: it is read at once, and its mistakes need not wait for the weights.
        found = load_vocabulary(vocabulary_path(path) if vocabulary is None else vocabulary)
        config, model = load_model(path, step, mesh=mesh, dtype=dtype)
        if merge:
            config, model = merged(config, model)
        model = model if dtype is None else _computed_in(model, config, dtype)
        return cls(model, found, cls.template_of(path))

    def generate(self, prompts: str | Sequence[str | Sequence[int]], max_new_tokens: int = 64, temperature: float = 0.0, top_p: float = 1.0,
                 top_k: int = 0, repetition_penalty: float = 1.0, seed: int = 0, batch_size: int = 16,
                 enough: Callable[[str], bool] | None = None, progress: bool = False) -> list[str]:  # fmt: skip
        """What the model writes after each prompt, without the prompt, up to eos or `max_new_tokens`.

        Prompts are encoded as text: names of special tokens in them mean nothing; or they are token ids already. The same
        seed gives the same texts, and with another batch_size too. What all prompts begin with is read once a call. See
        `decoding.Sampling` for temperature (0: greedy), top_p, top_k and repetition_penalty.

        Args:
          enough: asked after every 16 tokens whether the text so far suffices; where it does the model writes no more.

        Raises:
          UserError: a number out of range, or a prompt too long for the model.
        """
        encoded = self._encoded(prompts)
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
            enough=None
            if enough is None
            else lambda i, new: enough(self._continuation(encoded[i], new)),
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

    def chat(self, messages: Sequence[Mapping[str, str]], template: str | None = None, max_new_tokens: int = 256,
             temperature: float = 0.0, top_p: float = 1.0, top_k: int = 0, repetition_penalty: float = 1.0,
             seed: int = 0) -> str:  # fmt: skip
        """What the model answers to the last of `messages`, `[{"role": "user", "content": "..."}, ...]`.

        Roles are user and assistant in turns, after a system message or none. Messages are text: names of special tokens
        in them mean nothing. A long conversation loses its oldest messages, with a warning.

        Args:
          template: one of `conversations.TEMPLATES`; None: the model's own. The others: see `generate`.

        Raises:
          UserError: no template is known, the messages are of another form, the last is too long for the model, or a
            number is out of range.
        """
        return "".join(
            self.stream_chat(
                messages,
                template,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                repetition_penalty=repetition_penalty,
                seed=seed,
            )
        )

    def stream_chat(self, messages: Sequence[Mapping[str, str]], template: str | None = None, max_new_tokens: int = 256,
                    temperature: float = 0.0, top_p: float = 1.0, top_k: int = 0, repetition_penalty: float = 1.0,
                    seed: int = 0, stop: Callable[[], bool] | None = None) -> Iterator[str]:  # fmt: skip
        """Yields, piece by piece as it is written, the answer that `chat` gives.

        Args:
          stop: asked after each token; where it says True the answer ends.
        """
        prompt = self.chat_prompt(messages, template, max_new_tokens)
        if prompt.dropped:
            warnings.warn(
                f"the conversation is too long for the model; its oldest {prompt.dropped} messages are left out",
                stacklevel=2,
            )
        tokens = decoding.stream(
            self.model,
            prompt.ids,
            max_new_tokens=prompt.room,
            sampling=decoding.Sampling(
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                repetition_penalty=repetition_penalty,
            ),
            stop_ids=self._stop_ids(),
            seed=seed,
        )
        if stop is not None:
            tokens = itertools.takewhile(lambda _: not stop(), tokens)
        return until(self._pieces(prompt.ids, tokens), self._template(template).instruction_marker)

    def chat_prompt(
        self,
        messages: Sequence[Mapping[str, str]],
        template: str | None = None,
        max_new_tokens: int = 256,
    ) -> ChatPrompt:
        """The tokens that `chat` goes on from, and how many of the oldest messages have no room in them."""
        if type(max_new_tokens) is not int or max_new_tokens < 1:
            raise UserError(
                f"max_new_tokens = {max_new_tokens!r} must be a whole number of at least 1"
            )
        return fit_prompt(
            self.vocabulary,
            parse_messages(messages),
            self._template(template),
            self.config.max_length,
            max_new_tokens,
        )

    @staticmethod
    def template_of(path: str | os.PathLike) -> str | None:
        """The template of a model's directory: what a run trained with, or whose rules its `chat_template` states.

        Of an adapter that has none it is the base's.

        Returns:
          One of `conversations.TEMPLATES`; None if the directory names none, or states other rules.
        """
        path = Path(path)
        name = read_run(path).get("template") if (path / "run.json").is_file() else None
        if name is not None:
            return name
        found = read_chat_template(path)
        if found is None and (path / "adapter_config.json").is_file():
            return LanguageModel.template_of(base_of(path))
        return None if found is None else chat_template_name(found)

    def _template(self, name: str | None) -> Template:
        if name is None and self.template is None:
            raise UserError(
                "the model's directory does not say by which template it was tuned to answer; "
                f"give template (TEMPLATE in gin), one of {', '.join(map(repr, TEMPLATES))}"
            )
        return get_template(self.template if name is None else name)

    def logprobs(
        self, texts: str | Sequence[str | Sequence[int]], batch_size: int = 8
    ) -> list[np.ndarray]:
        """The log-probability of each token of each text given those before it; of the first, given eos.

        Args:
          texts: texts, or token ids.

        Returns:
          One float32 array a text, as long as `vocabulary.encode(text)`; natural logarithms over the `vocab_size` ids.

        Raises:
          UserError: a text has more tokens than the model's longest sequence.
        """
        encoded = self._encoded(texts)
        longest = self.config.max_length
        for number, ids in enumerate(encoded, 1):
            if len(ids) > longest:
                raise UserError(
                    f"text {number} of {len(encoded)} has {len(ids)} tokens, more than the model's longest sequence, {longest}; cut it"
                )
        definition, parameters = nnx.graphdef(self.model), disassemble(self.model)
        results: list[np.ndarray] = [np.zeros(0, np.float32) for _ in encoded]
        size = max(1, min(batch_size, len(encoded)))
        for batch in decoding.batches_by_length([len(ids) for ids in encoded], size):
            shape = (size, decoding.bucket_length(max(len(encoded[i]) for i in batch), longest))
            tokens, targets = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
            for row, index in enumerate(batch):
                ids = encoded[index]
                targets[row, : len(ids)] = ids
                tokens[row, : len(ids)] = (self._before_document() + ids)[:-1]
            scores = np.asarray(score_targets(definition, parameters, tokens, targets))
            for row, index in enumerate(batch):
                results[index] = scores[row, : len(encoded[index])].copy()
        return results

    def _encoded(self, texts: str | Sequence[str | Sequence[int]]) -> list[list[int]]:
        texts = [texts] if isinstance(texts, str) else list(texts)
        strings = iter(
            self.vocabulary.encode_batch([text for text in texts if isinstance(text, str)])
        )
        return [next(strings) if isinstance(text, str) else list(text) for text in texts]

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
def score_targets(
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
