"""Where the raw files of a task lie below --raw_dir: in a folder of the data set's name, or as tools/download.py unpacks them."""

from __future__ import annotations

import dataclasses
import fnmatch
from pathlib import Path

from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RawFolder:
    """A data set's folder.

    Attributes:
      names: where to look, below --raw_dir, in this order.
      marker: a pattern of files, relative to the folder, by which it is known; the folder may lie deeper, as in an unpacked archive.
      within: the deeper folder's name, where the marker alone is not enough; None: any.
    """

    names: tuple[str, ...]
    marker: str
    within: str | None = None

    def find(self, raw_dir: Path) -> Path | None:
        """The folder; None: the data set is not there.

        Raises:
          UserError: there are several, and nothing says which is meant.
        """
        for name in self.names:
            top = raw_dir / name
            folders = find_below(top, self.marker) if top.is_dir() else []
            if top in folders:
                return top
            found = [folder for folder in folders if self.within in (None, folder.name)]
            if len(found) > 1:
                places = ", ".join(map(str, found))
                raise UserError(f"{self.marker} is in several folders below {top}: {places}; keep one of them")  # fmt: skip
            if found:
                return found[0]
        return None


def find_below(top: Path, pattern: str) -> list[Path]:
    """The folders at or below `top` in which something matches the pattern ('data_en.txt', 'BDS/*.xml'), sorted.

    Hidden folders, and those that macOS adds to archives, are left out.
    """
    parts = Path(pattern).parts
    found = set()
    for path in top.rglob(parts[-1]):
        below = path.relative_to(top).parts
        if len(below) < len(parts) or any(p == "__MACOSX" or p.startswith(".") for p in below):
            continue
        if all(fnmatch.fnmatchcase(p, q) for p, q in zip(below[-len(parts) :], parts, strict=True)):
            found.add(path.parents[len(parts) - 1])
    return sorted(found)


_WIKIPEDIA = RawFolder(("wikipedia_annotated_corpus",), "id/train.id")
_ALT = RawFolder(("alt",), "URL-train.txt")
_KYOTO = RawFolder(("wikicorpus",), "BDS/*.xml")

RAW_FOLDERS: dict[str, RawFolder] = {
    "alt-e-to-j": _ALT,
    "alt-j-to-e": _ALT,
    "chabsa": RawFolder(("chabsa",), "*.json", within="chABSA-dataset"),
    "jamp": RawFolder(("jamp",), "test_2.tsv"),
    "janli": RawFolder(("janli",), "janli.tsv"),
    "jcommonsenseqa": RawFolder(("jcommonsenseqa", "jglue/jcommonsenseqa"), "valid-v1.1.json"),
    "jemhopqa": RawFolder(("jemhopqa",), "train.json"),
    "jmmlu": RawFolder(("jmmlu",), "econometrics.csv"),
    "jnli": RawFolder(("jnli", "jglue/jnli"), "valid-v1.1.json"),
    "jsem": RawFolder(("jsem",), "Verbs.xml", within="v1.0"),
    "jsick": RawFolder(("jsick",), "train.tsv"),
    "jsquad": RawFolder(("jsquad", "jglue/jsquad"), "valid-v1.1.json"),
    "jsts": RawFolder(("jsts", "jglue/jsts"), "valid-v1.1.json"),
    "mawps": RawFolder(("mawps",), "zero_shot_example.json"),
    "mmluen": RawFolder(("mmluen", "mmlu"), "dev/abstract_algebra_dev.csv"),
    "niilc": RawFolder(("niilc",), "NIILC-ECQA2015_dev.xml"),
    "wikicorpus-e-to-j": _KYOTO,
    "wikicorpus-j-to-e": _KYOTO,
    "wiki_reading": _WIKIPEDIA,
    "wiki_ner": _WIKIPEDIA,
    "wiki_dependency": _WIKIPEDIA,
    "wiki_pas": _WIKIPEDIA,
    "wiki_coreference": _WIKIPEDIA,
    "commonsensemoralja": RawFolder(("commonsensemoralja", "commonsense_moral_ja"), "data_val.csv"),
    "kuci": RawFolder(("kuci",), "dev.jsonl"),
    "mbpp": RawFolder(("mbpp", "mbpp_ja"), "mbpp_translation.jsonl"),
    "jcola-in-domain": RawFolder(("jcola",), "in_domain_valid-v1.0.json"),
    "jcola-out-of-domain": RawFolder(("jcola",), "out_of_domain_valid-v1.0.json"),
    "jblimp": RawFolder(("jblimp",), "validated_minimal_pairs.jsonl"),
}
