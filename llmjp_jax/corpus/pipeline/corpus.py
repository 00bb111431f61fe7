"""What is done to one corpus, as a gin file says it; mistakes show when it is made, not in the middle of a build."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.dedup import minhash_stages, paragraph_stages
from llmjp_jax.corpus.pipeline.steps import Step, parse_steps
from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """One corpus of a build: where its raw text lies, and what is done with it.

    Attributes:
      name: its folder under the output folder, as `ja_wiki` or `ja_cc/refined`.
      inputs: files, relative to the input folder, with `*` and `**`; in this order, then by name.
      reader: of `readers.READERS`; None: by each file's name.
      reader_options: further arguments of the reader.
      text_field: of raw rows, that which becomes `text`, the others `meta`; None: rows are `{"text", "meta"}` already.
      steps: filters and maps in order: `'name'` or `('name', {'parameter': value})`.
      paragraph_statistics: count each paragraph's exact and near duplicates over the whole corpus before the steps:
        keyword arguments of `dedup.paragraph_stages`, or {}; None: do not.
      exact_deduplication: keep the first of documents with equal text.
      near_deduplication: keep the first of similar documents: keyword arguments of `dedup.minhash_stages`, or {}; None: do not.
      validation_fraction: of the documents that are left, by the sha256 of their text.
      folds: deal train documents to this many folders `fold_00`, ...; 0: none.
    """

    name: str
    inputs: Sequence[str]
    reader: str | None = None
    reader_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    text_field: str | None = "text"
    steps: Sequence[Any] = ()
    paragraph_statistics: Mapping[str, Any] | None = None
    exact_deduplication: bool = False
    near_deduplication: Mapping[str, Any] | None = None
    validation_fraction: float = 0.0
    folds: int = 0

    def __post_init__(self):
        parts = Path(self.name).parts
        if not parts or Path(self.name).is_absolute() or ".." in parts or parts[0].startswith("."):
            raise UserError(f"a corpus is named {self.name!r}; give a folder's name, as ja_wiki")
        if Path(self.name).as_posix() != self.name:
            raise UserError(
                f"a corpus is named {self.name!r}; write {Path(self.name).as_posix()!r}"
            )
        for field in ("inputs", "steps"):
            value = getattr(self, field)
            if isinstance(value, str):
                raise UserError(f"{self.name}: {field} is a text; write a list, as ['{value}']")
        if not self.inputs:
            raise UserError(f"{self.name}: inputs is empty; name at least one file")
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                f"{self.name}: validation_fraction is {self.validation_fraction}; it must be at least 0 and below 1"
            )
        if self.folds < 0:
            raise UserError(f"{self.name}: folds is {self.folds}; give 0 or a number of folders")
        self.parsed_steps()
        for field, function in {
            "near_deduplication": minhash_stages,
            "paragraph_statistics": paragraph_stages,
        }.items():
            options = getattr(self, field)
            if options is not None:
                check_options(function, options, f"{self.name}: {field}", skip=0)

    def parsed_steps(self) -> list[Step]:
        return parse_steps(self.steps, f"{self.name}: steps")

    def configuration(self) -> dict[str, Any]:
        """Everything that decides the documents, but the files' contents, as JSON can hold it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.loads(json.dumps(fields, default=list))


def check_options(
    function: Callable[..., Any], options: Mapping[str, Any], place: str, skip: int
) -> None:
    """Refuses a keyword that a function does not take, or lacks; its first `skip` parameters are not the user's."""
    parameters = list(inspect.signature(function).parameters.values())
    known = {one.name for one in parameters[skip:] if one.kind is one.KEYWORD_ONLY}
    needed = {
        one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty
    }
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else f"it takes {', '.join(sorted(known)) or 'none'}"
            )
            raise UserError(f"{place} has {name}, which {function.__name__} does not take; {hint}")
    missing = needed - set(options) - {"shards"}
    if missing:
        raise UserError(
            f"{place} lacks {', '.join(sorted(missing))}, which {function.__name__} needs"
        )
