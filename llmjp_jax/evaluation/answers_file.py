"""The answers of a model as they come: JSON lines, so that a killed run asks nothing twice."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from llmjp_jax.errors import UserError


class AnswersFile:
    """`{"index", "raw", ...}` a line behind a first line that says whose answers they are.

    A last line that a kill cut short is dropped; any other broken line, and answers to other prompts or of another model,
    are an error.

    Args:
      path: of the file; it is made with the first answer.
      identity: JSON values that model, prompts and settings are known by; the same in every run that may add answers.
      count: how many answers there will be.

    Raises:
      UserError: the file is of another identity, or broken.
    """

    def __init__(self, path: Path, identity: Mapping, count: int):
        self.path, self.identity, self.count = path, dict(identity), count
        self.answers: dict[int, dict] = {}
        self._sound = self._size = 0  # bytes of whole lines, and of the file
        self._read()

    @property
    def missing(self) -> list[int]:
        return [index for index in range(self.count) if index not in self.answers]

    def add(self, answers: Mapping[int, Mapping]) -> None:
        """Appends answers by index, on the disk before it returns.

        Raises:
          UserError: another process has written to the file meanwhile.
        """
        if (self.path.stat().st_size if self.path.exists() else 0) != self._size:
            raise UserError(
                f"{self.path} is being written by another process; wait for it, or give another output_dir"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [] if self._sound else [{"identity": self.identity}]
        lines += [{"index": index, **answer} for index, answer in answers.items()]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.seek(self._sound)
            file.truncate()
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            self._sound = self._size = file.tell()
        self.answers |= {index: dict(answer) for index, answer in answers.items()}

    def _read(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                self._take(record, number)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if isinstance(error, UserError):
                    raise
                raise UserError(
                    f"{self.path} line {number} is broken; remove the file, and its answers are asked for again"
                ) from None
        self._sound, self._size = len(whole), len(content)

    def _take(self, record: dict, number: int) -> None:
        if number == 1:
            found = record["identity"]
            other = sorted(key for key in {*found, *self.identity} if found.get(key) != self.identity.get(key))  # fmt: skip
            if other:
                raise UserError(
                    f"{self.path} holds answers of another run: {', '.join(other)} differ; "
                    "give another output_dir, or remove the file"
                )
            return
        index = record.pop("index")
        if type(index) is not int or not 0 <= index < self.count or not isinstance(record["raw"], str):  # fmt: skip
            raise ValueError("not an answer")
        self.answers[index] = record
