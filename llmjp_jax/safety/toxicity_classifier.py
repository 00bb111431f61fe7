"""A toxicity classifier: one logistic regression for each class over a text's character n-grams. LLM-jp's baselines are others.

    classifier = ToxicityClassifier.load("runs/toxicity")
    classifier.probabilities(["…"])            # [texts, classes], in the order of classifier.classes

It is learned in `toxicity_training`. Its directory holds `classifier.json` and `classifier.safetensors`: numbers, no code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.safety.logistic_regression import sigmoid
from llmjp_jax.safety.toxicity_features import Ngrams

_FORMAT = 1
_CONFIG, _WEIGHTS = "classifier.json", "classifier.safetensors"


@dataclasses.dataclass(frozen=True)
class ToxicityClassifier:
    """Weights for some classes, and from which probability on a text counts as one.

    Attributes:
      classes: names, 'toxic' first.
      thresholds: one a class.
      ngrams: what a text's features are.
      rarity: [buckets] float32. weights: [classes, buckets] float32. bias: [classes] float32.
      training: what it was learned from, for its file: JSON values.
    """

    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    ngrams: Ngrams
    rarity: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    training: Mapping[str, Any]

    def __post_init__(self):
        shapes = {
            "thresholds": (np.shape(self.thresholds), (len(self.classes),)),
            "rarity": (self.rarity.shape, (self.ngrams.buckets,)),
            "weights": (self.weights.shape, (len(self.classes), self.ngrams.buckets)),
            "bias": (self.bias.shape, (len(self.classes),)),
        }
        for name, (found, wanted) in shapes.items():
            if found != wanted:
                raise UserError(f"{name} has the shape {found} and needs {wanted}; train anew")
        if not self.classes or self.classes[0] != "toxic":
            raise UserError(f"the classes {self.classes!r} must begin with 'toxic'")

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """p(class) [texts, classes] float64. An empty text has what the share of the class in training gives."""
        rows = self.ngrams.matrix(texts, self.rarity)
        return sigmoid(rows @ self.weights.T + self.bias)

    def flagged(self, probabilities: np.ndarray) -> np.ndarray:
        """Whether each text counts as each class [texts, classes] bool."""
        return probabilities >= np.asarray(self.thresholds)

    def with_threshold(self, threshold: float) -> ToxicityClassifier:
        """The same with another threshold of 'toxic'."""
        if not 0 < threshold < 1:
            raise UserError(f"threshold = {threshold!r} must lie between 0 and 1")
        return dataclasses.replace(self, thresholds=(threshold, *self.thresholds[1:]))

    @property
    def fingerprint(self) -> str:
        """12 hex digits by which results name it."""
        digest = hashlib.sha256(self._bytes())
        digest.update(json.dumps([self.classes, self.thresholds]).encode())
        return digest.hexdigest()[:12]

    def save(self, directory: str | Path) -> None:
        """Writes both files; a directory where only one was replaced is found out when it is loaded."""
        content = self._bytes()
        config = {
            "format": _FORMAT,
            "classes": self.classes,
            "thresholds": self.thresholds,
            "ngrams": dataclasses.asdict(self.ngrams),
            "training": dict(self.training),
            "weights_sha256": hashlib.sha256(content).hexdigest(),
        }
        with atomic_write(Path(directory) / _WEIGHTS) as file:
            file.write(content)
        with atomic_write(Path(directory) / _CONFIG, "w") as file:
            file.write(json.dumps(config, ensure_ascii=False, indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, directory: str | Path) -> ToxicityClassifier:
        """The classifier of a directory.

        Raises:
          UserError: a file is missing or broken, or the two do not belong together.
        """
        from safetensors.numpy import load

        directory = Path(directory)
        try:
            config = json.loads((directory / _CONFIG).read_text(encoding="utf-8"))
            content = (directory / _WEIGHTS).read_bytes()
        except OSError as error:
            raise UserError(
                f"{directory} holds no toxicity classifier ({error.strerror}: {error.filename}); "
                "train one: python tools/safety.py toxicity train"
            ) from None
        except ValueError as error:
            raise UserError(f"{directory / _CONFIG} is not JSON ({error}); train anew") from None
        if not isinstance(config, dict) or config.get("format") != _FORMAT:
            raise UserError(f"{directory / _CONFIG} is of another format; train anew")
        if hashlib.sha256(content).hexdigest() != config.get("weights_sha256"):
            raise UserError(
                f"{directory}: {_WEIGHTS} is not the one that {_CONFIG} belongs to; train anew"
            )
        arrays = load(content)
        ngrams = config["ngrams"] | {"sizes": tuple(config["ngrams"]["sizes"])}
        return cls(
            tuple(config["classes"]), tuple(config["thresholds"]), Ngrams(**ngrams),
            arrays["rarity"], arrays["weights"], arrays["bias"], config["training"],
        )  # fmt: skip

    def _bytes(self) -> bytes:
        from safetensors.numpy import save

        return save({"rarity": self.rarity, "weights": self.weights, "bias": self.bias})
