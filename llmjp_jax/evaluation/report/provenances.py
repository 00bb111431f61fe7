"""Whether runs may be compared at all: what their results were measured with, and the warnings where it is not the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmjp_jax.evaluation.report.judging import TITLES
from llmjp_jax.evaluation.report.runs import Run

# What two runs must share for their scores to mean the same.
COMPARABLE = {
    "data_version": "data version", "split": "split", "shots": "shots", "samples": "number of samples", "template_sha256": "prompt template",
    "output_length": "longest answer in tokens", "judge": "judge",
}  # fmt: skip


def unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[dict[str, tuple[Any, Any]], list[str]]:  # fmt: skip
    """What keeps two provenances from being compared.

    Returns:
      Fields of `COMPARABLE` that differ, with both values, and those that only one of the two knows.
    """
    pairs = {name: (first.get(name), second.get(name)) for name in COMPARABLE}
    differing = {name: pair for name, pair in pairs.items() if None not in pair and pair[0] != pair[1]}  # fmt: skip
    return differing, [name for name, pair in pairs.items() if pair.count(None) == 1]


@dataclasses.dataclass(frozen=True)
class Unlike:
    """How a run's results were measured otherwise than the first run's.

    Attributes:
      tasks: that both have.
      differing: field of `COMPARABLE` -> the two values -> names of results; unknown: field -> names of results where it cannot
        be seen whether it is the same.
    """

    run: Run
    tasks: tuple[str, ...]
    differing: dict[str, dict[tuple[Any, Any], list[str]]]
    unknown: dict[str, list[str]]

    @property
    def of_tasks(self) -> list[str]:
        """The fields that differ in tasks, or between the runs as a whole."""
        judged = set(TITLES.values())
        return [field for field, pairs in self.differing.items() if any(name not in judged for names in pairs.values() for name in names)]  # fmt: skip

    def listed(self, names: Sequence[str]) -> str:
        """` in jnli, jsem`, ` in all 23 tasks`, or nothing where the runs as a whole were compared."""
        names = [name for name in names if name]
        if len(self.tasks) > 3 and set(self.tasks) <= set(names):
            names = [f"all {len(self.tasks)} tasks", *(name for name in names if name not in self.tasks)]  # fmt: skip
        further = f" and {len(names) - 4} more" if len(names) > 4 else ""
        return f" in {', '.join(names[:4])}{further}" if names else ""


def in_words(fields: Iterable[str]) -> str:
    """`shots, number of samples`."""
    return ", ".join(COMPARABLE[field] for field in fields)


def unlikes_of(runs: Sequence[Run]) -> list[Unlike]:
    """What each further run does not share with the first."""
    return [_unlike(runs[0], other) for other in runs[1:]]


def _unlike(first: Run, other: Run) -> Unlike:
    """Compares what each common result was measured with; where there is none, the runs' own provenances."""
    pairs = [
        (name, {**first.provenance, **task.provenance}, {**other.provenance, **other.tasks[name].provenance})
        for name, task in first.tasks.items() if name in other.tasks
    ]  # fmt: skip
    pairs += [
        (TITLES[kind], judged.provenance, other.judged[kind].provenance)
        for kind, judged in first.judged.items() if kind in other.judged
    ]  # fmt: skip
    everything = pairs or [("", first.provenance, other.provenance)]
    found = Unlike(other, tuple(name for name in first.tasks if name in other.tasks), {}, {})
    for name, before, after in everything:
        differing, unknown = unlike(before, after)
        if first.own != other.own and differing.pop("data_version", None):
            unknown.append("data_version")  # a release's name on one side, a checksum on the other
        for field, values in differing.items():
            found.differing.setdefault(field, {}).setdefault(values, []).append(name)
        for field in unknown:
            found.unknown.setdefault(field, []).append(name)
    return found


def warnings_of(runs: Sequence[Run], unlikes: Sequence[Unlike]) -> list[str]:
    """What a reader must know before comparing."""
    several = len(runs) > 1
    sentences = [f"{run.name}: {notice}" if several else notice for run in runs for notice in run.notices]  # fmt: skip
    for found in unlikes:
        names = f"{runs[0].name} and {found.run.name}"
        for field, pairs in found.differing.items():
            values = [" and ".join(str(value) for value in pair) for pair in pairs]
            said = "; ".join(values[:2]) + ("; …" if len(values) > 2 else "")
            where = found.listed([name for group in pairs.values() for name in group])
            sentences.append(
                f"Not comparable: {names} differ in {COMPARABLE[field]} ({said}){where}."
            )
        for field, where in found.unknown.items():
            sentences.append(f"Whether {names} have the same {COMPARABLE[field]} cannot be told from what they note{found.listed(where)}.")  # fmt: skip
    if several and any(not run.own for run in runs):
        theirs = ", ".join(run.name for run in runs if not run.own)
        sentences.append(f"{theirs}: a result file of llm-jp-eval itself; its sound scores were computed from the answers in it.")  # fmt: skip
    return sentences
