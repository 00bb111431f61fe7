"""An evaluation from start to end: files, scores, what is left of a kill, other programs' answers, and mistakes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmjp_jax import LanguageModel
from llmjp_jax.errors import UserError
from llmjp_jax.evaluation import evaluate
from llmjp_jax.evaluation.metrics import score
from llmjp_jax.evaluation.prompts import build_prompt, custom_template
from llmjp_jax.evaluation.results import read_json
from llmjp_jax.evaluation.task_files import TaskFile, evaluation_path, read_task_file
from tests.evaluation.conftest import make_some_right

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path, data_dir, model_dir):
    """`evaluate` with two shots, on jnli and toy, into tmp_path/out."""

    def start(**changes):
        given = dict(model_dir=str(model_dir), data_dir=str(data_dir), output_dir=str(tmp_path / "out"),
                     tasks=("jnli", "toy"), shots=2, samples=None)  # fmt: skip
        return evaluate(**{**given, **changes})

    return start


def written(tmp_path, name):
    return json.loads((tmp_path / "out" / name).read_text())


def test_every_item_has_prompt_raw_answer_parsed_answer_gold_and_scores(run, tmp_path, data_dir, model_dir):  # fmt: skip
    found = run()
    model = LanguageModel.load(model_dir)
    train = read_task_file(evaluation_path(data_dir, "train", "toy")).samples
    dev = read_task_file(evaluation_path(data_dir, "dev", "toy"))
    items = written(tmp_path, "tasks/toy.json")["items"]
    assert [item["input"] for item in items] == [sample.input for sample in dev.samples]
    for item in items:
        assert item["prompt"] == build_prompt(dev.instruction, train[:2], item["input"])
        assert item["raw"] == model.generate(item["prompt"], max_new_tokens=6)[0]
        assert item["scores"] == {"char_f1": score("char_f1", [item["prediction"]], [item["gold"]]).value}  # fmt: skip
    mean = sum(item["scores"]["char_f1"] for item in items) / len(items)
    assert found["tasks"]["toy"]["metrics"]["char_f1"]["value"] == pytest.approx(mean, abs=1e-12)
    assert found == written(tmp_path, "summary.json")


def test_every_number_says_where_it_comes_from(run, tmp_path, model_dir):
    found = run(samples=3, split="test")
    origin = found["provenance"]
    assert (origin["model"], origin["split"], origin["shots"], origin["samples"]) == (str(model_dir), "test", 2, 3)  # fmt: skip
    assert origin["template"] == "llm_jp_eval_1_3" and len(origin["template_sha256"]) == 12
    task = written(tmp_path, "tasks/jnli.json")["provenance"]
    assert task["data_version"] == found["tasks"]["jnli"]["data_version"] and len(task["data_version"]) == 12  # fmt: skip
    assert task["output_length"] == 6
    assert found["categories"] == {"NLI": found["tasks"]["jnli"]["metrics"]["exact_match"]["value"]}


def test_the_result_file_is_llm_jp_evals(run, tmp_path):
    run()
    result = written(tmp_path, "results.json")
    assert list(result) == ["scores", "outputs", "config"]
    assert set(result["scores"]) == {"jnli_exact_match", "toy_char_f1", "toy_chrf"}
    assert all(f"{float(text):.4f}" == text for text in result["scores"].values())
    assert set(result["outputs"]["toy"][0]) == {"prompt", "input", "pred", "gold"}
    assert result["outputs"]["toy"][0]["prompt"].count("{input}") == 1


def test_answers_do_not_depend_on_the_batch(run, tmp_path):
    run(batch_size=1)
    one = written(tmp_path, "tasks/toy.json")["items"]
    run(batch_size=4, output_dir=str(tmp_path / "out2"))
    assert json.loads((tmp_path / "out2/tasks/toy.json").read_text())["items"] == one


def test_a_second_run_asks_for_nothing_and_scores_the_same(run, monkeypatch):
    first = run()
    monkeypatch.setattr(LanguageModel, "generate", lambda *a, **k: pytest.fail("asked again"))
    second = run()
    for found in (first, second):
        found["provenance"].pop("date")
    assert first == second


def test_a_run_that_was_killed_goes_on_and_asks_nothing_twice(tmp_path, data_dir, model_dir):
    out = tmp_path / "out"
    slow = (
        "import sys, time\n"
        "from llmjp_jax import LanguageModel, launch\n"
        "ask = LanguageModel.generate\n"
        "def generate(self, prompts, **keywords):\n"
        "    answers = ask(self, prompts, **keywords)\n"
        "    time.sleep(0.2)\n"
        "    return answers\n"
        "LanguageModel.generate = generate\n"
        "from llmjp_jax.evaluation import asking\n"
        "asking._BATCHES = 1\n"
        "launch.run('llmjp_jax.evaluation.evaluate', description='A test.', example='x', processes=False)\n"
    )
    flags = ["--gin_file=gin_configs/runs/eval.gin", f"--gin.MODEL_DIR={model_dir}", f"--gin.DATA_DIR={data_dir}",
             f"--gin.OUTPUT_DIR={out}", "--gin.TASKS=('jnli', 'toy')", "--gin.SHOTS=1", "--gin.BATCH_SIZE=1"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    answers = out / "answers" / "toy.jsonl"
    process = subprocess.Popen([sys.executable, "-c", slow, *flags], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 120
    while not (answers.exists() and answers.read_bytes().count(b"\n") > 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = answers.read_bytes()
    assert before.count(b"\n") < 6, "the kill came too late to test anything"
    with answers.open("ab") as file:
        file.write(b'{"index": 4, "raw": "half')
    subprocess.run([sys.executable, "-m", "llmjp_jax.eval", *flags], cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL)  # fmt: skip
    assert answers.read_bytes().startswith(before)
    indices = [json.loads(line)["index"] for line in answers.read_text().splitlines()[1:]]
    assert sorted(indices) == [0, 1, 2, 3, 4]
    assert (out / "summary.json").is_file()


def test_answers_of_another_model_or_prompt_are_not_taken(run, tmp_path):
    run()
    with pytest.raises(UserError, match=r"jnli.jsonl holds answers of another run: prompts differ"):
        run(shots=1)
    with pytest.raises(UserError, match=r"output_length differ"):
        run(output_length=3)
    with pytest.raises(UserError, match=r"model differ"):
        run(dtype="bfloat16")


def test_a_broken_line_among_the_answers_is_named(run, tmp_path):
    run()
    path = tmp_path / "out/answers/jnli.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:-5], *lines[3:]]) + "\n")
    with pytest.raises(UserError, match=r"jnli.jsonl line 3 is broken; remove the file"):
        run()


def test_a_half_written_result_is_detected(run, tmp_path):
    run()
    path = tmp_path / "out/summary.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"summary.json is half-written or no JSON"):
        read_json(path, ["kind"])
    path.write_text("{}")
    with pytest.raises(UserError, match=r"summary.json has no kind"):
        read_json(path, ["kind"])


# Other programs


def test_answers_of_hugging_face_score_as_our_own(run, tmp_path, data_dir, model_dir):
    """Prompts written, answered by `transformers`, one by one and left-padded in one batch, and read back."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    run(output_dir=str(tmp_path / "first"))
    make_some_right(data_dir, tmp_path / "first")
    own = run()["tasks"]
    assert 0.6 <= own["jnli"]["metrics"]["exact_match"]["value"] < 1
    prompts, answers = tmp_path / "prompts", tmp_path / "generated"
    assert run(prompts_dir=str(prompts), output_dir=None, model_dir=None) == {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir, padding_side="left")
    model = transformers.AutoModelForCausalLM.from_pretrained(model_dir).eval()
    vocabulary = LanguageModel.load(model_dir).vocabulary
    for size in (1, 16):
        answers.mkdir(exist_ok=True)
        for name in ("jnli", "toy"):
            content = json.loads((prompts / f"{name}.eval-prompt.json").read_text())
            samples = content["samples"]
            for first in range(0, len(samples), size):
                part = samples[first : first + size]
                batch = tokenizer([s["prompt"] for s in part], return_tensors="pt", padding=True, add_special_tokens=False)  # fmt: skip
                with torch.no_grad():
                    out = model.generate(
                        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False,
                        max_new_tokens=content["output_length"], eos_token_id=vocabulary.eos_id, pad_token_id=vocabulary.pad_id,
                    )  # fmt: skip
                texts = tokenizer.batch_decode(out, skip_special_tokens=True)
                for sample, text in zip(part, texts, strict=True):
                    assert text.startswith(sample["prompt"])
                    sample["generated"] = text[len(sample["prompt"]) :]
            (answers / f"{name}.eval-generated.json").write_text(json.dumps(content, ensure_ascii=False, indent=1))  # fmt: skip
        theirs = run(answers_dir=str(answers), output_dir=str(tmp_path / f"out{size}"))["tasks"]
        assert theirs == own


def test_answers_of_other_samples_are_refused(run, tmp_path):
    prompts = tmp_path / "prompts"
    run(prompts_dir=str(prompts))
    content = json.loads((prompts / "jnli.eval-prompt.json").read_text())
    assert content["target_dataset"] == "jnli" and content["output_length"] == 6
    target = prompts / "jnli.eval-generated.json"

    def refused(change, sentence):
        found = json.loads(json.dumps(content))
        for sample in found["samples"]:
            sample["generated"] = "x"
        change(found)
        target.write_text(json.dumps(found))
        with pytest.raises(UserError, match=sentence):
            run(answers_dir=str(prompts), tasks="jnli")

    def other_prompt(found):
        found["samples"][1]["prompt"] += "\n"

    def half_a_character(found):
        found["samples"][3]["generated"] = "\ud83d"

    refused(other_prompt, "sample 1 was asked with another prompt than 2 shots in the template")
    refused(half_a_character, "sample 3 has no text 'generated'")
    refused(lambda f: f["samples"].pop(), "has 4 samples, and 5 are asked of jnli")
    refused(lambda f: f["samples"][2].pop("generated"), "sample 2 has no text 'generated'")
    refused(lambda f: f["samples"].reverse(), "sample 0 is not item 0 of jnli's dev file")
    target.write_text(target.read_text()[:-9])
    with pytest.raises(UserError, match="jnli.eval-generated.json is half-written"):
        run(answers_dir=str(prompts), tasks="jnli")


def test_answers_to_prompts_of_other_shots_are_refused_and_prompts_say_the_length_that_was_asked_for(run, tmp_path):  # fmt: skip
    prompts = tmp_path / "prompts"
    run(prompts_dir=str(prompts), output_length=3)
    content = json.loads((prompts / "jnli.eval-prompt.json").read_text())
    assert content["output_length"] == 3
    for sample in content["samples"]:
        sample["generated"] = "x"
    (prompts / "jnli.eval-generated.json").write_text(json.dumps(content))
    assert run(answers_dir=str(prompts), tasks="jnli")["provenance"]["shots"] == 2
    with pytest.raises(UserError, match="another prompt than 1 shots in the template"):
        run(answers_dir=str(prompts), tasks="jnli", shots=1)
    with pytest.raises(UserError, match="template = 'chat' are a model's own"):
        run(answers_dir=str(prompts), tasks="jnli", template="chat", chat_template="v1.1")


def test_a_gold_answer_stands_in_llm_jp_evals_file_as_llm_jp_eval_has_it(run, tmp_path, data_dir):
    path = evaluation_path(data_dir, "dev", "jnli")
    file = read_task_file(path)
    samples = [dataclasses.replace(file.samples[0], output=" Ａ "), *file.samples[1:]]
    path.write_bytes(dataclasses.replace(file, samples=tuple(samples)).bytes())
    run(tasks="jnli")
    assert written(tmp_path, "tasks/jnli.json")["items"][0]["gold"] == "A"
    assert written(tmp_path, "results.json")["outputs"]["jnli"][0]["gold"] == " A "


def test_a_template_of_ones_own_is_named_and_shown_by_its_hash(run, tmp_path):
    own = custom_template("{instruction}{few_shots_text}\n{input}=", "\n{input}={output}")
    origin = run(template=own)["provenance"]
    assert (origin["template"], origin["template_sha256"]) == ("custom", own.sha256[:12])
    assert written(tmp_path, "tasks/toy.json")["items"][0]["prompt"].endswith("=")
    prompts = tmp_path / "prompts"
    run(template=own, prompts_dir=str(prompts))
    content = json.loads((prompts / "toy.eval-prompt.json").read_text())
    assert content["config"]["template"] == "custom" and content["samples"][0]["prompt"].endswith("=")  # fmt: skip


# Prompts that are too long, and a tuned model's own template


def test_a_prompt_that_is_too_long_is_named_or_loses_shots(run, tmp_path):
    with pytest.raises(UserError, match=r"the prompt of item 0 of toy has \d+ tokens, and the model's longest sequence of 512"):  # fmt: skip
        run(tasks="toy", shots=8, output_length=200)
    run(tasks="toy", shots=8, output_length=200, too_long="fewer_shots")
    items = written(tmp_path, "tasks/toy.json")["items"]
    model = LanguageModel.load(items and written(tmp_path, "summary.json")["provenance"]["model"])
    for item in items:
        shots = item["shortened"]["shots"]
        assert item["prompt"].count("### 応答:") == shots + 1
        assert 1 <= shots < 8 and len(model.vocabulary.encode(item["prompt"])) <= 312
    assert written(tmp_path, "summary.json")["tasks"]["toy"]["shortened"] == len(items)


def test_a_prompt_without_shots_that_is_still_too_long_keeps_its_end(run, tmp_path):
    run(tasks="toy", shots=0, output_length=500, too_long="fewer_shots")
    item = written(tmp_path, "tasks/toy.json")["items"][0]
    assert item["shortened"]["cut_tokens"] > 0 and item["raw"]


def test_a_tuned_model_is_asked_in_its_own_template(run, tmp_path):
    with pytest.raises(UserError, match="does not say by which template it was tuned"):
        run(template="chat")
    found = run(template="chat", chat_template="v1.1")
    assert found["provenance"]["template"] == "v1.1"
    prompt = written(tmp_path, "tasks/toy.json")["items"][0]["prompt"]
    assert prompt.startswith("以下は") and prompt.count("### 応答:") == 3


# Which tasks


def test_tasks_of_all_without_a_file_are_an_error_or_left_out(run, capsys):
    with pytest.raises(UserError, match=r"alt-e-to-j.json is missing; make it with tools/prepare_evaluation.py"):  # fmt: skip
        run(tasks="all")
    found = run(tasks="all", strict=False)
    assert list(found["tasks"]) == ["jnli"] and len(found["left_out"]) == 22
    assert "left out: " in capsys.readouterr().err
    assert list(run(tasks="present")["tasks"]) == ["jnli", "toy"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tasks": "jnlii"}, "did you mean jnli"),
        ({"tasks": None}, "tasks = None must be 'all'"),
        ({"tasks": ["jnli", 1]}, r"tasks = \['jnli', 1\] must be 'all'"),
        ({"template": "llm_jp_eval_1_4"}, "did you mean 'llm_jp_eval_1_3'"),
        ({"split": "validation"}, "split = 'validation' must be one of"),
        ({"shots": 9}, "has 8 samples, and 9 shots are asked for"),
        ({"samples": 0}, "samples = 0 must be None"),
        ({"too_long": "cut"}, "too_long = 'cut' must be one of"),
        ({"data_dir": "nowhere"}, "nowhere has no folder evaluation"),
        ({"output_length": 512}, "leaves|sequence has 512"),
    ],
)
def test_a_mistake_is_one_sentence_before_a_model_is_asked(run, monkeypatch, changes, sentence):
    monkeypatch.setattr(LanguageModel, "generate", lambda *a, **k: pytest.fail("asked"))
    with pytest.raises(UserError, match=sentence):
        run(**changes)


def test_an_output_folder_that_cannot_be_is_named_before_a_model_is_asked(run, monkeypatch, tmp_path):  # fmt: skip
    monkeypatch.setattr(LanguageModel, "load", lambda *a, **k: pytest.fail("loaded"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"output_dir = .*file cannot be made"):
        run(output_dir=str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"prompts_dir = .*file cannot be made"):
        run(prompts_dir=str(tmp_path / "file"))


def test_an_unknown_metric_and_a_missing_gold_are_named(run, data_dir):
    path = evaluation_path(data_dir, "dev", "toy")
    file = read_task_file(path)
    path.write_bytes(TaskFile(file.instruction, 6, ("char_f2",), file.samples).bytes())
    with pytest.raises(UserError, match="did you mean 'char_f1'"):
        run()
    content = json.loads(path.read_text()) | {"metrics": ["char_f1"]}
    del content["samples"][3]["output"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"toy.json, sample 3 has no output, its gold answer"):
        run()


def test_code_is_run_only_where_it_is_allowed(run, data_dir):
    for split in ("train", "dev"):
        path = evaluation_path(data_dir, split, "toy")
        file = read_task_file(path)
        path.write_bytes(TaskFile(file.instruction, 6, ("code_exec",), file.samples).bytes())
    with pytest.raises(UserError, match="toy is scored by running what the model wrote; set run_code"):  # fmt: skip
        run()
    assert run(tasks="toy", run_code=True)["tasks"]["toy"]["metrics"]["code_exec"]["value"] == 0.0


@pytest.mark.parametrize("name", ["runs/eval", "v1.0/eval", "v1.1/eval", "v2.0/eval"])
def test_a_gin_file_gives_evaluate_all_that_it_needs(name):
    from llmjp_jax.gin_arguments import Arguments
    from llmjp_jax.gin_files import GinFiles

    files = GinFiles([str(ROOT)])
    files.read_file(f"gin_configs/{name}.gin")
    built = Arguments("llmjp_jax.evaluation.evaluate", files)
    for macro in ("MODEL_DIR", "DATA_DIR", "OUTPUT_DIR"):
        built.read_flag(f"{macro} = 'x'", f"--gin.{macro}")
    built.check()
    keywords = built.build()
    assert keywords["shots"] == (0 if name == "v1.0/eval" else 4)
    assert keywords["split"] == ("test" if name == "v1.0/eval" else "dev")
