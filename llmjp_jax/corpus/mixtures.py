"""Subsets of corpora and how they are mixed: what the manifests' tables `subsets` and `mixtures` say.

A subset is text from one source: the files CORPORA_DIR/<folder>/{train,validation}*.jsonl. A mixture is subsets with
integer shares of the training tokens. Both are named once, in one of `data/*.toml`:

    [subsets.ja_wiki]
    source = "Wikipedia in Japanese"
    url = "https://dumps.wikimedia.org/jawiki/"
    licence = "CC BY-SA"
    tokens = { "v2.2-100k" = 1_442_858_730 }

    [mixtures.corpus_v2]
    tokenizer = "v2.2-100k"
    epochs = { ja_wiki = 1 }                    # share = epochs x tokens under the tokenizer
    weights = { ja_cc_v2 = 130_047_741_536 }    # or as it stands

Further fields of a mixture: `like` begins with another mixture's subsets; `part` takes the files in CORPORA_DIR/<folder>/<part>/;
`folds = 10` makes ten mixtures NAME_fold_00 ... NAME_fold_09 of the parts fold_00 ... fold_09. Validation files of parts lie
in the folder of one of them, so that one set is read.
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
from llmjp_jax.errors import UserError

_TABLES = {"subsets", "mixtures"}
_MIXTURE_FIELDS = {"tokenizer", "epochs", "weights", "like", "part", "folds"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subset:
    """Text from one source.

    Attributes:
      name: unique among all manifests.
      source, url, licence: in words; None where `source` points elsewhere.
      folder: under CORPORA_DIR; None: the name.
      tokens: of its training text, by tokenizer.
    """

    name: str
    source: str
    url: str | None = None
    licence: str | None = None
    folder: str | None = None
    tokens: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """Subsets with integer shares of the training tokens.

    Attributes:
      name: unique among all manifests.
      subsets, weights: by the subset's name, in the manifest's order.
      tokenizer: under which weights and tokens are counted; None for mere shares.
      part: the folder of each subset's folder that holds its files; None: that folder itself.
    """

    name: str
    subsets: Mapping[str, Subset]
    weights: Mapping[str, int]
    tokenizer: str | None = None
    part: str | None = None

    def task(self, subset: str) -> str:
        """The name of a subset's Task, and of its token store's folder."""
        return subset if self.part is None else f"{subset}_{self.part}"

    @property
    def task_weights(self) -> dict[str, int]:
        return {self.task(name): weight for name, weight in self.weights.items()}

    def epochs(self, subset: str) -> float | None:
        """How often a run of as many tokens as the weights' sum reads a subset; None where its size is not known."""
        tokens = self.subsets[subset].tokens.get(self.tokenizer)
        return None if tokens is None or self.part else self.weights[subset] / tokens

    def files(self, corpora_dir: str | os.PathLike, subset: str) -> dict[str, list[Path]]:
        """A subset's JSONL files by split, in the order of their names; `validation` may be missing.

        Raises:
          UserError: there is no training file; it says what the subset is and where it comes from.
        """
        found = self.subsets[subset]
        folder = Path(corpora_dir) / (found.folder or found.name) / (self.part or "")
        files = {split: sorted(folder.glob(f"{split}*.jsonl")) for split in ("train", "validation")}
        if not files["train"]:
            origin = ", ".join(filter(None, [found.source, found.url]))
            raise UserError(
                f"{folder} has no file train*.jsonl: the subset {subset} of {self.name} ({origin}) is missing; put it "
                "there, or correct --corpora_dir"
            )
        return {split: paths for split, paths in files.items() if paths}


def load_mixtures(name: str) -> list[Mixture]:
    """The mixture of this name; or, for one that is trained in folds, the mixtures of its folds in order.

    Raises:
      UserError: no manifest has it, or a manifest is not as described above; names the file and the field.
    """
    known = _all_mixtures()
    if name in known:
        return [known[name]]
    folds = [mixture for other, mixture in known.items() if other.startswith(f"{name}_fold_")]
    if folds:
        return folds
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
    raise UserError(f"no manifest in data/ has a mixture named {name} ({hint})")


def mixture_names() -> list[str]:
    """The names of all mixtures, in the manifests' order; of one in folds those of its folds."""
    return list(_all_mixtures())


def task_licences() -> dict[str, str]:
    """The licence of every subset that names one, by the names of its Tasks."""
    return {
        mixture.task(name): subset.licence
        for mixture in _all_mixtures().values()
        for name, subset in mixture.subsets.items()
        if subset.licence
    }


def describe(mixture: Mixture) -> str:
    """A table of a mixture: each subset's share, epochs, licence and source."""
    total = sum(mixture.weights.values())
    counted = mixture.tokenizer and not mixture.part  # of a part only the shares are known
    size = f"{total:,} tokens under {mixture.tokenizer}" if counted else "shares"
    lines = [f"{mixture.name}: {size}"]
    for name, weight in mixture.weights.items():
        subset, epochs = mixture.subsets[name], mixture.epochs(name)
        read = "" if epochs is None else f"{epochs:.3f} epochs"
        origin = "; ".join(filter(None, [subset.source, subset.url, subset.licence]))
        lines.append(
            f"  {mixture.task(name):<26}{f'{weight:,}' if counted else '':>18}  {weight / total:7.2%}  {read:<13}  {origin}"
        )
    return "\n".join(lines)


@functools.cache
def _all_mixtures() -> dict[str, Mixture]:
    tables: dict[str, dict[str, Any]] = {table: {} for table in _TABLES}
    for manifest in manifest_names():
        entries = load_manifest(manifest)
        if not _TABLES & entries.keys():
            continue
        _refuse_unknown(entries, _TABLES, f"data/{manifest}.toml")
        for table in _TABLES:
            for name, fields in entries.get(table, {}).items():
                place = f"data/{manifest}.toml, [{table}.{name}]"
                if name in tables[table]:
                    raise UserError(f"{place}: another manifest has this name too; change one")
                tables[table][name] = (place, fields)
    subsets = {name: _subset(name, *entry) for name, entry in tables["subsets"].items()}
    mixtures: dict[str, Mixture] = {}
    for name, (place, fields) in tables["mixtures"].items():
        _refuse_unknown(fields, _MIXTURE_FIELDS, place)
        weights, tokenizer = _weights(name, tables["mixtures"], subsets)
        used = {subset: subsets[subset] for subset in weights}
        parts = {name: fields.get("part")}
        if "folds" in fields:
            parts = {f"{name}_fold_{i:02}": f"fold_{i:02}" for i in range(fields["folds"])}
        for full_name, part in parts.items():
            mixtures[full_name] = Mixture(
                name=full_name, subsets=used, weights=weights, tokenizer=tokenizer, part=part
            )
    return mixtures


def _subset(name: str, place: str, fields: dict[str, Any]) -> Subset:
    _refuse_unknown(fields, {field.name for field in dataclasses.fields(Subset)} - {"name"}, place)
    if "source" not in fields:
        raise UserError(f"{place} has no field source; say where the text comes from")
    _check_counts(fields.get("tokens", {}), f"{place}: tokens")
    return Subset(name=name, **fields)


def _weights(
    name: str, mixtures: Mapping[str, Any], subsets: Mapping[str, Subset]
) -> tuple[dict[str, int], str | None]:
    """The weights of a mixture's subsets, and the tokenizer that they are counted under."""
    place, fields = mixtures[name]
    weights, tokenizer = {}, fields.get("tokenizer")
    if "like" in fields:
        if fields["like"] not in mixtures:
            raise UserError(f"{place}: like names {fields['like']}, which no manifest has")
        weights, other = _weights(fields["like"], mixtures, subsets)
        tokenizer = tokenizer or other
    for field in ("epochs", "weights"):
        _check_counts(fields.get(field, {}), f"{place}: {field}")
        for subset, number in fields.get(field, {}).items():
            if subset not in subsets:
                raise UserError(
                    f"{place}: {field} names the subset {subset}, which no manifest has"
                )
            if field == "weights":
                weights[subset] = number
            elif tokenizer in subsets[subset].tokens:
                weights[subset] = number * subsets[subset].tokens[tokenizer]
            else:
                raise UserError(
                    f"{place}: epochs names {subset}, whose tokens under {tokenizer} no manifest gives; use weights"
                )
    if not weights:
        raise UserError(f"{place} has no subsets; give epochs, weights or like")
    return weights, tokenizer


def _check_counts(counts: Mapping[str, Any], place: str) -> None:
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise UserError(f"{place}: {name} = {count!r} must be a positive whole number")


def _refuse_unknown(fields: Mapping[str, Any], known: set[str], place: str) -> None:
    for field in fields:
        if field not in known:
            raise UserError(
                f"{place} has an unknown field {field}; known are: {', '.join(sorted(known))}"
            )
