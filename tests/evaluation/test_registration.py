"""The tasks under SeqIO's own Evaluator: the same prompts and scores. Imports TensorFlow."""

import dataclasses
import json

import numpy as np
import pytest

from llmjp_jax import LanguageModel
from llmjp_jax.errors import UserError
from llmjp_jax.evaluation import evaluate
from llmjp_jax.evaluation.metrics import MetricUnavailable, learned
from llmjp_jax.evaluation.registration import register_tasks
from llmjp_jax.evaluation.task_files import evaluation_path, read_task_file
from llmjp_jax.tokenizer import load_vocabulary
from tests.evaluation.conftest import make_some_right

seqio = pytest.importorskip("seqio")


class PromptConverter(seqio.FeatureConverter):
    """What a t5x user would have: features as they are, padded to their length."""

    TASK_FEATURES = {"inputs": seqio.FeatureConverter.FeatureSpec(dtype="int32"), "targets": seqio.FeatureConverter.FeatureSpec(dtype="int32")}  # fmt: skip
    MODEL_FEATURES = TASK_FEATURES
    PACKING_FEATURE_DTYPES = None

    def _convert_features(self, ds, task_feature_lengths):
        ds = ds.map(lambda example: {name: example[name] for name in self.TASK_FEATURES})
        return seqio.trim_and_pad_dataset(ds, task_feature_lengths)

    def get_model_feature_lengths(self, task_feature_lengths):
        return task_feature_lengths


def test_an_evaluator_of_seqio_gives_the_scores_of_our_own_evaluation(tmp_path, data_dir, model_dir):  # fmt: skip
    given = dict(model_dir=str(model_dir), data_dir=str(data_dir), tasks=("jnli", "toy"), shots=2)
    evaluate(**given, output_dir=str(tmp_path / "first"))
    make_some_right(data_dir, tmp_path / "first")
    found = evaluate(**given, output_dir=str(tmp_path / "out"))
    assert found["tasks"]["jnli"]["metrics"]["exact_match"]["value"] >= 0.6
    model = LanguageModel.load(model_dir)
    assert register_tasks(data_dir, model.vocabulary, ("jnli", "toy"), shots=2) == ["jnli", "toy"]
    for name in ("jnli", "toy"):
        evaluator = seqio.Evaluator(
            name, PromptConverter(pack=False), eval_split="dev", sequence_length={"inputs": 400, "targets": 64}
        )  # fmt: skip

        def predict(dataset):
            """The answers' tokens, eos, and what a model writes on: the Evaluator makes the text itself."""
            answers = []
            for index, example in dataset.as_numpy_iterator():
                ids = np.trim_zeros(example["inputs"], "b").tolist()
                answer = model.vocabulary.encode(model.generate([ids], max_new_tokens=6)[0])
                answers.append(
                    (int(index), answer + [model.vocabulary.eos_id] * (32 - len(answer)))
                )
            return answers

        metrics, _ = evaluator.evaluate(compute_metrics=True, predict_fn=predict)
        scores = metrics.result()[name]
        for metric, values in found["tasks"][name]["metrics"].items():
            assert scores[metric] == pytest.approx(values["value"], abs=1e-9), (name, metric)


def test_tasks_of_translation_have_names_that_seqio_takes_and_metrics_that_need_what_was_asked(data_dir, tiny_vocabulary, monkeypatch):  # fmt: skip
    file = read_task_file(evaluation_path(data_dir, "dev", "toy"))
    file = dataclasses.replace(file, metrics=("bleu_en", "comet_wmt22"))
    for split in ("train", "dev"):
        evaluation_path(data_dir, split, "alt-j-to-e").write_bytes(file.bytes())
    vocabulary = load_vocabulary(tiny_vocabulary)
    (name,) = register_tasks(data_dir, vocabulary, ("alt-j-to-e",), splits=("dev",), shots=1)
    assert name == "alt_j_to_e"
    answer = [*vocabulary.encode("水を"), vocabulary.eos_id]

    def results():
        evaluator = seqio.Evaluator(name, PromptConverter(pack=False), eval_split="dev", sequence_length={"inputs": 400, "targets": 64})  # fmt: skip
        found, _ = evaluator.evaluate(
            compute_metrics=True,
            predict_fn=lambda dataset: [(int(i), answer) for i, _ in dataset.as_numpy_iterator()],
        )
        return found.result()[name]

    asked = []
    monkeypatch.setattr(learned, "comet", lambda inputs, *texts: asked.append(list(inputs)) or (0.5,) * len(inputs))  # fmt: skip
    assert set(results()) == {"bleu_en", "comet_wmt22"}
    assert asked == [[sample.input for sample in file.samples]]

    def missing(*texts):
        raise MetricUnavailable("COMET is not here")

    monkeypatch.setattr(learned, "comet", missing)
    with pytest.warns(UserWarning, match="COMET is not here"):
        assert set(results()) == {"bleu_en"}


def test_a_task_that_runs_code_is_no_task_of_seqio(data_dir, tiny_vocabulary):
    file = read_task_file(evaluation_path(data_dir, "dev", "toy"))
    for split in ("train", "dev"):
        path = evaluation_path(data_dir, split, "mbpp")
        path.write_bytes(dataclasses.replace(file, metrics=("code_exec",)).bytes())
    with pytest.raises(UserError, match="mbpp runs what the model wrote"):
        register_tasks(data_dir, load_vocabulary(tiny_vocabulary), "mbpp", splits=("dev",))


def test_a_task_has_the_prompts_of_the_evaluation_and_all_splits(tmp_path, data_dir, model_dir, tiny_vocabulary):  # fmt: skip
    vocabulary = load_vocabulary(tiny_vocabulary)
    register_tasks(data_dir, vocabulary, "toy", shots=1)
    task = seqio.get_mixture_or_task("toy")
    assert set(task.splits) == {"dev", "test"}
    dataset = task.get_dataset({"inputs": 400, "targets": 64}, split="test", shuffle=False)
    examples = list(dataset.as_numpy_iterator())
    evaluate(model_dir=str(model_dir), data_dir=str(data_dir), output_dir=str(tmp_path / "out"), tasks="toy", shots=1,
             split="test")  # fmt: skip
    items = json.loads((tmp_path / "out/tasks/toy.json").read_text())["items"]
    assert len(examples) == len(items) == 7
    for example, item in zip(examples, items, strict=True):
        assert example["inputs"].tolist() == vocabulary.encode(item["prompt"])
        assert example["targets"].tolist()[-1] == vocabulary.eos_id
    assert task.postprocess_fn(" ＮＨＫ\n\n### 入力", example=None, is_target=False) == "NHK"
