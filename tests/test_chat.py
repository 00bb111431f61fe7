"""The chat: answers are what training's template asks for, long talks go on, and Ctrl-C ends an answer and not the program."""

import codecs
import contextlib
import dataclasses
import hashlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import pytest

from llmjp_jax import LanguageModel, conversations
from llmjp_jax.chat import Talk, chat
from llmjp_jax.checkpoints import save_hf
from llmjp_jax.conversations import get_template
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig
from llmjp_jax.tokenizer import load_vocabulary

ROOT = Path(__file__).parents[1]
CTRL_C, CTRL_D = "\x03", "\x04"
TEMPLATE = get_template("v1.1")


def ask(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def model_dir(tiny_vocabulary, tmp_path_factory) -> Path:
    """A Hugging Face directory of a model with random weights that never ends its answers."""
    folder = tmp_path_factory.mktemp("chat") / "hf"
    vocabulary = load_vocabulary(tiny_vocabulary)
    config = ModelConfig(vocab_size=vocabulary.vocab_size, layers=1, embed=16, heads=2, mlp=32, max_length=4096,
                         position="rope", norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False,
                         initializer_std=0.3)  # fmt: skip
    model = Decoder(config)
    # Greedy decoding takes no token whose logit is zero: neither the special ones nor bytes that are no text.
    kernel = model.head.kernel
    kernel.value = kernel.value * (jnp.arange(kernel.value.shape[-1]) >= 289)
    save_hf(model, config, folder, vocabulary, chat_template=TEMPLATE.chat_template)
    return folder


@pytest.fixture(scope="module")
def model(model_dir) -> LanguageModel:
    return LanguageModel.load(model_dir)


def test_an_answer_is_what_is_generated_after_the_templates_prompt(model):
    assert model.template == "v1.1"
    messages = ask("私は", "彼は", "今日は<EOD|LLM-jp>")
    prompt = TEMPLATE.render(conversations.parse_messages(messages), generation_prompt=True).text
    for sampling in ({}, {"temperature": 0.8, "top_p": 0.9, "seed": 3, "repetition_penalty": 1.1}):
        expected = model.generate(prompt, max_new_tokens=12, **sampling)[0]
        assert expected
        assert model.chat(messages, max_new_tokens=12, **sampling) == expected
        assert "".join(model.stream_chat(messages, max_new_tokens=12, **sampling)) == expected
    assert model.chat(messages, "v1.0", max_new_tokens=12) != expected
    with pytest.raises(UserError, match=r"messages: field 'messages\[0\]' has the role 'assistant' out of order"):  # fmt: skip
        model.chat(ask("A", "B")[1:])
    with pytest.raises(UserError, match="ends with a response"):
        model.chat(ask("A", "B"))
    with pytest.raises(UserError, match="max_new_tokens = 0 must be a whole number"):
        model.chat(ask("A"), max_new_tokens=0)


def test_an_answer_ends_where_the_model_writes_the_users_turn(model, monkeypatch):
    monkeypatch.setattr(
        LanguageModel, "_pieces", lambda *_: iter(["富士", "山\n", "\n### 指示:\n", "川は？"])
    )
    assert model.chat(ask("山は？")) == "富士山"
    assert model.chat(ask("山は？"), "v1.0") == "富士山\n\n### 指示:\n川は？"


def test_stop_ends_an_answer(model):
    whole = list(model.stream_chat(ask("私は"), max_new_tokens=40))
    asked = []
    cut = list(
        model.stream_chat(
            ask("私は"), max_new_tokens=40, stop=lambda: len(asked) > 5 or asked.append(1)
        )
    )
    assert 0 < len(cut) < len(whole) and "".join(whole).startswith("".join(cut))


def test_a_long_conversation_loses_its_oldest_messages_and_says_so(model):
    messages = ask(*["私は学校へ行く。" * 40] * 41)
    with pytest.warns(UserWarning, match="its oldest [0-9]+ messages are left out"):
        answer = model.chat(messages, max_new_tokens=5)
    dropped = model.chat_prompt(messages, max_new_tokens=5).dropped
    assert 0 < dropped < 40 and answer == model.chat(messages[dropped:], max_new_tokens=5)
    with pytest.raises(UserError, match="longest sequence is 4096; shorten it"):
        model.chat(ask("私は学校へ行く。" * 2000))


def test_the_template_is_found_in_the_models_directory(model_dir, model, tmp_path, monkeypatch):
    def found(run: dict | None = None, config: dict | None = None, jinja: str | None = None):
        for name in ("run.json", "tokenizer_config.json", "chat_template.jinja"):
            (tmp_path / name).unlink(missing_ok=True)
        if run is not None:
            (tmp_path / "run.json").write_text(json.dumps({"model": {}, **run}))
        if config is not None:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        if jinja is not None:
            (tmp_path / "chat_template.jinja").write_text(jinja)
        return LanguageModel.template_of(tmp_path)

    ours = get_template("v1.0").chat_template
    assert found() is None and found(run={}) is None and found(run={"template": None}) is None
    assert found(run={"template": "v1.1"}, config={"chat_template": ours}) == "v1.1"
    assert found(run={}, config={"chat_template": ours}) == "v1.0"
    assert found(config={"chat_template": ours}) == "v1.0"
    assert found(config={"chat_template": "{{ messages }}"}) is None
    assert found(config={"chat_template": "{{ messages }}"}, jinja=ours) == "v1.0"
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": ours}]
    assert found(config={"chat_template": named}) == "v1.0"
    theirs = "{{ bos_token }}"
    digest = hashlib.sha256(theirs.encode()).hexdigest()
    published = dataclasses.replace(get_template("llm_jp_3"), published=(digest,))
    monkeypatch.setitem(conversations.TEMPLATES, "llm_jp_3", published)
    assert found(config={"chat_template": theirs}) == "llm_jp_3"
    with pytest.raises(UserError, match="tokenizer_config.json is not a JSON object"):
        found(config=[])
    unknown = LanguageModel(model.model, model.vocabulary)
    with pytest.raises(UserError, match=r"does not say by which template.*give template \(TEMPLATE in gin\), one of 'v1.0'"):  # fmt: skip
        unknown.chat(ask("A"))


class Answers:
    """A model that gives these answers in order and remembers what it was asked."""

    def __init__(self, *answers, room: int = 1000):
        self.answers, self.asked, self.room = list(answers), [], room

    def chat_prompt(self, messages, template, max_new_tokens):
        dropped = 0
        turns = [message for message in messages if message["role"] != "system"]
        if len(turns[-1]["content"]) > self.room:
            raise UserError("too long")
        while len(turns) - dropped > 1 and sum(len(turn["content"]) for turn in turns[dropped:]) > self.room:  # fmt: skip
            dropped += 2
        return conversations.ChatPrompt([1], dropped, max_new_tokens)

    def stream_chat(self, messages, template, *, stop, seed, **sampling):
        self.asked.append((messages, seed))
        for piece in self.answers.pop(0):
            if stop():
                return
            if piece is KeyboardInterrupt:
                signal.raise_signal(signal.SIGINT)
            else:
                yield piece


def talk(model: Answers, system: str | None = None) -> Talk:
    return Talk(model, "v1.1", system, 10, {"temperature": 0.0}, 2**31 - 1)


def test_each_message_is_asked_with_all_before_it(capsys):
    model = Answers(["富士", "山"], ["信濃川"], ["はい"])
    chatting = talk(model, system="短く。")
    chatting.answer("山は？")
    chatting.answer("川は？")
    system = [{"role": "system", "content": "短く。"}]
    assert model.asked[0] == (system + ask("山は？"), 2**31 - 1)
    assert model.asked[1] == (system + ask("山は？", "富士山", "川は？"), 0)
    chatting.reset()
    chatting.answer("海は？")
    assert model.asked[2] == (system + ask("海は？"), 1)
    assert capsys.readouterr().out == "富士山\n信濃川\nはい\n"


def test_an_interrupted_answer_keeps_its_beginning_and_an_empty_one_is_forgotten(capsys):
    model = Answers(["富士", KeyboardInterrupt, "山"], [KeyboardInterrupt, "a"], [" "], ["はい"])
    chatting = talk(model)
    before = signal.getsignal(signal.SIGINT)
    for message in ("山は？", "川は？", "海は？", "空は？"):
        chatting.answer(message)
    assert [messages for messages, _ in model.asked] == [
        ask("山は？"),
        ask("山は？", "富士", "川は？"),
        ask("山は？", "富士", "海は？"),
        ask("山は？", "富士", "空は？"),
    ]
    assert signal.getsignal(signal.SIGINT) is before
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "[stopped]",
        "[stopped]",
        "[the model ended its answer at once; the message is not kept]",
    ]


def test_a_talk_that_grows_too_long_goes_on_without_its_beginning(capsys):
    model = Answers(["ab"], ["cd"], ["ef"], room=7)
    chatting = talk(model)
    for message in ("123", "456", "789"):
        chatting.answer(message)
    assert model.asked[1][0] == ask("456") and model.asked[2][0] == ask("789")
    with pytest.raises(UserError, match="too long"):
        chatting.answer("12345678")
    assert chatting.history == ask("789", "ef")
    assert "its oldest 2 messages are dropped" in capsys.readouterr().err


def test_a_terminal_is_not_commanded_by_the_model(capsys):
    model = Answers(["a\x1b[2J\r\x07b\n\tc\x9b"])
    chatting = talk(model)
    chatting.answer("?")
    assert capsys.readouterr().out == "a\ufffd[2J\ufffd\ufffdb\n\tc\ufffd\n"
    assert chatting.history[-1]["content"] == "a\x1b[2J\r\x07b\n\tc\x9b"


def test_without_a_template_it_ends_before_the_weights_are_read(model_dir, tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        chat(model_dir=tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no model"):
        chat(model_dir=tmp_path)
    for name in (
        "config.json",
        "tokenizer.json",
    ):  # no weights: reading them would be another sentence
        shutil.copy(model_dir / name, tmp_path)
    with pytest.raises(UserError, match="does not say by which template .*give --gin.TEMPLATE=, one of v1.0, v1.1, llm_jp_3"):  # fmt: skip
        chat(model_dir=tmp_path)
    with pytest.raises(UserError, match="did you mean 'v1.1'"):
        chat(model_dir=tmp_path, template="v1.11")


def test_an_adapter_answers_by_its_bases_template(model_dir, tmp_path):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj"],
                    "base_model_name_or_path": str(model_dir)})
    )  # fmt: skip
    assert LanguageModel.template_of(tmp_path) == "v1.1"


class Terminal:
    """The command in a pseudo-terminal: what a person types goes in, what they would see comes out."""

    def __init__(self, *flags: str, cwd: Path):
        self.master, slave = pty.openpty()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb", "LANG": "C.UTF-8"}
        environment["XLA_FLAGS"] = ""
        # The leader of a session has the first terminal that it opens as its own, whose Ctrl-C then reaches it.
        start = (
            "import os, sys; os.open(os.ttyname(0), os.O_RDWR);"
            "os.execv(sys.executable, [sys.executable, '-m', 'llmjp_jax.infer', '--chat', *sys.argv[1:]])"
        )
        self.process = subprocess.Popen([sys.executable, "-c", start, *flags], stdin=slave, stdout=slave, stderr=slave,
                                        cwd=cwd, env=environment, start_new_session=True)  # fmt: skip
        os.close(slave)
        self.seen = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str, seconds: float = 120) -> str:
        """What was shown since the last call, up to and with `text`."""
        self._read(lambda: text in self.seen, seconds)
        shown, found, self.seen = self.seen.partition(text)
        return shown + found

    def wait_for_more(self, count: int, seconds: float = 120) -> None:
        """Until `count` characters more were shown."""
        self._read(lambda: len(self.seen) >= count, seconds)

    def _read(self, enough: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not enough():
            left = end - time.monotonic()
            assert left > 0, f"only this was shown: {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                self.seen += self.decoder.decode(os.read(self.master, 65536))

    def close(self) -> int:
        with contextlib.suppress(OSError):  # the other end is gone
            while os.read(self.master, 65536):
                pass
        os.close(self.master)
        return self.process.wait(60)


def test_in_a_terminal_ctrl_c_stops_the_answer_and_ctrl_d_the_program(model_dir, tmp_path):
    terminal = Terminal(
        f"--gin.MODEL_DIR={model_dir}",
        "--gin.TEMPERATURE=0.0",
        "--gin.MAX_NEW_TOKENS=3000",
        cwd=tmp_path,
    )
    try:
        assert "template v1.1. Ctrl-C stops an answer" in terminal.wait_for("> ")
        terminal.type("私は\n")
        terminal.wait_for("私は\r\n")  # the terminal's echo
        terminal.wait_for_more(20)  # the answer has begun, and would go on for thousands of tokens
        terminal.type(CTRL_C)
        begun = time.monotonic()
        shown = terminal.wait_for("[stopped]")
        assert time.monotonic() - begun < 10 and len(shown) < 3000
        terminal.wait_for("> ")
        for _ in range(10):  # at the prompt there is no answer to stop
            # `readline` overlooks a signal between showing the prompt and waiting for a key, until the next.
            terminal.type(CTRL_C)
            with contextlib.suppress(AssertionError):
                terminal.wait_for("[/quit or Ctrl-D ends]", 3)
                break
        terminal.wait_for("> ")
        terminal.type("/reset\n")
        terminal.wait_for("[the conversation is forgotten]")
        terminal.wait_for("> ")
        terminal.type("今日は\n")
        terminal.wait_for("今日は\r\n")
        terminal.wait_for_more(20)
        assert terminal.process.poll() is None
        terminal.type(CTRL_C)
        terminal.wait_for("[stopped]")
        terminal.wait_for("> ")
        terminal.type(CTRL_D)
        assert terminal.close() == 0
    finally:
        terminal.process.kill()


def test_messages_may_come_from_a_pipe(model_dir, model, tmp_path):
    command = [sys.executable, "-m", "llmjp_jax.infer", "--chat", f"--gin.MODEL_DIR={model_dir}",
               "--gin.TEMPERATURE=0.0", "--gin.MAX_NEW_TOKENS=8", "--gin.REPETITION_PENALTY=1.0"]  # fmt: skip
    typed = "私は\\\n彼は\n\n/what\n今日は\n/quit\n昨日\n"
    found = subprocess.run(command, input=typed, capture_output=True, text=True, encoding="utf-8",
                           cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert found.returncode == 0, found.stderr
    first = model.chat(ask("私は\n彼は"), max_new_tokens=8)
    second = model.chat(ask("私は\n彼は", first, "今日は"), max_new_tokens=8)
    assert found.stdout == f"{first}\n{second}\n"
    assert "[there is no command /what. Ctrl-C stops" in found.stderr


def test_help_and_mistakes_answer_at_once(tmp_path):
    def command(*flags):
        begin = time.perf_counter()
        found = subprocess.run([sys.executable, "-m", "llmjp_jax.infer", *flags], capture_output=True, text=True,
                               cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
        return found, time.perf_counter() - begin

    found, seconds = command("--chat", "--help")
    assert found.returncode == 0 and "conversation in the terminal" in found.stdout
    assert seconds < 3  # well under a second on an idle machine; importing JAX takes longer
    found, _ = command("--help")
    assert "--chat" in found.stdout
    found, _ = command("--chat")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert found.stderr.startswith("error: MODEL_DIR is required by")
    found, _ = command("--chat", "--gin.MODEL_DIR=nowhere", "--gin.TEMPLATE=v1.1")
    assert found.returncode == 2 and "error: nowhere is not a folder" in found.stderr
    found, _ = command("--chat", "--gin.MODEL_DIR=nowhere", "--gin.SYSTM=x")
    assert found.returncode == 2 and "did you mean SYSTEM" in found.stderr


def test_a_chat_template_is_exported_with_a_tokenizer_or_not_at_all(model_dir, model, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
    prompt = tokenizer.apply_chat_template(ask("A"), tokenize=False, add_generation_prompt=True)
    assert prompt == TEMPLATE.render(conversations.parse_messages(ask("A")), True).text
    with pytest.raises(UserError, match="a chat_template belongs to a tokenizer; pass vocabulary too"):  # fmt: skip
        save_hf(model.model, model.config, tmp_path / "hf", chat_template=TEMPLATE.chat_template)
    assert not (tmp_path / "hf").exists()
