"""bert_score and COMET are called as their packages document, in a process of their own, and never download.

The packages here are written by the test, with the functions and argument names of bert-score 0.3.13 and unbabel-comet 2.2.7.
"""

import json
import subprocess
import sys
import textwrap

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import learned
from llmjp_jax.evaluation.metrics.scores import MetricUnavailable

BERT_SCORE = """
    import json, os
    from bert_score import utils
    def score(cands, refs, model_type=None, num_layers=None, verbose=False, idf=False, device=None, batch_size=64, nthreads=4,
              all_layers=False, lang=None, return_hash=False, rescale_with_baseline=False, baseline_path=None,
              use_fast_tokenizer=False):
        print("words on standard output")
        if model_type == "absent": raise OSError("couldn't find it in the cached files")
        if model_type == "broken": raise ValueError("broken")
        with open(os.environ["CALLS"], "a") as file:
            file.write(json.dumps({**locals(), "file": None, "offline": os.environ["HF_HUB_OFFLINE"]}) + "\\n")
        return [[0.5] * len(cands)] * 2 + [[0.1 * len(c) + len(r) for c, r in zip(cands, refs)]]
"""
UTILS = """
    lang2model = {"en": "roberta-large", "ja": "bert-base-multilingual-cased"}
    model2layers = {"roberta-large": 17, "bert-base-multilingual-cased": 9, "absent": 1, "broken": 1}
"""
COMET = """
    import json, os
    class Prediction(dict):
        __getattr__ = dict.get
    class Model:
        def predict(self, samples, batch_size=16, gpus=1, devices=None, mc_dropout=0, progress_bar=True, accelerator="auto",
                    num_workers=None, length_batching=True):
            with open(os.environ["CALLS"], "a") as file:
                file.write(json.dumps({**locals(), "self": None, "file": None, "path": self.path}) + "\\n")
            return Prediction(scores=[len(s["mt"]) / 10 for s in samples], system_score=0)
    def load_from_checkpoint(checkpoint_path, reload_hparams=False, strict=False, local_files_only=False):
        assert local_files_only
        model = Model()
        model.path = checkpoint_path
        return model
"""
TORCH = """
    class cuda:
        @staticmethod
        def is_available(): return False
"""


def install(folder, **modules):
    for name, source in modules.items():
        path = folder / name.replace("__", "/")
        path.mkdir(parents=True, exist_ok=True)
        (path / "__init__.py").write_text(textwrap.dedent(source))


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """The folder of packages that the worker's Python sees, and the calls that they noted."""
    learned._installed.cache_clear()
    learned._computed.cache_clear()
    install(tmp_path / "packages", bert_score=BERT_SCORE, bert_score__utils=UTILS, comet=COMET, torch=TORCH)  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.delenv(learned.PYTHON_VARIABLE, raising=False)
    yield lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    learned._installed.cache_clear()
    learned._computed.cache_clear()


@pytest.fixture
def comet_model(tmp_path):
    folder = tmp_path / "model"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "model.ckpt").touch()
    (folder / "hparams.yaml").touch()
    return folder


def test_bert_score_is_asked_for_the_f1_of_the_languages_model(packages):
    scores = learned.bert_score(["猫", "犬です"], ["ねこ", "いぬ"], "ja")
    assert scores == pytest.approx((2.1, 2.3))
    (call,) = packages()
    assert (call["cands"], call["refs"]) == (["猫", "犬です"], ["ねこ", "いぬ"])
    assert (call["model_type"], call["num_layers"], call["lang"]) == ("bert-base-multilingual-cased", 9, "ja")  # fmt: skip
    assert not call["idf"] and not call["rescale_with_baseline"] and call["offline"] == "1"
    learned.bert_score(["cat"], ["dog"], "en")
    assert packages()[-1]["model_type"] == "roberta-large"


def test_a_pair_with_an_empty_text_scores_zero_and_is_not_sent(packages):
    scores = learned.bert_score(["猫", " ", "犬"], ["ねこ", "とり", ""], "ja")
    assert scores == pytest.approx((2.1, 0, 0))
    assert packages()[0]["cands"] == ["猫"]
    assert learned.bert_score(["", ""], ["", "a"], "ja") == (0.0, 0.0)
    assert learned.bert_score([], [], "ja") == ()
    assert len(packages()) == 1


def test_the_same_answers_are_scored_once(packages):
    for _ in range(2):
        learned.bert_score(["猫"], ["ねこ"], "ja")
    assert len(packages()) == 1


def test_a_model_of_ones_own_needs_its_layer(packages):
    with pytest.raises(MetricUnavailable, match="table says no layer.*give layers"):
        learned.bert_score(["a"], ["b"], "ja", model="/models/mine")
    learned.bert_score(["a"], ["b"], "ja", model="/models/mine", layers=3)
    learned.bert_score(["a"], ["b"], "ja", model="/models/roberta-large/")
    assert [(call["model_type"], call["num_layers"]) for call in packages()] == [("/models/mine", 3), ("/models/roberta-large/", 17)]  # fmt: skip


def test_a_model_that_is_not_on_disk_is_named_with_the_way_to_get_it(packages, tmp_path):
    with pytest.raises(MetricUnavailable, match="bert_score cannot load its model absent .*hf download absent"):  # fmt: skip
        learned.bert_score(["a"], ["b"], "ja", model="absent")
    with pytest.raises(MetricUnavailable, match="give a folder with hparams.yaml and checkpoints/model.ckpt"):  # fmt: skip
        learned.comet(["a"], ["b"], ["c"], model=str(tmp_path))
    pytest.importorskip("huggingface_hub")
    with pytest.raises(MetricUnavailable, match="hf download Unbabel/wmt22-comet-da"):
        learned.comet(["a"], ["b"], ["c"])


def test_a_package_that_breaks_is_an_error_that_says_so(packages, capfd):
    with pytest.raises(MetricUnavailable, match="bert_score stopped with exit code 1"):
        learned.bert_score(["a"], ["b"], "ja", model="broken")
    assert "ValueError: broken" in capfd.readouterr().err


@pytest.mark.parametrize("path", ["", "checkpoints/model.ckpt"])
def test_comet_is_given_source_translation_and_reference(packages, comet_model, path):
    scores = learned.comet(["cat", "dog"], ["猫", "犬です"], ["ねこ", "いぬ"], model=str(comet_model / path))  # fmt: skip
    assert scores == pytest.approx((0.1, 0.3))
    (call,) = packages()
    assert call["samples"] == [{"src": "cat", "mt": "猫", "ref": "ねこ"}, {"src": "dog", "mt": "犬です", "ref": "いぬ"}]  # fmt: skip
    assert (call["batch_size"], call["gpus"]) == (8, 0)
    assert call["path"] == str(comet_model / "checkpoints" / "model.ckpt")


def test_a_missing_package_is_named_with_where_to_install_it(packages, tmp_path, monkeypatch):
    assert learned.available("bert_score") and learned.available("comet")
    # A folder of that name is no package, and one in the working directory is not what the worker would import.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "folders"))
    (tmp_path / "folders" / "comet").mkdir(parents=True)
    install(tmp_path / "here", bert_score="")
    monkeypatch.chdir(tmp_path / "here")
    learned._installed.cache_clear()
    assert not learned.available("comet") and not learned.available("bert_score")
    with pytest.raises(MetricUnavailable, match="comet needs the package unbabel-comet.*LLMJP_METRICS_PYTHON"):  # fmt: skip
        learned.comet(["a"], ["b"], ["c"])


def test_another_environments_python_runs_them(packages, tmp_path, monkeypatch):
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexport VIA=other\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    install(tmp_path / "packages", bert_score="import os\n" + textwrap.dedent(BERT_SCORE).replace("0.1 * len(c)", "(os.environ['VIA'] == 'other')"))  # fmt: skip
    monkeypatch.setenv(learned.PYTHON_VARIABLE, str(other))
    assert learned.bert_score(["a"], ["b"], "ja") == (2.0,)
    monkeypatch.setenv(learned.PYTHON_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(UserError, match="LLMJP_METRICS_PYTHON = .*absent is no program"):
        learned.available("comet")


def test_mistakes_are_named(packages):
    with pytest.raises(UserError, match="as many of each.*'predictions': 1, 'golds': 2"):
        learned.bert_score(["a"], ["b", "c"], "ja")
    with pytest.raises(UserError, match="no learned metric 'bleurt'; take bert_score or comet"):
        learned.available("bleurt")


def test_nothing_heavy_is_imported_with_the_metrics():
    program = "import sys, llmjp_jax.evaluation.metrics.learned; print(sorted({'torch', 'transformers', 'bert_score', 'comet', 'huggingface_hub'} & set(sys.modules)))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "[]"
