"""A run's scores with what resampling says of them: each metric of each task, the categories, and the average.

Two versions go side by side: 'value', the sound one, and 'compat', llm-jp-eval 1.3's. Resamples of different tasks are drawn
apart and put together by number, so that a category's interval comes from its tasks' items resampled jointly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from llmjp_jax.evaluation.aggregation import AVERAGE, categories, counted_metric
from llmjp_jax.evaluation.metrics import COMPAT, MetricUnavailable, score
from llmjp_jax.evaluation.report.bootstrap import (
    Interval,
    Scorer,
    corpus_scorer,
    generator,
    interval,
    is_cheap,
    mean_scorer,
    resample,
)
from llmjp_jax.evaluation.report.comparison import RESAMPLES as COMPARISONS
from llmjp_jax.evaluation.report.comparison import Difference, difference
from llmjp_jax.evaluation.report.runs import Item, Run, TaskResult
from llmjp_jax.evaluation.tasks import load_tasks

VERSIONS = {"value": None, "compat": COMPAT}
Key = tuple[str, str]  # a task and a metric


@dataclasses.dataclass(frozen=True)
class Resampled:
    """A number with its resamples, [resamples]; None where it could not be resampled.

    Attributes:
      given: an interval that its file has, in place of that of resamples.
    """

    value: float
    resamples: np.ndarray | None
    given: Interval | None = None

    @property
    def interval(self) -> Interval | None:
        if self.given is not None or self.resamples is None:
            return self.given
        return interval(self.resamples)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """All numbers of one run: version -> (task, metric) -> number, and version -> category or 'AVG' -> number."""

    tasks: Mapping[str, Mapping[Key, Resampled]]
    categories: Mapping[str, Mapping[str, Resampled]]


def measure(run: Run, progress: bool = True) -> Measurement:
    """The numbers of a run and their resamples; what the run's files say is not computed anew."""
    tasks: dict[str, dict[Key, Resampled]] = {version: {} for version in VERSIONS}
    for task in tqdm(run.tasks.values(), f"intervals of {run.name}", unit="task", disable=not progress or not run.tasks):  # fmt: skip
        for metric, measured in task.metrics.items():
            for version in VERSIONS:
                value = getattr(measured, version)
                if value is not None:
                    resamples = _resamples(task, metric, version)
                    tasks[version][task.name, metric] = Resampled(value, resamples)
    said = {
        "value": {**run.categories, AVERAGE: run.average},
        "compat": {**run.compat_categories, AVERAGE: run.compat_average},
    }
    return Measurement(
        tasks,
        {version: _categories(tasks[version], said[version], version) for version in VERSIONS},
    )


def _resamples(task: TaskResult, metric: str, version: str) -> np.ndarray | None:
    """Resamples of a metric, drawn alike for every run and version; None for fewer than two items, or none to draw from."""
    if len(task.items) < 2:
        return None
    said, scorer = getattr(task.metrics[metric], version), None
    if version == "compat" and said != task.metrics[metric].value:
        scorer = scorer_of(task.items, metric, version)
    if scorer is None:
        # Where llm-jp-eval's score of each item is not known, its mean varies about as the sound one's does.
        scorer = scorer_of(task.items, metric, "value")
    if scorer is None:
        return None
    resamples = resample(scorer, len(task.items), generator("interval", task.name))
    return resamples + (said - scorer(np.arange(len(task.items))[None])[0])


def scorer_of(items: Sequence[Item], metric: str, version: str) -> Scorer | None:
    """How a metric scores drawn items; None where the files do not say and finding out takes a model or runs programs."""
    if version == "value" and all(metric in item.scores for item in items):
        return mean_scorer([item.scores[metric] for item in items])
    if not is_cheap(metric):
        return None
    golds = [item.gold for item in items]
    answers = [item.compat_prediction if version == "compat" else item.prediction for item in items]
    try:
        found = score(metric, answers, golds, compat=VERSIONS[version])
    except MetricUnavailable:
        return None
    if found.items is not None:
        return mean_scorer(found.items)
    return corpus_scorer(metric, answers, golds, VERSIONS[version])


def weights(keys: Sequence[Key], version: str) -> dict[str, np.ndarray]:
    """What each (task, metric) adds to each category and to the average, [keys]: read off the aggregation, which is linear."""
    names = [f"{task}_{metric}" for task, metric in keys]
    zeros = dict.fromkeys(names, 0.0)
    ones = [categories({**zeros, name: 1.0}, compat=VERSIONS[version]) for name in names]
    known = categories(zeros, compat=VERSIONS[version])
    return {category: np.array([one[category] for one in ones]) for category in known}


def _categories(tasks: Mapping[Key, Resampled], said: Mapping[str, float | None], version: str) -> dict[str, Resampled]:  # fmt: skip
    keys = list(tasks)
    shares = weights(keys, version) if keys else {}
    found = {}
    for category, value in said.items():
        if value is None:
            continue
        share = shares.get(category, np.zeros(len(keys)))
        used = [place for place in range(len(keys)) if share[place]]
        parts = [tasks[keys[place]].resamples for place in used]
        joint = None
        if used and all(part is not None for part in parts):
            joint = sum(share[place] * part for place, part in zip(used, parts, strict=True))
        found[category] = Resampled(value, joint)
    return found


def complete_categories(run: Run) -> frozenset[str]:
    """The categories all of whose tasks of llm-jp-eval 1.3 the run has scored, and 'AVG' where that is all of them."""
    missing, known = set(), set()
    for task in load_tasks().values():
        if task.category and task.since == "1.3":
            known.add(task.category)
            result = run.tasks.get(task.name)
            measured = result and result.metrics.get(counted_metric(task))
            if not measured or measured.compat is None:
                missing.add(task.category)
    return frozenset(known - missing | (set() if missing else {AVERAGE}))


@dataclasses.dataclass(frozen=True)
class Differences:
    """How a run differs from the first: by (task, metric), and by category or 'AVG'; None where that cannot be said."""

    tasks: Mapping[Key, Difference | None]
    categories: Mapping[str, Difference | None]


def differences(first: Run, other: Run, progress: bool = True) -> Differences:
    """Paired comparisons of two runs, not yet adjusted for their number.

    Items are paired where index, input and gold are the same.
    """
    tasks, resampled, values = {}, {}, {}
    both = [name for name in first.tasks if name in other.tasks]
    for name in tqdm(both, f"{other.name} against {first.name}", unit="task", disable=not progress or not both):  # fmt: skip
        pairs = _common(first.tasks[name], other.tasks[name])
        for metric in first.tasks[name].metrics:
            tasks[name, metric] = None
            if metric in other.tasks[name].metrics and pairs:
                compared = _compare(pairs, name, metric)
                if compared is not None:
                    key = name, metric
                    values[key], resampled[key] = compared
                    tasks[key] = difference(values[key], resampled[key], len(pairs))
    shares = [
        {category: {key for key, part in zip(keys, share, strict=True) if part} for category, share in weights(keys, "value").items()}
        for keys in (_keys(first), _keys(other))
    ]  # fmt: skip
    found = {}
    for category in shares[0].keys() & shares[1].keys():
        keys = shares[0][category]
        found[category] = None
        if keys == shares[1][category] and all(tasks.get(key) for key in keys):
            found[category] = _joint(sorted(keys), category, values, resampled, tasks)
    return Differences(tasks, found)


def _keys(run: Run) -> list[Key]:
    return [(task.name, metric) for task in run.tasks.values() for metric, measured in task.metrics.items() if measured.value is not None]  # fmt: skip


def _common(first: TaskResult, other: TaskResult) -> list[tuple[Item, Item]]:
    found = {item.index: item for item in other.items}
    return [
        (item, found[item.index])
        for item in first.items
        if item.index in found and (item.input, item.gold) == (found[item.index].input, found[item.index].gold)
    ]  # fmt: skip


def _compare(pairs, task: str, metric: str) -> tuple[float, np.ndarray] | None:
    """The difference on the common items and its resamples."""
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    rng = generator("comparison", task)
    if all(metric in item.scores for side in sides for item in side):
        gained = np.array([b.scores[metric] - a.scores[metric] for a, b in pairs])
        return float(gained.mean()), resample(mean_scorer(gained), len(pairs), rng, COMPARISONS)
    scorers = [scorer_of(side, metric, "value") for side in sides]
    if None in scorers:
        return None
    everything = np.arange(len(pairs))[None]
    value = float(scorers[1](everything)[0] - scorers[0](everything)[0])
    return value, resample(lambda drawn: scorers[1](drawn) - scorers[0](drawn), len(pairs), rng)


def _joint(keys, category, values, resampled, tasks) -> Difference | None:
    share = weights(keys, "value")[category]
    fewest = min(len(resampled[key]) for key in keys)
    value = sum(part * values[key] for part, key in zip(share, keys, strict=True))
    joint = sum(part * resampled[key][:fewest] for part, key in zip(share, keys, strict=True))
    return difference(float(value), joint, sum(tasks[key].items for key in keys))
