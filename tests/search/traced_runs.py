"""Real training runs over small stores in which no token id stands twice, with every array that their steps were given.

Since an id stands in one place of one store, the arrays alone say what a step taught: nothing of `inputs` or of the trace is
needed to know it. The arrays are taken where the trainer hands them to its compiled step.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from llmjp_jax.checkpoints import CheckpointConfig
from llmjp_jax.inputs import ExamplesConfig, TokenStore, TokenStoreWriter
from llmjp_jax.models import ModelConfig
from llmjp_jax.parallel import make_mesh
from llmjp_jax.posttraining import DPO
from llmjp_jax.search import DocumentId
from llmjp_jax.search.trace import Trace
from llmjp_jax.tokenizer import load_vocabulary
from llmjp_jax.training import OptimizerConfig, Trainer, loop, train

STEPS = 200
LENGTH, ROWS = 16, 4
FIRST_ID = 8  # below are the special ones; 0 is padding
VOCABULARY = 12_000
MODEL = dict(
    vocab_size=VOCABULARY, layers=1, embed=8, heads=2, mlp=16, max_length=64, position="rope", norm="rmsnorm",
    activation="swiglu", bias=False, tied_embeddings=True,
)  # fmt: skip
OPTIMIZER = dict(
    learning_rate=1e-3, final_learning_rate=1e-4, warmup_steps=2, decay_steps=STEPS, beta1=0.9, beta2=0.95, epsilon=1e-8,
    weight_decay=0.1, clip_norm=1.0,
)  # fmt: skip

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"mixture_or_task_name": "ja"},
    "mixture": {"mixture_or_task_name": "mix"},
    "masked": {"mixture_or_task_name": "mix", "document_mask": True},
    "megatron": {"mixture_or_task_name": "mix", "order": "megatron", "document_mask": True},
    "stages": {"mixture_or_task_name": (("ja", 40), ("mix", 90), ("ja", 1))},
    "packed": {"mixture_or_task_name": "tuning", "examples": ExamplesConfig(max_length=14)},
    "padded": {
        "mixture_or_task_name": "tuning",
        "examples": ExamplesConfig(max_length=14, packing=False, buckets=(8, 16)),
    },
    "pairs": {
        "mixture_or_task_name": "pairs",
        "examples": ExamplesConfig(max_length=16, max_prompt_length=6),
        "objective": DPO(beta=0.5),
        "sequence_length": 2 * LENGTH,
    },
}


# Killed when this step was to begin, which is after a checkpoint, and started again.
KILLED = {"mixture": 103, "packed": 103}


class World(NamedTuple):
    """The stores and where each id stands: `place_of[id]` is (source, document, token)."""

    cache: Path
    vocabulary: Path
    place_of: dict[int, tuple[str, int, int]]

    def store(self, source: str) -> TokenStore:
        return TokenStore(self.cache / source / "train")

    def documents(self, *sources: str) -> list[DocumentId]:
        return [
            DocumentId(source, "train", number)
            for source in sources
            for number in range(len(self.store(source)))
        ]


class TracedRun(NamedTuple):
    """A run and its batches by step: dicts of [rows, length] arrays, as the compiled step had them.

    `when_killed` is the run's trace between two starts, of a kind that was killed.
    """

    kind: str
    directory: Path
    batches: dict[int, dict[str, np.ndarray]]
    world: World
    when_killed: Trace | None = None

    def held(self, step: int) -> list[list[int]]:
        """The ids of each row of a step, each as often as the row has it as an input or as a target that is no input too."""
        tokens, targets = (self.batches[step][name] for name in ("tokens", "targets"))
        following = np.pad(tokens[:, 1:], ((0, 0), (0, 1)))
        ends = np.where(targets != following, targets, 0)
        return [
            [id for id in (*row, *last) if id]
            for row, last in zip(tokens.tolist(), ends.tolist(), strict=True)
        ]

    def inversion(self) -> dict[tuple[str, int], Counter]:
        """By (source, document): how often each (step, row, token of the document) was in a batch."""
        found: dict[tuple[str, int], Counter] = {}
        for step in self.batches:
            for row, ids in enumerate(self.held(step)):
                for id in ids:
                    source, document, token = self.world.place_of[id]
                    found.setdefault((source, document), Counter())[step, row, token] += 1
        return found


def build_world(folder: Path, vocabulary: Path) -> World:
    """Three stores of text, two of examples and one of pairs; their mixtures `mix` and `tuning`."""
    random, fingerprint = np.random.default_rng(0), load_vocabulary(vocabulary).fingerprint
    cache, place_of, free = folder / "cache", {}, iter(range(FIRST_ID, VOCABULARY))

    def write(source: str, lengths, prompts=None, kind=None) -> None:
        (cache / source).mkdir(parents=True)
        writer = TokenStoreWriter(cache / source / "train", np.int32, masked=prompts is not None)
        for number, length in enumerate(lengths):
            ids = [next(free) for _ in range(length)]
            place_of.update({id: (source, number, token) for token, id in enumerate(ids)})
            if prompts is None:
                writer.add(ids)
            else:
                writer.add(ids, mask=(np.arange(length) >= prompts[number]).astype(np.uint8))
        about = {"kind": kind, "template": "v1.1", "mask_sha256": writer.sha256(".mask")} if kind else {}  # fmt: skip
        writer.commit(about | {
            "vocabulary": {"path": str(vocabulary), "fingerprint": fingerprint}, "documents": writer.documents,
            "tokens": writer.tokens, "sha256": writer.sha256(),
        })  # fmt: skip

    # Some documents are empty, one is many rows long, and the last ones lie beyond the last whole window.
    write("ja", [*random.integers(0, 20, 100), 150, *random.integers(1, 20, 30), 3, 0, 4])
    write("en", [*random.integers(1, 12, 90), 5])
    write("code", random.integers(30, 90, 60))  # more than the run reads
    (cache / "mix.mixture.json").write_text('{"weights": {"ja": 5, "en": 4, "code": 1}}')
    # Some prompts reach beyond the 14 tokens that are kept: their examples are dropped; others are only cut.
    for source, count in (("dolly", 150), ("careful", 60)):
        prompts, responses = random.integers(1, 17, count), random.integers(1, 9, count)
        write(source, prompts + responses, prompts, "examples")
    (cache / "tuning.mixture.json").write_text('{"weights": {"dolly": 1, "careful": 3}}')
    # A response that is empty, of a pair that is dropped for it.
    prompts, responses = np.repeat(random.integers(1, 14, 110), 2), random.integers(1, 14, 220)
    responses[7] = 0
    write("pairs", prompts + responses, prompts, "pairs")
    return World(cache, vocabulary, place_of)


def arguments_of(kind: str, world: World, directory: Path) -> dict[str, Any]:
    """Keyword arguments of `train`."""
    common = dict(
        model_dir=str(directory), model=ModelConfig(**MODEL), optimizer=OptimizerConfig(**OPTIMIZER),
        vocabulary=str(world.vocabulary), cache_dir=str(world.cache), sequence_length=LENGTH, batch_size=ROWS,
        total_steps=STEPS, seed=3, checkpoints=CheckpointConfig(period=100, keep=None),
    )  # fmt: skip
    return common | KINDS[kind]


@contextmanager
def captured(batches: dict[int, dict[str, np.ndarray]], stop_at: int | None = None):
    """Puts what every compiled step is given into `batches` under the step's number, until one of `stop_at` is to begin.

    A step that comes twice, as after a kill, must be given the same.
    """
    compiled_step = Trainer.__dict__["step"].func

    def step(self):
        compiled = self.__dict__.setdefault("_compiled_step", compiled_step(self))

        def given(state, batch):
            number = int(jax.device_get(state.step))
            if number == stop_at:
                raise KeyboardInterrupt
            arrays = {name: np.array(jax.device_get(array)) for name, array in batch.items()}
            for name, array in batches.get(number, {}).items():
                assert np.array_equal(array, arrays[name])
            batches[number] = arrays
            return compiled(state, batch)

        return given

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", property(step))
        # One of the tests' eight devices, which is quicker.
        patch.setattr(loop, "make_mesh", lambda config: make_mesh(config, jax.devices()[:1]))
        yield


def traced_run(kind: str, world: World, directory: Path) -> TracedRun:
    """Trains a run of `STEPS` steps."""
    batches: dict[int, dict[str, np.ndarray]] = {}
    when_killed = None
    if kind in KILLED:
        with captured(batches, stop_at=KILLED[kind]), pytest.raises(KeyboardInterrupt):
            train(**arguments_of(kind, world, directory))
        when_killed = Trace.open(directory)
    with captured(batches):
        train(**arguments_of(kind, world, directory))
    assert sorted(batches) == list(range(STEPS))
    return TracedRun(kind, directory, batches, world, when_killed)


def edited_run(directory: Path, target: Path, **changes) -> Path:
    """A copy of a run's record alone, with fields of run.json changed, or left out where the value is None."""
    target.mkdir(parents=True)
    record = json.loads((directory / "run.json").read_text())
    record = {
        key: value for key, value in (record | changes).items() if changes.get(key, 0) is not None
    }
    (target / "run.json").write_text(json.dumps(record))
    return target
