"""The benchmarks that a judge marks, read strictly from `data/judges.toml`, and where their files lie."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path

from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class JudgeSettings:
    """How the judge is asked and read.

    Attributes:
      model: the judge of the published numbers.
      rating: patterns of a mark, tried in this order; their one group is the number.
      lowest, highest: the scale.
      verdict: pattern of a choice between two answers; None: the benchmark has no such mode.
    """

    model: str
    temperature: float
    max_tokens: int
    rating: tuple[str, ...]
    lowest: float
    highest: float
    verdict: str | None = None


@dataclasses.dataclass(frozen=True)
class AnswerSettings:
    """How a model answers.

    Attributes:
      temperatures: by category.
      max_length: of prompt and answer together, in tokens; None: what the model takes.
    """

    max_new_tokens: int
    top_p: float
    seed: int
    temperatures: Mapping[str, float]
    max_length: int | None = None


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A table of `data/judges.toml`.

    Attributes:
      download: the name that tools/download.py knows its files by.
      turns: the user's messages in a question.
      reference_categories: categories whose prompts show a reference answer.
      files: {'questions', 'prompts', 'references', 'baseline'}: patterns below the download's folder, the first that is
        there; a benchmark without a pairwise mode has no baseline.
      prompts: {'pairwise', 'single'}: {'plain', 'reference'}: the names of judge prompts, one a turn.
    """

    name: str
    title: str
    download: str
    turns: int
    categories: tuple[str, ...]
    reference_categories: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    prompts: Mapping[str, Mapping[str, tuple[str, ...]]]
    judge: JudgeSettings
    answers: AnswerSettings

    def prompt_name(self, mode: str, category: str, turn: int = 0) -> str:
        """The judge prompt for a question of a category."""
        kind = "reference" if category in self.reference_categories else "plain"
        return self.prompts[mode][kind][turn]

    def find_file(self, kind: str, data_dir: Path) -> Path:
        """The benchmark's questions, prompts, references or baseline answers below a folder.

        Raises:
          UserError: it is not there, or several files could be it.
        """
        for pattern in self.files[kind]:
            found = sorted(path for path in data_dir.glob(pattern) if path.is_file())
            if len(found) > 1:
                raise UserError(
                    f"{data_dir} has more than one file of {kind} ({found[0]} and {found[1]}); name one by --{kind}"
                )
            if found:
                return found[0]
        raise UserError(
            f"{data_dir} has no {self.files[kind][0].removeprefix('**/')}; "
            f"run python tools/download.py {self.download}, or name the file by --{kind}"
        )


def load_benchmarks() -> dict[str, Benchmark]:
    """The benchmarks of `data/judges.toml` by name."""
    return {name: _benchmark(name, table) for name, table in load_manifest("judges").items()}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
      UserError: there is none; names the nearest.
    """
    benchmarks = load_benchmarks()
    if name in benchmarks:
        return benchmarks[name]
    near = difflib.get_close_matches(name, benchmarks, 1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}?" if near else "take one of them"
    raise UserError(f"there is no benchmark {name!r} among {', '.join(benchmarks)}; {hint}")


def _benchmark(name: str, table: Mapping) -> Benchmark:
    judge = {**table["judge"], "rating": tuple(table["judge"]["rating"])}
    prompts = {
        mode: {kind: _several(names) for kind, names in kinds.items()}
        for mode, kinds in table["prompts"].items()
    }
    return Benchmark(
        name=name,
        title=table["title"],
        download=table["download"],
        turns=table["turns"],
        categories=tuple(table["categories"]),
        reference_categories=tuple(table["reference_categories"]),
        files={kind: _several(patterns) for kind, patterns in table["files"].items()},
        prompts=prompts,
        judge=JudgeSettings(**judge),
        answers=AnswerSettings(**table["answers"]),
    )


def _several(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
