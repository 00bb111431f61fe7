"""Prompts with one right answer each, and how to score answers, as SeqIO Tasks: what SeqIO's Evaluator works on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import seqio

from llmjp_jax.errors import UserError
from llmjp_jax.tasks.registry import add_task
from llmjp_jax.tokenizer import Vocabulary


class AnswerVocabulary(Vocabulary):
    """A vocabulary whose text ends before the first eos, as SeqIO's own classes have it: a model writes on after it."""

    def __init__(self, vocabulary: Vocabulary):
        super().__init__(vocabulary.path, vocabulary.backend, vocabulary._special)

    def decode(self, ids: Iterable[int]) -> str:
        return super().decode(list(itertools.takewhile(lambda id: id != self.eos_id, ids)))


# (targets, predictions) -> {name: score}
MetricFn = Callable[[Sequence[str], Sequence[str]], Mapping[str, float]]


def register_question_task(
    name: str,
    questions: Mapping[str, Sequence[tuple[str, str]]],
    vocabulary: Vocabulary,
    metric_fns: Sequence[MetricFn],
    postprocess_fn: Callable[..., str],
) -> seqio.Task:
    """Registers a Task of features `inputs` (a prompt's tokens) and `targets` (the answer's tokens and eos).

    Registering a name again replaces it, so that a notebook's cell can run twice.

    Args:
      name: letters, digits, `_`, `.`, `:`.
      questions: for each split (prompt, answer) pairs.
      vocabulary: of both features.
      metric_fns: of SeqIO's form, with the parameters `targets` and `predictions`.
      postprocess_fn: (text, **kwargs) -> what is scored; SeqIO gives `is_target=True` for an answer.

    Raises:
      UserError: a split has no questions, the name belongs to a Task registered elsewhere, or SeqIO refuses it.
    """
    for split, pairs in questions.items():
        if not pairs:
            raise UserError(f"split {split} of {name} has no questions; give one or leave it out")

    def dataset(split: str, shuffle_files: bool, seed: int | None = None):
        import tensorflow as tf

        prompts, answers = zip(*questions[split], strict=True)
        return tf.data.Dataset.from_tensor_slices(
            {"inputs": list(prompts), "targets": list(answers), "answer": list(answers)}
        )

    return add_task(
        name,
        source=seqio.FunctionDataSource(
            dataset,
            splits=list(questions),
            num_input_examples={split: len(pairs) for split, pairs in questions.items()},
        ),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={
            "inputs": seqio.Feature(vocabulary=vocabulary, add_eos=False),
            "targets": seqio.Feature(vocabulary=AnswerVocabulary(vocabulary), add_eos=True),
        },
        metric_fns=list(metric_fns),
        postprocess_fn=postprocess_fn,
    )
