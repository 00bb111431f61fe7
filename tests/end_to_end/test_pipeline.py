"""The commands of the README, one after another, on a small corpus: from JSONL to a model that transformers serves.

Everything after the token store runs with TensorFlow and SeqIO impossible to import.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import tiny_documents

REPOSITORY = Path(__file__).resolve().parents[2]
SIZES = [
    "--gin.models.ModelConfig.vocab_size=390", "--gin.models.ModelConfig.layers=2", "--gin.models.ModelConfig.unroll=2",
    "--gin.models.ModelConfig.embed=48", "--gin.models.ModelConfig.heads=4", "--gin.models.ModelConfig.kv_heads=2",
    "--gin.models.ModelConfig.mlp=96", "--gin.TRAIN_STEPS=200", "--gin.BATCH_SIZE=8", "--gin.SEQUENCE_LENGTH=32",
    "--gin.OptimizerConfig.warmup_steps=5", "--gin.OptimizerConfig.learning_rate=1e-2",
]  # fmt: skip
# Makes the modules what they are on a machine without them: not to be found.
_BLOCKER = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    absent = ("tensorflow", "seqio", "tensorflow_datasets", "tensorflow_text", "torch", "transformers")
    return None if name.split(".")[0] in absent else find(name, path, target)
PathFinder.find_spec = find_spec
"""


def run(*arguments: str, blocked: Path | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    if blocked is not None:
        environment["PYTHONPATH"] = str(blocked)
    found = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600
    )  # fmt: skip
    assert found.returncode == 0, f"{arguments}: {found.stdout}\n{found.stderr}"
    return found


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """The folder in which every command has left its result, and what the report printed."""
    folder = tmp_path_factory.mktemp("pipeline")
    for language in ("ja", "en", "code"):
        corpus = folder / "corpora" / language
        corpus.mkdir(parents=True)
        for seed, (split, count) in enumerate({"train": 1200, "validation": 60}.items()):
            name = "tiny_ja" if language == "ja" else "tiny_en"
            texts = tiny_documents(name, count, seed)
            if language == "code":
                texts = [f"def {text.split()[0]}():\n    return 1\n" for text in texts]
            lines = [json.dumps({"text": text, "meta": {}}, ensure_ascii=False) for text in texts]
            (corpus / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    model = folder / "tokenizer.model"
    corpora = f"--corpora_dir={folder / 'corpora'}"
    run(
        "tools/train_tokenizer.py", "--gin_file=gin_configs/tokenizer/quickstart.gin",
        f"--gin.CORPORA_DIR={folder / 'corpora'}", f"--gin.OUTPUT={model}", "--gin.VOCAB_SIZE=390",
    )  # fmt: skip
    mixture = "--mixture_or_task_name=quickstart"
    cache = f"--cache_dir={folder / 'cache'}"
    run("tools/cache_tasks.py", mixture, corpora, f"--vocabulary={model}", cache)

    blocked = folder / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(_BLOCKER)
    training = [
        "-m", "llmjp_jax.train", "--gin_file=gin_configs/quickstart.gin", f"--gin.MODEL_DIR={folder / 'model'}",
        f"--gin.VOCABULARY={model}", f"--gin.CACHE_DIR={folder / 'cache'}", *SIZES,
    ]  # fmt: skip
    plan = run(*training, "--dry_run", blocked=blocked)
    assert not (folder / "model").exists()
    run(*training, blocked=blocked)
    run(
        "tools/convert_checkpoint.py",
        f"--from_run={folder / 'model'}",
        f"--to_hf={folder / 'hf'}",
        blocked=blocked,
    )
    report = run(
        "tools/report_run.py", f"--model_dir={folder / 'model'}", cache, mixture, blocked=blocked
    )
    (folder / "prompts.txt").write_text("私は\nI went\n")
    run(
        "-m", "llmjp_jax.infer", "--gin_file=gin_configs/runs/infer.gin", f"--gin.MODEL_DIR={folder / 'model'}",
        f"--gin.PROMPTS={folder / 'prompts.txt'}", f"--gin.OUTPUT={folder / 'texts.jsonl'}",
        "--gin.MAX_NEW_TOKENS=20", blocked=blocked,
    )  # fmt: skip
    return folder, plan.stdout, report.stdout


def test_the_blocker_blocks(pipeline):
    found = subprocess.run(
        [sys.executable, "-c", "import seqio"], env={**os.environ, "PYTHONPATH": str(pipeline[0] / "blocked")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 1 and "No module named 'seqio'" in found.stderr


def test_the_plan_says_what_the_run_takes(pipeline):
    _, plan, _ = pipeline
    assert "200 of 8 x 32 tokens" in plan and "51,200" in plan and "GiB per device" in plan


def test_the_model_learns_and_the_report_says_so_for_each_corpus(pipeline):
    folder, _, report = pipeline
    scores = json.loads((folder / "model" / "report.json").read_text())["validation"]
    assert set(scores) == {"quickstart_ja", "quickstart_en", "quickstart_code"}
    for name, score in scores.items():
        assert score["bits_per_byte"] < score["unigram_bits_per_byte"], name
        assert (
            f"{score['bits_per_byte']:.3f}" in report
            and f"{score['unigram_bits_per_byte']:.3f}" in report
        )
    assert str(folder / "model" / "loss.png") in report and report.count("\n  [") == 3


def test_transformers_gives_the_same_logits_and_greedy_text(pipeline):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here")
    transformers = pytest.importorskip("transformers", reason="transformers is the reference here")
    from llmjp_jax import LanguageModel

    folder, _, _ = pipeline
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "hf").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "hf")
    ours = LanguageModel.load(folder / "model")
    texts = [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()]
    assert [text["prompt"] for text in texts] == ["私は", "I went"]
    for text in texts:
        ids = tokenizer(text["prompt"], add_special_tokens=False)["input_ids"]
        assert ids == ours.vocabulary.encode(text["prompt"])
        with torch.no_grad():
            logits = theirs(torch.tensor([ids])).logits.numpy()
            written = theirs.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[
                0
            ].tolist()
        np.testing.assert_allclose(ours.model(np.array([ids])), logits, atol=1e-4)
        assert tokenizer.decode(written, skip_special_tokens=True) == text["prompt"] + text["text"]


def test_the_exported_model_reads_back_as_the_same_model(pipeline):
    from llmjp_jax import LanguageModel

    folder, _, _ = pipeline
    prompt = ["今日は"]
    written = [
        LanguageModel.load(folder / name).generate(prompt, max_new_tokens=16)
        for name in ("model", "hf")
    ]
    assert written[0] == written[1]
