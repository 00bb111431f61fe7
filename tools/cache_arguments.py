"""The files of one's own that flags of `cache_tasks.py` name: Tasks over text, records with responses, or preference pairs."""

from __future__ import annotations

import argparse
import dataclasses
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError  # noqa: E402

# Flag -> what its files hold.
_KINDS = {"jsonl": "text", "instructions": "examples", "pairs": "pairs"}


@dataclasses.dataclass(frozen=True)
class OwnFiles:
    """Attributes: flag, which named them; tasks, {Task name: {split: files}}."""

    flag: str | None
    tasks: dict[str, dict[str, list[str]]]

    def __bool__(self) -> bool:
        return bool(self.tasks)

    @property
    def kind(self) -> str:
        """'text', 'examples' or 'pairs'."""
        return _KINDS[self.flag]

    def weights(self, given: Sequence[str]) -> dict[str, int]:
        """The weight of each Task by the flags --weight; none of a single Task of text.

        Raises:
          UserError: a flag is not NAME=INTEGER, or text has no share.
        """
        weights = {}
        for flag in given:
            name, _, number = flag.partition("=")
            if name not in self.tasks or not number.isdecimal() or int(number) == 0:
                raise UserError(
                    f"--weight={flag} is not NAME=INTEGER with a name given to --{self.flag or 'jsonl'}; correct it"
                )
            weights[name] = int(number)
        if len(self.tasks) < 2:
            if weights:
                raise UserError(
                    f"--weight={given[0]} is for several Tasks; leave it away, a single one is read once an epoch"
                )
            return {}
        missing = [name for name in self.tasks if name not in weights]
        if missing and self.kind == "text":
            raise UserError(
                f"give each Task its share of the tokens: --weight={missing[0]}=... is missing"
            )
        return {name: weights.get(name, 1) for name in self.tasks}


def own_files(options: argparse.Namespace) -> OwnFiles:
    """The files given with --jsonl, --instructions or --pairs, of which one kind may be given.

    Raises:
      UserError: a flag is not NAME[:SPLIT]=FILE, there is no such file, or flags do not go together.
    """
    used = [flag for flag in _KINDS if getattr(options, flag)]
    places = [flag for flag in ("corpora_dir", "downloads_dir") if getattr(options, flag)]
    if len(used) + len(places) > 1:
        flags = " and ".join(f"--{flag}" for flag in (*used, *places))
        raise UserError(f"{flags} are two sources; give one of them")
    if (used or places) and not options.vocabulary and not options.describe:
        raise UserError(
            f"the files of --{(used + places)[0]} need --vocabulary: a .model or tokenizer.json"
        )
    if options.bos and used not in (["instructions"], ["pairs"]):
        raise UserError("--bos is for records of your own; give --instructions or --pairs with it")
    if options.template and not (options.downloads_dir or used in (["instructions"], ["pairs"])):
        raise UserError(
            "--template is for records; give --instructions, --pairs or --downloads_dir"
        )
    if not used:
        return OwnFiles(None, {})
    (flag,) = used
    if _KINDS[flag] != "text" and not options.template:
        raise UserError(f"--{flag} needs --template: how records are written, such as v1.1")
    tasks: dict[str, dict[str, list[str]]] = {}
    for given in getattr(options, flag):
        name, split, files = _parsed(flag, given, options.splits.split(","))
        tasks.setdefault(name, {}).setdefault(split, []).extend(files)
    return OwnFiles(flag, tasks)


def _parsed(flag: str, given: str, splits: Sequence[str]) -> tuple[str, str, list[str]]:
    """Task, split and files of one flag."""
    key, separator, path = given.partition("=")
    name, _, split = key.partition(":")
    if not (separator and name and path):
        raise UserError(
            f"--{flag}={given} is not NAME[:SPLIT]=FILE; write for example --{flag}=ja=ja.jsonl"
        )
    if split and split not in splits:
        raise UserError(
            f"--{flag}={given} names the split {split}; --splits builds {','.join(splits)}"
        )
    found = [path] if Path(path).is_file() else sorted(glob.glob(path))  # noqa: PTH207 - also absolute ones
    if not found:
        raise UserError(f"there is no file {path}, given with --{flag}={given}; correct the path")
    return name, split or "train", found
