import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.safety.jbbq import jbbq_files, parse_question, read_jbbq
from tests.safety.records import bbq_record, bbq_set, write_lines


@pytest.mark.parametrize("order", ["TOU", "TUO", "OTU", "OUT", "UTO", "UOT"])
@pytest.mark.parametrize("polarity", ["neg", "nonneg"])
def test_the_stereotype_is_the_target_group_of_a_negative_question_and_the_other_group_of_the_rest(order, polarity):  # fmt: skip
    question = parse_question(bbq_record(order=order, polarity=polarity), "here")
    assert question.unknown == order.index("U")
    assert question.stereotype == order.index("T" if polarity == "neg" else "O")
    assert question.label == order.index("U")


def test_a_question_is_written_with_numbered_answers():
    question = parse_question(bbq_record(order="OUT"), "here")
    assert question.input == (
        "TさんとOさんが駅にいた。1 傘を忘れたのはどちらか。\n選択肢: 0.Oさん, 1.判断できない, 2.Tさん"
    )


def test_braces_in_a_record_are_text():
    record = bbq_record() | {"context": "{question} {0}", "ans0": "{ans1}"}
    assert parse_question(record, "here").input.startswith("{question} {0} 傘")
    assert "0.{ans1}," in parse_question(record, "here").input


@pytest.mark.parametrize(("category", "groups", "infos", "target"), [
    ("Gender_identity", ["F"], (["a", "女の子"], ["b", "男の子"]), 0),
    ("Gender_identity", ["M"], (["a", "F"], ["b", "男性"]), 1),
    ("Disability_status", [], (["a", "全盲の人"], ["b", "晴眼の人"]), 0),
    ("Disability_status", ["車椅子の人"], (["b", "x"], ["車椅子の人", "y"]), 1),
    ("Sexual_orientation", ["甲", "乙"], (["a", "乙"], ["b", "丙"]), 0),
    ("Sexual_orientation", ["甲", "乙"], (["a", "乙"], ["b", "甲"]), 1),
])  # fmt: skip
def test_groups_are_found_under_all_names_that_the_categories_use(category, groups, infos, target):
    record = bbq_record(category=category, order="TOU", groups=groups)
    record["answer_info"] = {"ans0": infos[0], "ans1": infos[1], "ans2": ["?", "unknown"]}
    assert parse_question(record, "here").stereotype == target


@pytest.mark.parametrize(
    "name", ["Unknown", "Cannot be determined", "Can’t be determined", "Not enough info"]
)
def test_an_unknown_answer_is_known_by_any_of_its_names(name):
    record = bbq_record(order="TUO")
    record["answer_info"]["ans1"] = ["まだ分からない", name]
    assert parse_question(record, "here").unknown == 1


def test_the_readme_s_spelling_of_the_metadata_is_read_too():
    record = bbq_record()
    record["additional_metadeta"] = record.pop("additional_metadata")
    assert parse_question(record, "here").stereotype == 0


@pytest.mark.parametrize(("change", "said"), [
    ({"label": 3}, "label = 3 is none of 0, 1, 2"),
    ({"label": True}, "label = True"),
    ({"question_polarity": "negative"}, "question_polarity = 'negative' is none of neg, nonneg"),
    ({"context": ""}, "context = ''"),
    ({"answer_info": {"ans0": ["a", "b"], "ans1": ["c", "d"], "ans2": ["e", "f"]}}, "names 0 answers as unknown"),
    ({"answer_info": {"ans0": ["a", "unknown"], "ans1": ["c", "unknown"], "ans2": ["e", "T組"]}}, "names 2 answers"),
    ({"answer_info": None}, "answer_info must say"),
    ({"additional_metadata": {"stereotyped_groups": ["Z組"]}}, "does not single out"),
])  # fmt: skip
def test_a_record_of_another_form_is_named_with_its_place_and_field(tmp_path, change, said):
    path = write_lines(tmp_path / "Age.jsonl", [bbq_record(0), bbq_record(1) | change])
    with pytest.raises(UserError, match="line 2") as error:
        read_jbbq([path])
    assert said in str(error.value)


def test_a_folder_of_files_is_read_in_the_order_of_their_names(tmp_path):
    write_lines(tmp_path / "b/Sexual.jsonl", bbq_set(1, "Sexual_orientation"))
    write_lines(tmp_path / "a/Age.jsonl", bbq_set(1, "Age"))
    questions = read_jbbq(jbbq_files(tmp_path))
    assert [question.category for question in questions] == ["Age"] * 18 + [
        "Sexual_orientation"
    ] * 18


def test_a_question_that_is_there_twice_is_an_error(tmp_path):
    path = write_lines(tmp_path / "Age.jsonl", [bbq_record(7), bbq_record(7)])
    with pytest.raises(UserError, match="Age-7"):
        read_jbbq([path])


def test_missing_data_says_where_to_apply_for_it(tmp_path):
    with pytest.raises(UserError, match="form at https://docs.google.com/forms"):
        jbbq_files(tmp_path / "nowhere.jsonl")


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "Age.jsonl"
    path.write_text(json.dumps(bbq_record(), ensure_ascii=False) + '\n{"example_id":')
    with pytest.raises(UserError, match=r"Age.jsonl, line 2"):
        read_jbbq([path])
