"""Sets that models are tuned on, and how they are mixed: what the tables `sets` and `tunings` of the manifests say.

A set is records of instructions and responses, or of preferences, from one download. A tuning is sets of one kind, each
with the number of times that an epoch reads it. Both are named once, in one of `data/*.toml`:

    [sets.hh_rlhf_ja]
    download = "hh_rlhf_ja"                     # of data/sources_*.toml, which says licence and home
    form = "preference"                         # the fields of a record: see tuning_records.FORMS
    examples = 12_000                           # as published; None where it is not
    train = ["hh-rlhf-12k-ja.jsonl"]            # patterns below DOWNLOADS_DIR/<download>/
    held_out = { share = 0.1, seed = 42 }       # or validation = [patterns]; neither: no validation

    [tunings.tuning_v2_ac_16x]
    template = "v1.1"                           # of llmjp_jax.conversations
    like = "tuning_v2"                          # begins with another tuning's sets
    repeats = { answer_carefully_001 = 16 }

What the files of a set hold is read by `tuning_records`; corpora of plain text are in `mixtures`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.manifests import load_manifest, manifest_names
from llmjp_jax.corpus.sources import Source, load_sources
from llmjp_jax.corpus.tuning_records import FORMS, held_out_indices
from llmjp_jax.errors import UserError

_TABLES = ("sets", "tunings")
_TUNING_FIELDS = {"template", "repeats", "like", "bos"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The part of a set that is kept for validation where it has no split of its own.

    The records chosen are those of `train_test_split(test_size=share, seed=seed)` of Hugging Face's datasets 2 and 3.

    Attributes:
      share: of the records, between 0 and 1; rounded up to whole records.
      seed: of the permutation.
    """

    share: float
    seed: int

    def __post_init__(self) -> None:
        if not (isinstance(self.share, float) and 0 < self.share < 1):
            raise UserError(f"held_out: share = {self.share!r} must be a number between 0 and 1")
        if type(self.seed) is not int or self.seed < 0:
            raise UserError(f"held_out: seed = {self.seed!r} must be a whole number, 0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuningSet:
    """Records from one download.

    Attributes:
      name: unique among all manifests.
      source: the download: licence, home, how to get it.
      form: a key of `FORMS`.
      train, validation: patterns of files below DOWNLOADS_DIR/<source>/, in order; no validation patterns, no such split.
      examples: how many there are, as published; None where it is not.
      held_out: what is kept for validation of the training files' records; None: nothing.
    """

    name: str
    source: Source
    form: str
    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    examples: int | None = None
    held_out: HeldOut | None = None

    @property
    def kind(self) -> str:
        """'examples' (instructions and responses) or 'pairs' (preferences)."""
        return FORMS[self.form].kind

    @property
    def train_examples(self) -> int | None:
        """How many of the published examples are trained on; None where their number is not known."""
        if self.examples is None or self.held_out is None:
            return self.examples
        return self.examples - len(held_out_indices(self.examples, self.held_out.share, self.held_out.seed))  # fmt: skip

    def files(self, downloads_dir: str | os.PathLike) -> dict[str, list[Path]]:
        """The set's files by split, in the order of their patterns and names.

        Raises:
          UserError: a pattern matches nothing, or files of one name in two folders; it says how to get the set.
        """
        folder = Path(downloads_dir) / self.source.name
        patterns = {"train": self.train, "validation": self.validation}
        return {
            split: [path for pattern in given for path in self._matching(folder, pattern)]
            for split, given in patterns.items()
            if given
        }

    def _matching(self, folder: Path, pattern: str) -> list[Path]:
        paths = sorted(path for path in folder.glob(pattern) if path.is_file())
        if not paths:
            how = self.source.by_hand or f"python tools/download.py {self.source.name}"
            raise UserError(
                f"{folder} has no file {pattern}: the set {self.name} ({self.source.home}) is missing; get it ({how}), put "
                "it there, or correct --downloads_dir"
            )
        first: dict[str, Path] = {}
        for path in paths:
            other = first.setdefault(path.name, path)
            if other != path:
                raise UserError(
                    f"{other} and {path} both match {pattern} of the set {self.name}; keep one of them in {folder}"
                )
        return paths


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """Sets of one kind, each with the number of times that an epoch reads it.

    Attributes:
      name: unique among all manifests, and no set's.
      sets, repeats: by the set's name, in the manifest's order.
      template: how conversations are written, by its name in `llmjp_jax.conversations`.
      bos: whether every example begins with the vocabulary's beginning-of-text token.
    """

    name: str
    sets: Mapping[str, TuningSet]
    repeats: Mapping[str, int]
    template: str
    bos: bool = False

    @property
    def kind(self) -> str:
        """'examples' or 'pairs', as its sets'."""
        return next(iter(self.sets.values())).kind


def load_tuning(name: str) -> Tuning:
    """The tuning of this name.

    Raises:
      UserError: no manifest has it, or a manifest is not as described above; names the file and the field.
    """
    known = _all_tunings()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
    raise UserError(f"no manifest in data/ has a tuning named {name} ({hint})")


def load_tuning_set(name: str) -> TuningSet:
    """The set of this name. Raises as `load_tuning`."""
    known = _all_sets()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
    raise UserError(f"no manifest in data/ has a tuning set named {name} ({hint})")


def tuning_names() -> list[str]:
    """The names of all tunings, in the manifests' order."""
    return list(_all_tunings())


def describe_tuning(tuning: Tuning) -> str:
    """A table of a tuning: each set's records, repeats, share of an epoch, licence, and the files that it wants."""
    counts = {name: found.train_examples for name, found in tuning.sets.items()}
    read = {name: (counts[name] or 0) * times for name, times in tuning.repeats.items()}
    total, what = sum(read.values()), "pairs" if tuning.kind == "pairs" else "examples"
    bos = ", each after the beginning-of-text token" if tuning.bos else ""
    lines = [f"{tuning.name}: {total:,} {what} an epoch, template {tuning.template}{bos}"]
    for name, found in tuning.sets.items():
        count = "" if counts[name] is None else f"{counts[name]:,}"
        share = f"{read[name] / total:7.2%}" if total else ""
        origin = f"{found.source.title}; {found.source.home}; {found.source.licence}"
        lines.append(f"  {name:<22}{count:>9} x {tuning.repeats[name]:<3}{share}  {origin}")
        for split, patterns in (("train", found.train), ("validation", found.validation)):
            for pattern in patterns:
                lines.append(f"    {split:<12}DOWNLOADS_DIR/{found.source.name}/{pattern}")
        if found.held_out:
            lines.append(f"    validation  {found.held_out.share:.0%} of its records, seed {found.held_out.seed}")  # fmt: skip
    return "\n".join(lines)


@functools.cache
def _tables() -> dict[str, dict[str, tuple[str, dict[str, Any]]]]:
    """Name -> (place, fields) of both tables, of all manifests."""
    tables: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {table: {} for table in _TABLES}
    names: dict[str, str] = {}
    for manifest in manifest_names():
        entries = load_manifest(manifest)
        for table in _TABLES:
            for name, fields in entries.get(table, {}).items():
                place = f"data/{manifest}.toml, [{table}.{name}]"
                if name in names:
                    raise UserError(f"{place}: {names[name]} has this name too; change one")
                names[name] = place
                tables[table][name] = (place, fields)
    return tables


@functools.cache
def _all_sets() -> dict[str, TuningSet]:
    sources = load_sources()
    return {
        name: _tuning_set(name, place, fields, sources)
        for name, (place, fields) in _tables()["sets"].items()
    }


@functools.cache
def _all_tunings() -> dict[str, Tuning]:
    sets, tunings = _all_sets(), {}
    for name, (place, fields) in _tables()["tunings"].items():
        _refuse_unknown(fields, _TUNING_FIELDS, place)
        repeats = _repeats(name, sets)
        used = {found: sets[found] for found in repeats}
        if len({found.kind for found in used.values()}) != 1:
            raise UserError(f"{place}: repeats must name sets of examples, or sets of pairs, not none or both")  # fmt: skip
        if not isinstance(fields.get("template"), str):
            raise UserError(f"{place} has no field template; name one of llmjp_jax.conversations")
        if not isinstance(fields.get("bos", False), bool):
            raise UserError(f"{place}: bos = {fields['bos']!r} must be true or false")
        tunings[name] = Tuning(name=name, sets=used, repeats=repeats, template=fields["template"],
                               bos=fields.get("bos", False))  # fmt: skip
    return tunings


def _tuning_set(
    name: str, place: str, fields: Mapping[str, Any], sources: Mapping[str, Source]
) -> TuningSet:
    _refuse_unknown(fields, {"download", "form", "train", "validation", "examples", "held_out"}, place)  # fmt: skip
    for field, known in (("download", sources), ("form", FORMS)):
        if fields.get(field) not in known:
            near = difflib.get_close_matches(str(fields.get(field)), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
            raise UserError(f"{place}: {field} = {fields.get(field)!r} is none that is known ({hint})")  # fmt: skip
    for field in ("train", "validation"):
        patterns = fields.get(field, [])
        if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
            raise UserError(f"{place}: {field} = {patterns!r} must be a list of patterns of files")
    if not fields.get("train"):
        raise UserError(f"{place} has no field train; give the patterns of its files")
    if "validation" in fields and "held_out" in fields:
        raise UserError(f"{place} has both validation and held_out; give one of them")
    examples = fields.get("examples")
    if examples is not None and (type(examples) is not int or examples < 1):
        raise UserError(f"{place}: examples = {examples!r} must be a positive whole number")
    return TuningSet(
        name=name,
        source=sources[fields["download"]],
        form=fields["form"],
        train=tuple(fields["train"]),
        validation=tuple(fields.get("validation", ())),
        examples=examples,
        held_out=_held_out(fields["held_out"], place) if "held_out" in fields else None,
    )


def _held_out(fields: Any, place: str) -> HeldOut:
    if not isinstance(fields, dict) or fields.keys() != {"share", "seed"}:
        raise UserError(f"{place}: held_out must be {{ share = ..., seed = ... }}")
    try:
        return HeldOut(**fields)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def _repeats(name: str, sets: Mapping[str, TuningSet], seen: tuple[str, ...] = ()) -> dict[str, int]:  # fmt: skip
    """How often an epoch reads each set of a tuning."""
    tunings = _tables()["tunings"]
    place, fields = tunings[name]
    repeats: dict[str, int] = {}
    if "like" in fields:
        if fields["like"] not in tunings or fields["like"] in (*seen, name):
            raise UserError(f"{place}: like = {fields['like']!r} must name another tuning, and not go round")  # fmt: skip
        repeats = _repeats(fields["like"], sets, (*seen, name))
    for found, times in fields.get("repeats", {}).items():
        if found not in sets:
            raise UserError(f"{place}: repeats names the set {found}, which no manifest has")
        if type(times) is not int or times < 1:
            raise UserError(f"{place}: repeats: {found} = {times!r} must be a positive whole number")  # fmt: skip
        repeats[found] = times
    return repeats


def _refuse_unknown(fields: Mapping[str, Any], known: set[str], place: str) -> None:
    for field in fields:
        if field not in known:
            raise UserError(
                f"{place} has an unknown field {field}; known are: {', '.join(sorted(known))}"
            )
