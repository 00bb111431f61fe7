"""tools/judge.py as a user runs it: a small model answers, a server on this machine judges, batches do without one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import pytest

from llmjp_jax import LanguageModel
from llmjp_jax.checkpoints import save_hf
from llmjp_jax.conversations import get_template
from llmjp_jax.evaluation.judges.records import read_answers
from llmjp_jax.models import Decoder, ModelConfig
from llmjp_jax.tokenizer import load_vocabulary
from tests.evaluation.judges.judge_server import Say, completion

REPOSITORY = Path(__file__).resolve().parents[3]
KEY = "sk-very-secret-0123456789"


def run(*flags, code=0, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tools/judge.py", *map(str, flags)],
        capture_output=True, text=True, env=kept | environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return path


def answer(id, model, *turns):
    return {"question_id": id, "model_id": model, "choices": [{"index": 0, "turns": turns}]}


@pytest.fixture
def vicuna(tmp_path):
    """A folder as the download leaves it, with three questions."""
    folder = tmp_path / "downloads" / "ja_vicuna_qa.unpacked" / "repository" / "data" / "jp_bench"
    categories = {1: "generic", 61: "coding", 71: "writing"}
    write(folder / "question.jsonl", *({"question_id": id, "category": c, "turns": [f"問{id}"]} for id, c in categories.items()))  # fmt: skip
    write(folder / "reference_answer/gpt-4/results.jsonl", answer(61, "gpt-4", "参考"))
    write(folder / "model_answer/openai--text-davinci-003/results.jsonl", *(answer(id, "davinci", "基準") for id in categories))  # fmt: skip
    write(folder / "judge_prompts.jsonl", *(
        {"name": name, "type": "x", "system_prompt": "公平に", "prompt_template": template, "output_format": "[[A]]"}
        for name, template in {
            "pair": "{question} A={answer_a} B={answer_b}", "pair-math": "{question} {ref_answer_1} A={answer_a} B={answer_b}",
            "single": "{question} {answer}", "single-math": "{question} {ref_answer_1} {answer}",
        }.items()
    ))  # fmt: skip
    return tmp_path / "downloads"


@pytest.fixture
def answers(tmp_path):
    return write(tmp_path / "answers.jsonl", *(answer(id, "mine", "私の答") for id in (1, 61, 71)))


def prefers_mine(body, _):
    text = body["messages"][-1]["content"]
    return Say(completion("短い説明。" + ("[[A]]" if "A=私の答" in text else "[[B]]")))


def test_an_endpoint_judges_and_a_second_start_asks_only_what_failed(server, vicuna, answers, tmp_path):  # fmt: skip
    flags = ["ask", "vicuna", f"--data_dir={vicuna}", f"--answers={answers}", f"--output_dir={tmp_path / 'out'}",
             f"--base_url={server.url}", "--judge=j", "--retries=0", "--api_key_env=THE_KEY"]  # fmt: skip

    def script(body, count):
        text = body["messages"][-1]["content"]
        if "問1 " in text and "A=私の答" in text:
            return Say(status=500, body={"error": {"message": KEY}})
        return prefers_mine(body, count)

    server.script = script
    first = run(*flags, THE_KEY=KEY)
    assert "warning: 1 verdicts could not be had or read and are left out (1 of 6 replies are errors)" in first.stdout  # fmt: skip
    assert {headers["Authorization"] for headers, _ in server.requests} == {f"Bearer {KEY}"}
    result = json.loads((tmp_path / "out/judges/vicuna.json").read_text())
    assert result["scores"]["adjusted_win_rate"] == 1.0
    assert result["counts"]["errors"] == 1
    server.script = prefers_mine
    server.requests.clear()
    second = run(*flags, THE_KEY=KEY)
    assert len(server.requests) == 1
    result = json.loads((tmp_path / "out/judges/vicuna.json").read_text())
    assert (result["scores"]["win_rate"], result["counts"]["errors"]) == (1.0, 0)
    origin = result["provenance"]
    assert (origin["model"], origin["baseline"], origin["judge"], origin["samples"]) == ("mine", "davinci", "j", 3)  # fmt: skip
    written = "".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert KEY not in written + first.stdout + first.stderr + second.stdout + second.stderr


def test_batches_give_the_scores_that_an_endpoint_gives(server, vicuna, answers, tmp_path):
    server.script = prefers_mine
    given = [f"--data_dir={vicuna}", f"--answers={answers}", "--judge=j"]
    run("ask", "vicuna", *given, f"--output_dir={tmp_path / 'online'}", f"--base_url={server.url}")
    requests = tmp_path / "requests.jsonl"
    assert "6 requests to j" in run("requests", "vicuna", *given, f"--output={requests}").stdout
    lines = [json.loads(line) for line in requests.read_text().splitlines()]
    replies = [
        {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": prefers_mine(line["body"], 0).body}, "error": None}
        for line in lines
    ]  # fmt: skip
    write(tmp_path / "replies.jsonl", *replies)
    run("score", "vicuna", *given, f"--replies={tmp_path / 'replies.jsonl'}", f"--output_dir={tmp_path / 'offline'}")  # fmt: skip
    online, offline = (json.loads((tmp_path / name / "judges/vicuna.json").read_text()) for name in ("online", "offline"))  # fmt: skip
    for result in (online, offline):
        result["provenance"].pop("date")
    assert online == offline
    assert online["scores"]["win_rate"] == 1.0
    other = run("score", "vicuna", *given[:2], "--judge=other", f"--replies={tmp_path / 'replies.jsonl'}", f"--output_dir={tmp_path / 'offline'}", code=2)  # fmt: skip
    assert "has no reply to these requests to other" in other.stderr
    write(tmp_path / "replies.jsonl", *replies[1:])
    run("score", "vicuna", *given, f"--replies={tmp_path / 'replies.jsonl'}", f"--output_dir={tmp_path / 'offline'}")  # fmt: skip
    assert json.loads((tmp_path / "offline/judges/vicuna.json").read_text())["counts"]["errors"] == 1  # fmt: skip


def test_single_marks_need_no_baseline(server, vicuna, answers, tmp_path):
    server.script = lambda *_: Say(completion("[[7]]"))
    run("ask", "vicuna", "--mode=single", f"--data_dir={vicuna}", f"--answers={answers}", f"--output_dir={tmp_path}", f"--base_url={server.url}")  # fmt: skip
    assert json.loads((tmp_path / "judges/vicuna.json").read_text())["scores"] == {"average": 7}
    assert server.requests[0][1]["model"] == "gpt-4"


@pytest.fixture(scope="module")
def model_dir(tiny_vocabulary, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("judged") / "small"
    vocabulary = load_vocabulary(tiny_vocabulary)
    config = ModelConfig(vocab_size=vocabulary.vocab_size, layers=1, embed=16, heads=2, mlp=32, max_length=4096,
                         position="rope", norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False,
                         initializer_std=0.3)  # fmt: skip
    model = Decoder(config)
    kernel = model.head.kernel
    kernel.value = kernel.value * (jnp.arange(kernel.value.shape[-1]) >= 289)
    save_hf(model, config, folder, vocabulary, chat_template=get_template("v1.1").chat_template)
    return folder


def test_a_model_answers_mt_bench_by_its_own_template_and_is_marked(server, model_dir, tmp_path):
    data = tmp_path / "ja_mt_bench"
    categories = ["math", "extraction", "reasoning"]
    write(data / "question_full-v3.jsonl", *({"question_id": n, "category": c, "turns": [f"私は{n}", "彼は"], "reference": ["参一", "参二"]} for n, c in enumerate(categories)))  # fmt: skip
    write(data / "x/judge_ja_prompts.jsonl", *(
        {"name": name, "system_prompt": "", "prompt_template": template}
        for name, template in {
            "single-v1": "{question} {answer}", "single-math-v1": "{question} {ref_answer_1} {answer}",
            "single-v1-multi-turn": "{question_2} {answer_1} {answer_2}", "single-math-v1-multi-turn": "{ref_answer_2} {answer_2}",
        }.items()
    ))  # fmt: skip
    output = tmp_path / "answers.jsonl"
    flags = ["answer", "mt_bench", f"--model={model_dir}", f"--data_dir={data}", f"--output={output}", "--max_new_tokens=6"]  # fmt: skip
    assert "3 answers in" in run(*flags).stdout
    found = read_answers(output)
    assert found.model == "small"
    model = LanguageModel.load(model_dir)
    first = model.chat([{"role": "user", "content": "私は0"}], max_new_tokens=6)
    messages = [("user", "私は0"), ("assistant", first), ("user", "彼は")]
    second = model.chat([{"role": r, "content": c} for r, c in messages], max_new_tokens=6)
    assert found.turns["0"] == (first, second)
    assert first and second
    changed = run(*flags, "--temperature=0.7", code=2)
    assert "error: " in changed.stderr and "made in another way" in changed.stderr
    server.script = lambda body, _: Say(completion("[[4]]" if "参二" in str(body) else "[[8]]"))
    run("ask", "mt_bench", f"--data_dir={data}", f"--answers={output}", f"--output_dir={tmp_path}", f"--base_url={server.url}")  # fmt: skip
    result = json.loads((tmp_path / "judges/mt_bench.json").read_text())
    assert result["scores"] == {"average": 40 / 6, "turn_1": 8, "turn_2": 16 / 3}
    assert result["categories"] == {"extraction": 8, "math": 6, "reasoning": 6}
    assert result["provenance"]["template"] == "v1.1"


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["ask", "vicunna"], "did you mean 'vicuna'"),
        (["ask", "mt_bench", "--mode=pairwise"], "has no mode pairwise; leave --mode out"),
        (["ask", "vicuna", "--mode=single", "--baseline=x"], "leave --baseline out"),
        (["ask", "vicuna", "--data_dir=nowhere"], "run python tools/download.py ja_vicuna_qa, or name the file by --questions"),
        (["ask", "vicuna"], "no endpoint is given"),
        (["ask", "vicuna", "--base_url=x"], "must be like https://host/v1"),
        (["ask", "vicuna", "--base_url=http://x/v1", "--concurrency=0"], "concurrency = 0 must be at least 1"),
        (["ask", "vicuna", "--answers=nothing.jsonl"], "nothing.jsonl cannot be read"),
        (["score", "vicuna", "--replies=nothing.jsonl"], "nothing.jsonl cannot be read"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(vicuna, answers, tmp_path, flags, sentence):
    command, benchmark, *others = flags
    given = [f"--data_dir={vicuna}", f"--answers={answers}", f"--output_dir={tmp_path / 'o'}"]
    assert sentence in run(command, benchmark, *given, *others, code=2).stderr


def test_questions_without_an_answer_are_named(vicuna, answers, tmp_path):
    answers.write_text("".join(answers.read_text().splitlines(keepends=True)[:2]))
    done = run("requests", "vicuna", f"--data_dir={vicuna}", f"--answers={answers}", f"--output={tmp_path / 'r'}", code=2)  # fmt: skip
    assert "no whole answer to 1 of 3 questions (71" in done.stderr


@pytest.mark.parametrize("command", [[], ["answer"], ["ask"], ["requests"], ["score"]])
def test_help_answers_at_once(command):
    seconds = []
    for _ in range(3):  # the best of three: the machine may be busy
        start = time.monotonic()
        assert "usage: judge.py" in run(*command, "--help").stdout
        seconds.append(time.monotonic() - start)
        if seconds[-1] < 1.0:
            break
    assert min(seconds) < 1.0, seconds


def test_the_published_files_are_found_and_make_160_requests(shared_data, tmp_path):
    raw = shared_data / "evaluation/raw/ja_vicuna_qa"
    baseline = raw / "model_answer/openai--text-davinci-003/results.jsonl"
    copied = tmp_path / "a.jsonl"
    copied.write_text(baseline.read_text().replace("openai--text-davinci-003", "mine"))
    done = run("requests", "vicuna", f"--data_dir={raw}", f"--answers={copied}", f"--output={tmp_path / 'r.jsonl'}")  # fmt: skip
    assert "160 requests to gpt-4" in done.stdout
