"""The tasks under SeqIO's own Evaluator: the same prompts and scores. Imports TensorFlow."""

import json

import numpy as np
import pytest

from llmjp_jax import LanguageModel
from llmjp_jax.evaluation import evaluate
from llmjp_jax.evaluation.registration import register_tasks
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
