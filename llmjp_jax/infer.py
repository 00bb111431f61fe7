"""Text for a file of prompts: python -m llmjp_jax.infer --gin_file=gin_configs/runs/infer.gin --gin.MODEL_DIR=runs/mine
    --gin.PROMPTS=prompts.txt --gin.OUTPUT=texts.jsonl

With --chat it is a conversation in the terminal (`chat.py`): python -m llmjp_jax.infer --chat --gin.MODEL_DIR=runs/mine

From Python, `infer(model_dir=..., prompts=..., output=...)` does the same; without files, use `LanguageModel`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmjp_jax import launch
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

if TYPE_CHECKING:
    from llmjp_jax.parallel import MeshConfig

_CHAT_FILE = "gin_configs/runs/chat.gin"  # what --chat reads where no file is given


def infer(*, model_dir: str | os.PathLike, prompts: str | os.PathLike, output: str | os.PathLike,
          step: int | None = None, max_new_tokens: int = 64, temperature: float = 0.0, top_p: float = 1.0, top_k: int = 0,
          repetition_penalty: float = 1.0, seed: int = 0, batch_size: int = 16, dtype: str | None = None,
          mesh: MeshConfig | None = None) -> None:  # fmt: skip
    """Writes `output`, one JSON line {"prompt", "text"} a prompt, in the prompts' order, whole or not at all.

    Args:
      model_dir: a run directory or a Hugging Face directory.
      prompts: a .txt file with a prompt a line, or a .jsonl file of {"prompt": ...}, where line ends and empty prompts
        are possible.
      step, dtype: see `LanguageModel.load`; the numbers of sampling: see `LanguageModel.generate`.
      batch_size: prompts decoded together. A prompt's text does not depend on it.
      mesh: lays the parameters out over all devices; None: one device.

    Raises:
      UserError: a file is missing or malformed, or a prompt is too long for the model.
    """
    texts = read_prompts(prompts)
    from llmjp_jax.language_model import LanguageModel
    from llmjp_jax.parallel import make_mesh

    # Opened first: a place that cannot be written to should not cost the generation.
    with atomic_write(output, "w") as file:
        model = LanguageModel.load(
            model_dir, step, mesh=None if mesh is None else make_mesh(mesh), dtype=dtype
        )
        generated = model.generate(
            texts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            seed=seed,
            batch_size=batch_size,
            progress=True,
        )
        for prompt, text in zip(texts, generated, strict=True):
            file.write(json.dumps({"prompt": prompt, "text": text}, ensure_ascii=False) + "\n")


def read_prompts(path: str | os.PathLike) -> list[str]:
    """The prompts of a .txt or .jsonl file.

    Raises:
      UserError: the file is missing, of another kind, not UTF-8, or without prompts; a line is empty (.txt), or not a
        JSON object with a string "prompt" (.jsonl).
    """
    path = Path(path)
    if path.suffix not in (".txt", ".jsonl"):
        raise UserError(
            f'{path} must end in .txt (a prompt a line) or .jsonl ({{"prompt": ...}} a line)'
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no prompt file {path}; give a .txt or .jsonl file") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; give a .txt or .jsonl file of prompts") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    # Not splitlines: U+2028 and the like may stand inside a prompt.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise UserError(f"{path} holds no prompts; write one a line")
    read = _line_of_text if path.suffix == ".txt" else _line_of_json
    return [read(line, f"{path} line {number}") for number, line in enumerate(lines, 1)]


def _line_of_text(line: str, place: str) -> str:
    if not line:
        raise UserError(
            f'{place} is empty; remove it, or write {{"prompt": ""}} in a .jsonl file for an empty prompt'
        )
    return line


def _line_of_json(line: str, place: str) -> str:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f'{place} is not JSON ({error}); write {{"prompt": "..."}}') from None
    prompt = record.get("prompt") if isinstance(record, dict) else None
    if not isinstance(prompt, str):
        raise UserError(f'{place} has no string "prompt"; write {{"prompt": "..."}}')
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f'{place}: "prompt" has a lone surrogate at character {error.start}; remove it'
        ) from None
    return prompt


def main() -> None:
    """The command: of a file of prompts, or with --chat in the terminal."""
    if "--chat" not in sys.argv[1:]:
        launch.run(
            "llmjp_jax.infer.infer",
            description="Writes text after each prompt of a file, with a run's model or a Hugging Face model. "
            "With --chat: a conversation with it in the terminal (--chat --help).",
            example="gin_configs/runs/infer.gin",
        )
        return
    sys.argv.remove("--chat")
    if not any(flag.split("=")[0] == "--gin_file" for flag in sys.argv):
        sys.argv.insert(1, f"--gin_file={_CHAT_FILE}")
    launch.run(
        "llmjp_jax.chat.chat",
        description="A conversation in the terminal with a tuned model, a run's or a Hugging Face one (--chat). "
        f"Without --gin_file it reads {_CHAT_FILE}.",
        example=f"{_CHAT_FILE} --chat",
        processes=False,
    )


if __name__ == "__main__":
    main()
