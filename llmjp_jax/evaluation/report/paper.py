"""The paper's result tables, as `data/paper_results.toml` has them, and which of their rows stand beside a run."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping, Sequence

from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.errors import UserError

_FEWEST = 3  # columns that must be known of a run to call a row the nearest


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    Attributes:
      kind: of the results that it answers to: 'llm_jp_eval', 'vicuna', 'mt_bench', 'answer_carefully', ...
      settings: in words, how its numbers came about.
      columns: names of the numbers of a row; average: the one that sums a row up.
      rows: the paper's name of a model, such as 'v2.0-L' -> its numbers.
    """

    kind: str
    title: str
    source: str
    settings: str
    columns: tuple[str, ...]
    average: str
    rows: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        for name, values in self.rows.items():
            if len(values) != len(self.columns):
                raise UserError(
                    f"row {name} of {self.source} has {len(values)} numbers for {len(self.columns)} columns; correct data/paper_results.toml"
                )
        if self.average not in self.columns:
            raise UserError(f"average = {self.average!r} is no column of {self.source}; correct data/paper_results.toml")  # fmt: skip

    def value(self, row: str, column: str) -> float:
        return self.rows[row][self.columns.index(column)]

    def nearest(self, values: Mapping[str, float | None]) -> str | None:
        """The row with the least mean distance from a run's `values` by column, `average` apart where there are others.

        None where too few columns of the run are known.
        """
        parts = [name for name in self.columns if name != self.average] or list(self.columns)
        known = [name for name in parts if values.get(name) is not None]
        if len(known) < min(_FEWEST, len(parts)):
            return None
        return min(self.rows, key=lambda row: sum(abs(self.value(row, name) - values[name]) for name in known))  # fmt: skip


@functools.cache
def load_paper() -> dict[str, PaperTable]:
    """The paper's tables by kind.

    Raises:
      UserError: the manifest is not of the form that its head describes.
    """
    manifest = load_manifest("paper_results")
    return {
        table["kind"]: PaperTable(
            rows={name: tuple(values) for name, values in table["rows"].items()},
            columns=tuple(table["columns"]),
            **{name: table[name] for name in ("kind", "title", "source", "settings", "average")},
        )
        for table in manifest["tables"].values()
    }


@functools.cache
def paper_models() -> Mapping[str, str]:
    """The paper's name of a model, such as 'v2.0-L' -> its name on Hugging Face."""
    return load_manifest("paper_results")["models"]


def choose_rows(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each of which must be a model of the paper: 'v1.0-A' ... 'v2.0-O', or what it is called on Hugging Face.

    Raises:
      UserError: one is not; it says the nearest name.
    """
    models = paper_models()
    by_name = {**{row: row for row in models}, **{model: row for row, model in models.items()}}
    for name in names:
        if name not in by_name:
            folded = {known.lower(): known for known in by_name}
            near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.3)
            hint = (
                f"did you mean {folded[near[0]]!r}?" if near else f"take one of {', '.join(models)}"
            )
            raise UserError(f"the paper has no model {name!r}; {hint}")
    return tuple(dict.fromkeys(by_name[name] for name in names))
