import random

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.safety.jbbq import parse_question
from llmjp_jax.safety.jbbq_split import select_questions, split_templates
from tests.safety.records import bbq_set


def questions(templates, category="Age"):
    return [parse_question(record, "here") for record in bbq_set(templates, category)]


def test_templates_are_split_as_python_s_random_shuffles_them_with_seed_42():
    order = [str(number) for number in range(1, 73)]
    shuffled = list(order)
    random.Random(42).shuffle(shuffled)
    parts = split_templates("Age", order)
    assert [len(part) for part in parts.values()] == [14, 28, 28]
    assert parts["dev"][0] == "14"
    # Only template 14 and the one whose place it took may stand elsewhere than the shuffle put them.
    together = [*parts["train"], *parts["dev"], *parts["test"]]
    assert sorted(together) == sorted(shuffled[:70])
    expected = [set(shuffled[:14]), set(shuffled[14:42]), set(shuffled[42:70])]
    for part, whole in zip(parts.values(), expected, strict=True):
        assert len(set(part) ^ whole) <= 2


def test_sexual_orientation_has_its_own_counts():
    parts = split_templates("Sexual_orientation", [str(number) for number in range(1, 29)])
    assert [len(part) for part in parts.values()] == [3, 3, 10]


@pytest.mark.parametrize("split", ["dev", "test", "all"])
def test_no_shot_is_of_a_template_that_is_asked(split):
    chosen, shots = select_questions(questions(20), split, 4, None)
    assert len(shots["Age"]) == 4
    assert not {shot.template for shot in shots["Age"]} & {each.template for each in chosen}


def test_four_shots_are_the_questions_0_3_9_and_10_of_train_and_two_are_0_and_9():
    every = questions(20)
    train = split_templates("Age", list(dict.fromkeys(q.template for q in every)))["train"]
    first = [[q for q in every if q.template == template][:8] for template in train]
    flat = [question for part in first for question in part]
    assert select_questions(every, "test", 4, None)[1]["Age"] == tuple(
        flat[i] for i in (0, 3, 9, 10)
    )
    assert select_questions(every, "test", 2, None)[1]["Age"] == tuple(flat[i] for i in (0, 9))
    assert select_questions(every, "test", 3, None)[1]["Age"] == tuple(flat[:3])


def test_all_questions_are_asked_without_shots():
    every = questions(6)
    chosen, shots = select_questions(every, "all", 0, None)
    assert (chosen, shots) == (every, {})


def test_samples_are_counted_by_category():
    every = questions(10) + questions(10, "Gender_identity")
    chosen, _ = select_questions(every, "test", 0, 5)
    assert [question.category for question in chosen] == ["Age"] * 5 + ["Gender_identity"] * 5


def test_of_each_template_of_a_part_the_first_eight_questions_are_asked():
    chosen, _ = select_questions(questions(10), "test", 0, None)
    assert len(chosen) == 4 * 8


def test_too_few_templates_and_unknown_splits_are_errors():
    with pytest.raises(UserError, match="too few"):
        select_questions(questions(1), "test", 0, None)
    with pytest.raises(UserError, match="too few"):
        select_questions(questions(5), "all", 99, None)
    with pytest.raises(UserError, match="all, dev, test"):
        select_questions(questions(5), "train", 0, None)
