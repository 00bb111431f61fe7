"""What both sides of the training benchmark must do alike, as one file that our side writes and the peer reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A model's training steps, said without JAX or torch.

    Attributes:
      directory: Hugging Face directory with the initial weights.
      platform: 'cpu' or 'gpu'. dtype: of the computation; parameters are float32.
      checkpointing: whether the backward pass recomputes whole blocks.
      accumulation: parts of a batch that are computed one after another.
      learning_rates: of each step. The rest is AdamW's, by the names of `OptimizerConfig`.
    """

    directory: str
    platform: str
    dtype: str
    checkpointing: bool
    batch_size: int
    sequence_length: int
    vocab_size: int
    accumulation: int
    seed: int
    learning_rates: list[float]
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    clip_norm: float

    @classmethod
    def read(cls, path: Path) -> Job:
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self)))

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """tokens and targets of a step, [batch, length] int32 each: uniformly random, fixed by seed and step."""
        random = np.random.default_rng((self.seed, step))
        shape = (self.batch_size, self.sequence_length + 1)
        window = random.integers(0, self.vocab_size, shape, dtype=np.int32)
        return window[:, :-1], window[:, 1:]
