"""What a run's contamination.json says: how much of each of its items stands in a training corpus, word for word.

The file is written beside a run's summary by the program that looks into the corpus, and read here. Marks are those of Touvron et al.
2023 (Llama 2, appendix A.6): less than 20 % of an item's units covered is clean, 80 % and more is dirty. What follows for scores is
`contamination_findings`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.report.runs import Run, field, number
from llmjp_jax.evaluation.results import read_json

FILE = "contamination.json"
KIND, FORMAT = "contamination", 1
CLEAN, PARTIAL, DIRTY, TOO_SHORT = MARKS = ("clean", "partial", "dirty", "too_short")

_HINT = "make it anew with tools/contamination.py"


def identity(input: str, gold: str) -> str:
    """Sixteen hex digits that an item is known by, whatever run asked it; `gold` as it is scored against."""
    return hashlib.sha256(f"{input}\0{gold}".encode(errors="surrogatepass")).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class ItemContamination:
    """One item against the corpus.

    Attributes:
      id: `identity` of it.
      mark: one of `MARKS`; covered: share of its units that lie in verbatim n-grams, None where it is too short to judge.
      longest: its longest verbatim run: part, text, units, counts and documents; None where there is none.
      with_answer: whether a document that holds the longest run of the input also holds the answer; None where that says nothing.
    """

    index: int
    id: str
    mark: str
    covered: float | None
    longest: Mapping[str, Any] | None
    with_answer: bool | None


@dataclasses.dataclass(frozen=True)
class Contamination:
    """All of contamination.json: `tasks` by name, in each its items by index; how and against what it was checked."""

    method: Mapping[str, Any]
    corpus: Mapping[str, Any]
    provenance: Mapping[str, Any]
    tasks: Mapping[str, Mapping[int, ItemContamination]]

    def not_clean(self, task: str, indices: Any) -> int | None:
        """How many of these items are partly or wholly in the corpus; None for a task that was not checked."""
        if task not in self.tasks:
            return None
        marks = [self.tasks[task][index].mark for index in indices]
        return sum(mark in (PARTIAL, DIRTY) for mark in marks)


def with_contamination(run: Run) -> Run:
    """The run with what its folder's contamination.json says, or with a notice where that is about other items.

    Raises:
      UserError: the file is half-written or of another form.
    """
    path = run.path / FILE
    if not path.exists():
        return run
    found = read_contamination(path)
    other = [name for name, task in run.tasks.items() if not _is_about(found, name, task)]
    if other or not found.tasks.keys() & run.tasks.keys():
        which = f": {', '.join(other[:4])}{' …' if len(other) > 4 else ''}" if other else ""
        notice = f"{FILE} is not shown, for it was made for other items than this run was asked{which}; {_HINT}."
        return dataclasses.replace(run, notices=(*run.notices, notice))
    return dataclasses.replace(run, contamination=found)


def _is_about(found: Contamination, name: str, task: Any) -> bool:
    items = found.tasks.get(name)
    return items is None or all(
        item.index in items and items[item.index].id == identity(item.input, item.gold)
        for item in task.items
    )


def read_contamination(path: Path) -> Contamination:
    """The file's contents.

    Raises:
      UserError: it is missing, half-written, of another format, or a field is not as it must be.
    """
    try:
        return _read(path)
    except UserError as error:
        what, *_ = str(error).rpartition(
            "; "
        )  # the advice of other files' errors is to evaluate again
        raise UserError(f"{what}; {_HINT}") from None


def _read(path: Path) -> Contamination:
    content = read_json(path, ("kind", "format", "method", "corpus", "provenance", "tasks"))
    if (content["kind"], content["format"]) != (KIND, FORMAT):
        raise UserError(f"{path} is of kind {content['kind']!r} and format {content['format']!r}, and {KIND!r} of format {FORMAT} is read; {_HINT}")  # fmt: skip
    method, corpus, provenance, tasks = (field(content, name, dict, path) for name in ("method", "corpus", "provenance", "tasks"))  # fmt: skip
    for name in ("n", "n_characters", "fewest", "clean_below", "dirty_from"):
        if number(method, name, path) is None:
            raise UserError(f"{path} has no number {name}; {_HINT}")
    for store in field(corpus, "stores", list, path):
        for name, kind in (("subset", str), ("split", str), ("documents", int), ("tokens", int), ("fingerprint", str)):  # fmt: skip
            field(store, name, kind, path)
    found = {}
    for name in tasks:
        items = [_item(item, f"{path}, {name}, item {place},") for place, item in enumerate(field(tasks[name], "items", list, path))]  # fmt: skip
        found[name] = {item.index: item for item in items}
    return Contamination(method, corpus, provenance, found)


def _item(record: Any, at: str) -> ItemContamination:
    mark, covered = field(record, "mark", str, at), number(record, "covered", at)
    if mark not in MARKS or (covered is None) != (mark == TOO_SHORT):
        raise UserError(f"{at} has mark = {mark!r} and covered = {covered!r}, which do not fit; {_HINT}")  # fmt: skip
    longest = record.get("longest")
    if longest is not None:
        for name, kind in (("part", str), ("text", str), ("unit", str), ("units", int), ("documents", int), ("occurrences", int), ("where", list)):  # fmt: skip
            field(longest, name, kind, at)
        for place in longest["where"]:
            field(place, "document", str, at)
            field(place, "source", str, at)
    return ItemContamination(
        index=field(record, "index", int, at),
        id=field(record, "id", str, at),
        mark=mark,
        covered=covered,
        longest=longest,
        with_answer=record.get("with_answer"),
    )
