"""Asks a model for many answers and keeps them as they come, so that a killed run asks nothing twice and ends the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.answers_file import AnswersFile
from llmjp_jax.evaluation.judges.requests import read_json_lines


def ask_and_keep(
    path: str | Path,
    identity: Mapping[str, Any],
    count: int,
    load_model: Callable[[], Any],
    ask: Callable[[Any, range], Sequence[Mapping[str, Any]]],
    *,
    chunk: int,
    name: str,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """`count` answers {"raw": text, …}: those kept in `path`, and the others, which are asked for and kept there.

    A chunk that is not there whole is asked for whole: random numbers of an answer depend on its place in the chunk, and
    the answer must not depend on where a run was killed.

    Args:
      identity: what the answers are known by, see `AnswersFile`.
      load_model: called only if an answer is missing.
      ask: (model, indices) -> an answer each.
      chunk: indices that are asked for together; the same from start to start.
      name: on the progress bar.

    Raises:
      UserError: the file holds answers of another run.
    """
    kept = AnswersFile(Path(path), {**identity, "chunk": chunk}, count)
    missing = set(kept.missing)
    if missing:
        model = load_model()
        with tqdm(total=count, initial=count - len(missing), unit="answer", desc=name, disable=not progress) as bar:  # fmt: skip
            for first in range(0, count, chunk):
                indices = range(first, min(first + chunk, count))
                if missing.isdisjoint(indices):
                    continue
                answers = zip(indices, ask(model, indices), strict=True)
                new = {index: answer for index, answer in answers if index in missing}
                kept.add(new)
                bar.update(len(new))
    return [kept.answers[index] for index in range(count)]


def read_raw_answers(path: str | Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The answers {"raw": text, …} of a file of JSON lines, and the identity in its first line ({} where it has none).

    Raises:
      UserError: the file cannot be read, holds no answer, or a line has no string 'raw'; names it.
    """
    answers, identity = [], {}
    for place, line in read_json_lines(path):
        if not answers and isinstance(line.get("identity"), dict):
            identity = line["identity"]
        elif not isinstance(line.get("raw"), str):
            raise UserError(f"{place} has no string 'raw', which holds a model's answer; add it")
        else:
            answers.append(line)
    if not answers:
        raise UserError(f"{path} holds no answer; give a file of a finished run")
    return answers, identity
