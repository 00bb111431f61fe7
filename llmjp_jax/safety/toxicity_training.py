"""Learns a toxicity classifier and says how good it is: stratified split, cross-validated penalty and thresholds, test.

Test texts choose nothing. Of the others each fold is scored by a classifier that did not see it; these scores choose the
penalty and the thresholds. The classifier that is kept is learned from all texts but the test's.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.safety.logistic_regression import Line, fit, log_loss
from llmjp_jax.safety.results import safety_facts
from llmjp_jax.safety.toxicity_classifier import ToxicityClassifier
from llmjp_jax.safety.toxicity_data import LabelledText, class_names, without_repeats
from llmjp_jax.safety.toxicity_features import Ngrams
from llmjp_jax.safety.toxicity_thresholds import (
    best_f1_threshold,
    quality,
    threshold_for_precision,
    threshold_table,
)


@dataclasses.dataclass(frozen=True)
class Trained:
    """Attributes:
    classifier: what was learned.
    report: its quality on the test texts as JSON values, with a threshold table for each class.
    """

    classifier: ToxicityClassifier
    report: dict[str, Any]


def train(
    texts: Sequence[LabelledText],
    *,
    seed: int = 0,
    precision: float | None = None,
    progress: bool = False,
) -> Trained:
    """Learns from the data set; the same texts and seed give the same classifier.

    Args:
      precision: the threshold of 'toxic' is the one that finds most with at least this precision; None: of the largest F1,
        as of all other classes.

    Raises:
      UserError: too few texts of a kind, or no threshold has the precision.
    """
    facts = safety_facts("toxicity")["classifier"]
    given, texts = len(texts), without_repeats(texts)
    test, rest = _split(texts, facts["test_share"], seed)
    names, left_out = _learnable(rest, test, facts)
    ngrams = Ngrams(tuple(facts["ngrams"]), facts["buckets"], facts["longest_text"])
    rarity = ngrams.rarity(text.text for text in rest)
    rows = ngrams.matrix((text.text for text in rest), rarity)
    folds = np.empty(len(rest), np.int64)
    folds[_dealt(rest, seed + 1)] = np.arange(len(rest)) % facts["folds"]
    truths = {name: np.array([name in text.classes for text in rest]) for name in names}
    fits = facts["folds"] * (len(facts["penalties"]) + len(names) - 1) + len(names)
    with tqdm(total=fits, unit="fit", desc="toxicity classifier", disable=not progress) as bar:
        penalty, held_out = _best_penalty(rows, truths["toxic"], folds, facts["penalties"], bar)
        lines, thresholds = [], []
        for name in names:
            if name != "toxic":
                held_out = _held_out(rows, truths[name], folds, penalty, bar)
            if name == "toxic" and precision is not None:
                thresholds.append(
                    threshold_for_precision(
                        held_out, truths[name], precision, facts["least_positive"]
                    )
                )
            else:
                thresholds.append(best_f1_threshold(held_out, truths[name]))
            lines.append(fit(rows, truths[name], penalty))
            bar.update()
    training = {"texts": len(rest), "penalty": penalty, "seed": seed, "precision": precision}
    classifier = _assembled(names, thresholds, ngrams, rarity, lines, training)
    report = _report(classifier, test, truths)
    report["counts"] = {"texts": given, "repeated": given - len(texts), "train": len(rest), "test": len(test), "left_out": left_out}  # fmt: skip
    report["training"] = training
    return Trained(classifier, report)


def _dealt(texts: Sequence[LabelledText], seed: int) -> list[int]:
    """Indices in an order in which like texts (of the same label and flags) are neighbours, those among them at random."""
    drawn = random.Random(seed)
    keys = [(text.label, sorted(text.flags), drawn.random()) for text in texts]
    return sorted(range(len(texts)), key=lambda index: keys[index])


def _split(texts, share: float, seed: int) -> tuple[list[LabelledText], list[LabelledText]]:
    """Test texts and the others: of each kind the same share."""
    shift = random.Random(f"shift {seed}").random()
    order = _dealt(texts, seed)
    chosen = {
        index
        for place, index in enumerate(order)
        if int((place + 1) * share + shift) > int(place * share + shift)
    }
    return [texts[i] for i in sorted(chosen)], [t for i, t in enumerate(texts) if i not in chosen]


def _learnable(rest, test, facts) -> tuple[list[str], list[str]]:
    """The classes with enough texts of both kinds, and the others; 'toxic' must be among the first."""
    least = facts["least_positive"]
    counts = {name: sum(name in text.classes for text in rest) for name in class_names()}
    if min(counts["toxic"], len(rest) - counts["toxic"]) < least or not test:
        raise UserError(
            f"of {len(rest)} texts to learn from {counts['toxic']} are toxic; there must be {least} or more of both kinds"
        )
    names = [name for name, count in counts.items() if least <= count <= len(rest) - least]
    return names, [name for name in counts if name not in names]


def _held_out(rows, positive: np.ndarray, folds: np.ndarray, penalty: float, bar) -> np.ndarray:
    """p(positive) of each row by a model that did not see its fold."""
    found = np.empty(len(positive))
    for fold in np.unique(folds):
        inside = folds == fold
        if positive[~inside].any():
            found[inside] = fit(rows[~inside], positive[~inside], penalty).probabilities(rows[inside])  # fmt: skip
        else:
            found[inside] = 0.0
        bar.update()
    return found


def _best_penalty(rows, positive, folds, penalties, bar) -> tuple[float, np.ndarray]:
    scored = [(each, _held_out(rows, positive, folds, each, bar)) for each in penalties]
    return min(scored, key=lambda found: log_loss(found[1], positive))


def _assembled(names, thresholds, ngrams, rarity, lines: list[Line], training) -> ToxicityClassifier:  # fmt: skip
    weights = np.stack([line.weights for line in lines]).astype(np.float32)
    bias = np.array([line.bias for line in lines], np.float32)
    return ToxicityClassifier(tuple(names), tuple(thresholds), ngrams, rarity, weights, bias, training)  # fmt: skip


def _report(classifier: ToxicityClassifier, test, truths) -> dict[str, Any]:
    probabilities = classifier.probabilities([text.text for text in test])
    classes = {}
    for column, (name, threshold) in enumerate(zip(classifier.classes, classifier.thresholds, strict=True)):  # fmt: skip
        positive = np.array([name in text.classes for text in test])
        found = probabilities[:, column]
        classes[name] = {
            **quality(found, positive, threshold).as_dict(),
            "positive_train": int(truths[name].sum()),
            "positive_test": int(positive.sum()),
            "table": [each.as_dict() for each in threshold_table(found, positive, threshold)],
        }
    return {"kind": "toxicity_classifier", "classifier": classifier.fingerprint, "classes": classes}
