"""A conversation with a model in the terminal: `python -m llmjp_jax.infer --chat --gin.MODEL_DIR=runs/mine`.

From Python, `LanguageModel.chat` and `stream_chat` answer without a terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmjp_jax.errors import UserError

if TYPE_CHECKING:
    from llmjp_jax.language_model import LanguageModel
    from llmjp_jax.parallel import MeshConfig

_COMMANDS = "Ctrl-C stops an answer; /reset forgets the conversation; /quit or Ctrl-D ends; a line that ends with \\ goes on"
# A model may write anything, and a terminal obeys what it is shown: C0 and C1 but for tab and newline.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def chat(*, model_dir: str | os.PathLike, template: str | None = None, system: str | None = None,
         step: int | str | None = None, max_new_tokens: int = 512, temperature: float = 0.7, top_p: float = 0.95,
         top_k: int = 0, repetition_penalty: float = 1.05, seed: int = 0, dtype: str | None = None,
         mesh: MeshConfig | None = None) -> None:  # fmt: skip
    """Reads messages from standard input and writes the model's answers as they come, until the input ends.

    Ctrl-C stops an answer, whose beginning stays in the conversation. A conversation that grows too long for the model
    loses its oldest turns, which is said.

    Args:
      model_dir: a run directory, a Hugging Face directory or a PEFT adapter.
      template: one of `conversations.TEMPLATES`; None: what the directory says (`LanguageModel.template_of`).
      system: a system message in place of the template's header.
      max_new_tokens: longest answer in tokens; the rest and step, dtype: see `LanguageModel.generate` and `load`. The n-th
        answer takes seed + n.
      mesh: lays the parameters out over all devices; None: one device.

    Raises:
      UserError: there is no model, it does not say its template and none is given, or a number is out of range.
    """
    from llmjp_jax.checkpoints import vocabulary_path
    from llmjp_jax.conversations import TEMPLATES, get_template
    from llmjp_jax.decoding import Sampling
    from llmjp_jax.language_model import LanguageModel
    from llmjp_jax.parallel import make_mesh

    # What can be wrong is looked for before the weights are read, which takes long.
    vocabulary_path(model_dir)
    name = LanguageModel.template_of(model_dir) if template is None else template
    if name is None:
        raise UserError(
            f"{model_dir} does not say by which template its model was tuned to answer; "
            f"give --gin.TEMPLATE=, one of {', '.join(TEMPLATES)}"
        )
    get_template(name)
    Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty
    )
    model = LanguageModel.load(
        model_dir, step, mesh=None if mesh is None else make_mesh(mesh), dtype=dtype
    )
    sampling = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
    }
    talk = Talk(model, name, system, max_new_tokens, sampling, seed)
    _say(f"{model_dir}, template {name}. {_COMMANDS}.")
    for message in _messages():
        if message == "/reset":
            talk.reset()
            _say("the conversation is forgotten")
        elif re.fullmatch(r"/[a-z]*", message):
            _say(f"there is no command {message}. {_COMMANDS}.")
        else:
            try:
                talk.answer(message)
            except UserError as error:  # of this message alone, as one that is too long
                _say(str(error))


class Talk:
    """A conversation that goes on: its history, and the model that answers.

    Attributes:
      history: messages, a user's and an answer in turns, of those that still have room.
    """

    def __init__(self, model: LanguageModel, template: str, system: str | None, max_new_tokens: int,
                 sampling: dict[str, float], seed: int):  # fmt: skip
        self.history: list[dict[str, str]] = []
        self._model = model
        self._template = template
        self._system = [] if system is None else [{"role": "system", "content": system}]
        self._max_new_tokens = max_new_tokens
        self._sampling = sampling
        self._seed = seed

    def reset(self) -> None:
        self.history = []

    def answer(self, message: str) -> None:
        """Writes the answer to a message; Ctrl-C ends it.

        Raises:
          UserError: the message is too long for the model, and is not in the history.
        """
        history = [*self.history, {"role": "user", "content": message}]
        prompt = self._model.chat_prompt(
            self._system + history, self._template, self._max_new_tokens
        )
        if prompt.dropped:
            _say(f"the conversation is too long: its oldest {prompt.dropped} messages are dropped")
            history = history[prompt.dropped :]
        with _interruptible() as interrupted:
            pieces = self._model.stream_chat(
                self._system + history,
                self._template,
                max_new_tokens=self._max_new_tokens,
                seed=self._seed,
                stop=interrupted.is_set,
                **self._sampling,
            )
            text = _written(pieces)
        self._seed = (self._seed + 1) % 2**31
        if interrupted.is_set():
            _say("stopped")
        elif not text.strip():
            _say("the model ended its answer at once; the message is not kept")
        if text.strip():
            self.history = [*history, {"role": "assistant", "content": text}]


def _written(pieces: Iterator[str]) -> str:
    """The whole of `pieces`, each written to standard output as it comes."""
    text = ""
    for piece in pieces:
        text += piece
        sys.stdout.write(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", piece))
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    return text


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, instead of raising an exception in the midst of a device's work."""
    interrupted = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _messages() -> Iterator[str]:
    """What the user types, message by message, until /quit or the end of the input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` line editing and a history
    asks = sys.stdin.isatty()
    lines: list[str] = []
    while True:
        try:
            line = input(("... " if lines else "> ") if asks else "")
            line.encode("utf-8")
        except EOFError:
            if asks:
                print()
            return
        except KeyboardInterrupt:
            print()
            _say("/quit or Ctrl-D ends")
            lines = []
            continue
        except UnicodeError:
            _say("the line is not UTF-8; set the terminal to UTF-8 and type it again")
            continue
        if line.endswith("\\"):
            lines.append(line[:-1])
            continue
        message, lines = "\n".join([*lines, line]), []
        if message.strip() == "/quit":
            return
        if message.strip():
            yield message.strip() if message.strip().startswith("/") else message


def _say(sentence: str) -> None:
    """A remark of the program's, apart from the model's text."""
    print(f"[{sentence}]", file=sys.stderr, flush=True)
