"""The infer command: a file of prompts to a file of texts, whole or not at all, and one sentence for a mistake."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmjp_jax import LanguageModel, launch
from llmjp_jax.checkpoints import save_hf
from llmjp_jax.errors import UserError
from llmjp_jax.infer import infer, read_prompts
from llmjp_jax.models import Decoder, ModelConfig
from llmjp_jax.tokenizer import load_vocabulary
from llmjp_jax.tokenizer.training import train_unigram

ROOT = Path(__file__).parents[1]
TEXT = "The quick brown fox jumps over the lazy dog. いろはにほへと"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    train_unigram(
        [(ROOT / "LICENSE").read_text(), TEXT], folder / "tokenizer.model", vocab_size=500
    )
    vocabulary = load_vocabulary(folder / "tokenizer.model")
    config = ModelConfig(vocab_size=vocabulary.vocab_size, layers=1, embed=16, heads=2, mlp=32, max_length=64,
                         position="rope", norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False,
                         initializer_std=0.3)  # fmt: skip
    save_hf(Decoder(config), config, folder / "hf", vocabulary=vocabulary)
    return folder / "hf"


def start(*flags: str) -> None:
    launch.run("llmjp_jax.infer.infer", ["--gin_file=gin_configs/runs/infer.gin", *flags],
               description="A test.", example="gin_configs/runs/infer.gin")  # fmt: skip


def test_the_command_writes_a_text_for_each_prompt_in_order(model_dir, tmp_path):
    prompts = ["The quick", "", "いろは\nに", "dog"]
    lines = [json.dumps({"prompt": prompt, "id": 3}) + "\n" for prompt in prompts]
    (tmp_path / "prompts.jsonl").write_text("".join(lines))
    start(f"--gin.MODEL_DIR={model_dir}", f"--gin.PROMPTS={tmp_path}/prompts.jsonl", f"--gin.OUTPUT={tmp_path}/new/texts.jsonl",
          "--gin.MAX_NEW_TOKENS=9", "--gin.TEMPERATURE=0.7", "--gin.BATCH_SIZE=2", "--gin.infer.top_k=9")  # fmt: skip
    text = (tmp_path / "new" / "texts.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    expected = LanguageModel.load(model_dir).generate(
        prompts, max_new_tokens=9, temperature=0.7, top_k=9
    )
    assert records == [{"prompt": p, "text": t} for p, t in zip(prompts, expected, strict=True)]
    assert "いろは" in text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["texts.jsonl"]


def test_parameters_may_lie_on_a_mesh(model_dir, tmp_path):
    (tmp_path / "prompts.txt").write_text("The quick\n")
    flags = (
        f"--gin.MODEL_DIR={model_dir}",
        f"--gin.PROMPTS={tmp_path}/prompts.txt",
        "--gin.MAX_NEW_TOKENS=9",
    )
    start(*flags, f"--gin.OUTPUT={tmp_path}/one.jsonl")
    start(
        *flags,
        f"--gin.OUTPUT={tmp_path}/mesh.jsonl",
        "--gin.MESH=@parallel.MeshConfig()",
        "--gin.parallel.MeshConfig.tensor=2",
    )
    assert (tmp_path / "one.jsonl").read_text() == (tmp_path / "mesh.jsonl").read_text() != ""


def test_prompts_are_read_from_text_and_from_json_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeff一\r\ntwo \u2028 words\n".encode())
    assert read_prompts(tmp_path / "a.txt") == ["一", "two \u2028 words"]
    (tmp_path / "a.jsonl").write_text('{"prompt": "a\\nb"}\n{"prompt": ""}')
    assert read_prompts(tmp_path / "a.jsonl") == ["a\nb", ""]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.txt", None, "there is no prompt file .*p.txt"),
        ("p.csv", b"a", "p.csv must end in .txt"),
        ("p.txt", b"", "p.txt holds no prompts"),
        ("p.jsonl", b"", "p.jsonl holds no prompts"),
        ("p.txt", b"a\n\nb\n", "p.txt line 2 is empty"),
        ("p.txt", b"a\n\xff\n", "p.txt is not UTF-8 at byte 2"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt": \n', "p.jsonl line 2 is not JSON"),
        ("p.jsonl", b'{"prompt": "a"}\n\n', "p.jsonl line 2 is not JSON"),
        ("p.jsonl", b'{"text": "a"}\n', 'p.jsonl line 1 has no string "prompt"'),
        ("p.jsonl", b'["a"]\n', 'p.jsonl line 1 has no string "prompt"'),
        ("p.jsonl", b'{"prompt": "\\ud800"}\n', "p.jsonl line 1: .* lone surrogate"),
    ],
)
def test_a_bad_prompt_file_is_one_sentence_and_leaves_nothing(
    model_dir, tmp_path, name, content, sentence
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        infer(model_dir=model_dir, prompts=tmp_path / name, output=tmp_path / "out" / "texts.jsonl")
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_the_old_output_as_it_was(model_dir, tmp_path):
    (tmp_path / "p.txt").write_text("The quick\n" + "dog " * 100)
    (tmp_path / "texts.jsonl").write_text("old")
    with pytest.raises(UserError, match="prompt 2 of 2 has"):
        infer(
            model_dir=model_dir,
            prompts=tmp_path / "p.txt",
            output=tmp_path / "texts.jsonl",
            max_new_tokens=8,
        )
    assert (tmp_path / "texts.jsonl").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.txt", "texts.jsonl"]


def test_help_answers_at_once_and_mistakes_exit_with_2(tmp_path):
    def command(*flags):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, "-m", "llmjp_jax.infer", *flags], env=environment, cwd=tmp_path,
                              capture_output=True, text=True)  # fmt: skip

    begin = time.perf_counter()
    result = command("--help")
    assert result.returncode == 0 and "python -m llmjp_jax.infer" in result.stdout
    assert (
        time.perf_counter() - begin < 3
    )  # well under a second on an idle machine; importing JAX takes longer
    result = command("--gin_file=gin_configs/runs/infer.gin", "--gin.MODEL_DIR=nowhere")
    assert result.returncode == 2
    assert result.stderr.startswith("error: PROMPTS and OUTPUT are required"), result.stderr
    (tmp_path / "p.txt").write_text("a")
    result = command(
        "--gin_file=gin_configs/runs/infer.gin",
        "--gin.MODEL_DIR=nowhere",
        "--gin.PROMPTS=p.txt",
        "--gin.OUTPUT=o",
    )
    assert result.returncode == 2
    assert (
        result.stderr
        == "error: nowhere is not a folder; give a run's MODEL_DIR, a Hugging Face model's or an adapter's folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["p.txt"]
