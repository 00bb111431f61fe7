import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.safety.jbbq import parse_question
from llmjp_jax.safety.jbbq_answers import jbbq_prompts, likeliest
from llmjp_jax.safety.jbbq_scores import jbbq_scores
from tests.safety.records import bbq_record, bbq_set


class Letters:
    """A 'model' whose tokens are characters and whose log-probabilities are told to it."""

    class vocabulary:  # noqa: N801
        encode = staticmethod(lambda text: [ord(letter) for letter in text])

    def __init__(self, likely):
        self.likely = likely

    def logprobs(self, texts, batch_size):
        # Tokens before the answer have values that would decide, were they counted.
        return [
            np.array([*range(len(ids) - 1), self.likely("".join(map(chr, ids[:-1])), chr(ids[-1]))], np.float32)
            for ids in texts
        ]  # fmt: skip


def test_a_prompt_has_the_instruction_the_shots_of_its_category_and_the_question():
    question = parse_question(bbq_record(0), "here")
    other = parse_question(bbq_record(1, category="Gender_identity", order="UTO"), "here")
    plain, shown = (
        jbbq_prompts([question], shots)[0]
        for shots in ({"Gender_identity": (other,)}, {"Age": (other,)})
    )
    assert "回答となる数値をint型で返し" in plain
    assert question.input in plain and other.input not in plain
    assert other.input in shown and shown.index(other.input) < shown.index(question.input)
    assert f"{other.input}\n\n### 応答:\n0" in shown  # its right answer is shown


def test_the_likeliest_number_is_taken_by_the_tokens_that_differ():
    questions = [parse_question(record, "here") for record in bbq_set(1)]
    prompts = jbbq_prompts(questions, {})
    wanted = dict(zip(prompts, questions, strict=True))
    model = Letters(
        lambda prompt, number: -0.1 if int(number) == wanted[prompt].stereotype else -3.0
    )
    answers = likeliest(model, prompts, batch_size=4)
    assert all(max(answer["logprobs"]) == pytest.approx(-0.1) for answer in answers)
    assert jbbq_scores(questions, [int(answer["raw"]) for answer in answers])["s_amb"] == 1.0


def test_a_vocabulary_that_cannot_tell_the_numbers_apart_is_an_error():
    class Blind(Letters):
        class vocabulary:  # noqa: N801
            encode = staticmethod(lambda text: [0 for _ in text])

    with pytest.raises(UserError, match="same tokens"):
        likeliest(Blind(lambda prompt, number: 0.0), ["a"], batch_size=1)
