"""tools/safety.py from end to end, with a tiny model, a judge on this machine and records made here."""

import http.server
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import llmjp_jax.language_model
from tests.safety.records import (
    bbq_set,
    careful_records,
    marked_texts,
    toxicity_record,
    write_lines,
)
from tools import safety

TOOL = Path(safety.__file__)


def run(*arguments, capsys=None):
    safety.main([str(argument) for argument in arguments])


def fails(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as exit:
        run(*arguments)
    assert exit.value.code == 2
    return capsys.readouterr().err


def result(path) -> dict:
    found = json.loads(Path(path).read_text())
    assert {"kind", "provenance", "scores", "categories", "counts", "items"} <= set(found)
    for name in ("model", "step", "data_version", "split", "shots", "samples", "template", "template_sha256", "judge", "commit", "date"):  # fmt: skip
        assert name in found["provenance"]
    assert all(isinstance(value, (int, float)) for value in found["scores"].values())
    return found


@pytest.fixture
def judge(monkeypatch):
    """An endpoint that scores an answer by its question's number, and has no words for number 3."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body)
            number = int(re.search(r"\[質問\]\n質問(\d+)", body["messages"][1]["content"]).group(1))
            text = "分かりません" if number == 3 else f"評価：[[{number + 1}]]"
            content = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    yield f"http://127.0.0.1:{server.server_port}/v1", seen
    server.shutdown()


def test_help_answers_at_once():
    begin = time.monotonic()
    shown = subprocess.run([sys.executable, TOOL, "--help"], capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert "answer_carefully answer" in shown
    assert time.monotonic() - begin < 5  # a second on a machine that does nothing else


def test_answer_carefully_from_answers_to_scores(tmp_path, tiny_model_dir, judge, capsys, monkeypatch):  # fmt: skip
    data, out = write_lines(tmp_path / "test.jsonl", careful_records(5)), tmp_path / "out"
    given = ("--data", data, "--output_dir", out)
    said = fails(capsys, "answer_carefully", "answer", *given, "--model", tiny_model_dir)
    assert "give --template" in said
    run("answer_carefully", "answer", *given, "--model", tiny_model_dir, "--template", "v1.1",
        "--max_new_tokens", 4, "--batch_size", 5)  # fmt: skip
    url, seen = judge
    run("answer_carefully", "ask", *given, "--judge", "j", "--base_url", url)
    found = result(out / "safety" / "answer_carefully.json")
    assert found["scores"] == {"mean_score": 2.75, "violation_rate": 0.5, "acceptable_rate": 0.25}
    assert found["categories"] == {"種別0": pytest.approx(1 / 3), "種別1": 1.0}
    assert found["counts"] == {"items": 5, "errors": 0, "unparsed": 1, "judged": 4}
    assert found["provenance"]["model"] == str(tiny_model_dir)
    assert found["provenance"]["judge"] == "j"
    assert found["provenance"]["template"] == "v1.1"
    assert found["items"][0]["raw"] in seen[0]["messages"][1]["content"] or len(seen) == 5
    # Asked again: nothing is sent, and scoring reads what was kept.
    run("answer_carefully", "ask", *given, "--judge", "j", "--base_url", url)
    run("answer_carefully", "score", *given, "--judge", "j")
    assert len(seen) == 5
    assert result(out / "safety" / "answer_carefully.json")["scores"] == found["scores"]
    # Offline: the requests of a batch run, and its replies.
    run("answer_carefully", "requests", *given, "--judge", "other")
    requests = [json.loads(line) for line in (out / "safety/answer_carefully_requests.jsonl").read_text().splitlines()]  # fmt: skip
    replies = write_lines(tmp_path / "replies.jsonl", [
        {"custom_id": each["custom_id"], "error": None,
         "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "[[5]]"}}]}}}
        for each in requests
    ])  # fmt: skip
    run("answer_carefully", "score", *given, "--judge", "other", "--replies", replies)
    assert result(out / "safety" / "answer_carefully.json")["scores"]["acceptable_rate"] == 1.0
    assert "no reply to these questions" in fails(
        capsys, "answer_carefully", "score", *given, "--judge", "third", "--replies", replies
    )


def test_people_s_ratings_are_scored(tmp_path):
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("id,a,b,c\n1,1,2,5\n2,4,4,4\n")
    run("answer_carefully", "score", "--output_dir", tmp_path, "--ratings", ratings)
    found = result(tmp_path / "safety" / "answer_carefully_people.json")
    assert found["scores"]["violation_rate"] == 0.5


class Knows:
    """Answers JBBQ's prompts right, and says how often it was asked."""

    def __init__(self):
        self.asked = 0

    def generate(self, prompts, max_new_tokens, batch_size):
        self.asked += len(prompts)
        assert max_new_tokens == 1
        return [self.answer(prompt.rsplit("### 入力:\n", 1)[1]) for prompt in prompts]

    @staticmethod
    def answer(text):
        choices = re.search(r"0\.(.*?), 1\.(.*?), 2\.(.*?)\n", text).groups()
        forgot = re.search(r"([TO])さんは傘を忘れた", text)
        if forgot is None:
            return str(choices.index("判断できない"))
        other = {"T": "O", "O": "T"}[forgot.group(1)]
        return str(choices.index(f"{forgot.group(1) if '忘れたのは' in text else other}さん"))


def test_jbbq_is_asked_once_and_scored(tmp_path, tiny_model_dir, capsys, monkeypatch):
    records = bbq_set(10)
    for record in records:  # the right answer of a nonneg question is who did not forget
        if record["question_polarity"] == "nonneg" and record["context_condition"] == "disambig":
            unknown = next(n for n in range(3) if record[f"ans{n}"] == "判断できない")
            record["label"] = 3 - unknown - record["label"]
    data, model = write_lines(tmp_path / "jbbq/Age.jsonl", records), Knows()
    monkeypatch.setattr(
        llmjp_jax.language_model.LanguageModel, "load", lambda *arguments, **named: model
    )
    given = ("jbbq", "--data", data.parent, "--model", tiny_model_dir, "--output_dir", tmp_path)
    run(*given, "--shots", 2)
    found = result(tmp_path / "safety" / "jbbq.json")
    assert found["scores"]["accuracy"] == 1.0
    assert (found["scores"]["s_dis"], found["scores"]["s_amb"]) == (0.0, 0.0)
    assert found["counts"]["items"] == model.asked == 8 * 18
    assert found["provenance"]["shots"] == 2
    assert found["items"][0]["prompt"].count("### 応答:") == 3
    assert all(item["correct"] and item["choice"] == item["gold"] for item in found["items"])
    run(*given, "--shots", 2)
    assert model.asked == 8 * 18
    assert "another run" in fails(capsys, *given, "--shots", 0)
    assert "generate, logprobs" in fails(capsys, *given, "--method", "guess")


def test_jbbq_s_likeliest_numbers_are_those_of_whole_texts_of_a_real_model(
    tmp_path, tiny_model_dir
):
    data = write_lines(tmp_path / "Age.jsonl", bbq_set(1)[:6])
    run("jbbq", "--data", data, "--model", tiny_model_dir, "--output_dir", tmp_path, "--method", "logprobs",
        "--batch_size", 18)  # fmt: skip
    found = result(tmp_path / "safety" / "jbbq.json")
    assert found["counts"]["errors"] == 0
    model = llmjp_jax.language_model.LanguageModel.load(tiny_model_dir)
    texts = [item["prompt"] + number for item in found["items"] for number in "012"]
    whole = np.array([each.sum() for each in model.logprobs(texts, batch_size=18)]).reshape(6, 3)
    for item, sums in zip(found["items"], whole, strict=True):
        assert np.allclose(np.diff(item["logprobs"]), np.diff(sums), atol=1e-3)
        assert item["raw"] == str(sums.argmax())
        assert np.ptp(sums) > 0.01


def test_a_classifier_is_trained_and_rates_a_corpus_and_a_model_s_outputs(tmp_path, tiny_model_dir, capsys, monkeypatch):  # fmt: skip
    texts = marked_texts(120, length=40)
    data = write_lines(tmp_path / "toxicity_dataset.jsonl", [toxicity_record(each) for each in texts])  # fmt: skip
    run("toxicity", "train", "--data", data, "--output", tmp_path / "classifier")
    shown = capsys.readouterr().out
    assert "toxic, on the test texts:" in shown and "0.950" in shown
    report = json.loads((tmp_path / "classifier" / "report.json").read_text())
    assert report["classes"]["toxic"]["f1"] > 0.9
    fresh = marked_texts(100, length=40, seed=0)[:50] + marked_texts(100, length=40, share=0)[:50]
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"text": each.text} for each in fresh])
    given = ("--classifier", tmp_path / "classifier")
    run("toxicity", "rate", *given, "--texts", corpus, "--output", tmp_path / "rate.json")
    found, share = result(tmp_path / "rate.json"), sum(t.label == "toxic" for t in fresh) / 100
    assert found["scores"]["toxicity_rate"] == pytest.approx(share, abs=0.05)
    assert found["scores"]["toxicity_rate_low"] < share < found["scores"]["toxicity_rate_high"]

    class Writes:
        def generate(self, prompts, **settings):
            assert (settings["temperature"], settings["top_p"], settings["max_new_tokens"]) == (1.0, 0.95, 128)  # fmt: skip
            return [texts[0].text if n % 2 else "" for n, _ in enumerate(prompts)]

    monkeypatch.setattr(llmjp_jax.language_model.LanguageModel, "load", lambda *a, **named: Writes())  # fmt: skip
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"text": f"書き出し{n}"} for n in range(4)])
    run("toxicity", "outputs", *given, "--model", tiny_model_dir, "--prompts", prompts, "--output_dir", tmp_path)  # fmt: skip
    found = result(tmp_path / "safety" / "toxicity.json")
    assert found["counts"] == {"items": 4, "empty": 2, "flagged": 2 * (texts[0].label == "toxic")}
    assert found["items"][1]["prompt"] == "書き出し1"
    assert [item.get("toxic") for item in found["items"]] == [None, texts[0].label == "toxic"] * 2
    run("toxicity", "outputs", *given, "--answers", tmp_path / "safety/toxicity_answers.jsonl", "--output_dir", tmp_path / "again")  # fmt: skip
    assert result(tmp_path / "again/safety/toxicity.json")["scores"] == found["scores"]
    assert "give --answers, or --model and --prompts" in fails(capsys, "toxicity", "outputs", *given, "--output_dir", tmp_path)  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), [
    (("answer_carefully", "answer", "--model", "m"), "fill in the form"), (("jbbq", "--model", "m"), "form at https"),
    (("answer_carefully", "requests", "--judge", "j"), "fill in the form"),
])  # fmt: skip
def test_missing_data_ends_with_where_to_apply_for_it(tmp_path, capsys, arguments, said):
    found = fails(capsys, *arguments, "--data", tmp_path / "nowhere.json", "--output_dir", tmp_path)
    assert found.startswith("error: ") and said in found and found.count("\n") == 1
