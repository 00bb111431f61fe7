"""Raw files that are wrong: each is named with its file and line, and what would be right."""

import json
import re

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation import MissingRawData, prepare_task
from llmjp_jax.evaluation.tasks import find_task
from tests.evaluation.test_preparation_formats import alt, chabsa, jcola, kyoto, mmlu, write


def fails(name, raw, said):
    with pytest.raises(UserError) as error:
        prepare_task(find_task(name), raw)
    assert re.search(said, str(error.value)), str(error.value)
    assert not isinstance(error.value, MissingRawData)


def jnli(folder, *records, count=10):
    good = {"sentence1": "甲", "sentence2": "乙", "label": "neutral"}
    for name in ("train", "valid"):
        lines = [json.dumps(good, ensure_ascii=False)] * count
        if name == "train":
            lines[1:1] = records
        write(folder / f"jnli/{name}-v1.1.json", "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "line, said",
    [
        ('{"sentence1": "甲", "label": "neutral"}', "no field sentence2 where a text"),
        ('{"sentence1": "甲", "sentence2": 3, "label": "neutral"}', "sentence2 = 3 where a text"),
        ('{"sentence1": "甲", "sentence2": "乙", "label": "maybe"}', "label = 'maybe' must be one of entailment"),
        ('{"sentence1": "甲", "sentence', "is no JSON"),
        ('["甲", "乙"]', "is no JSON object"),
    ],
)  # fmt: skip
def test_a_json_line_that_is_wrong_is_named(tmp_path, line, said):
    jnli(tmp_path, line)
    fails("jnli", tmp_path, f"jnli/train-v1.1.json, line 2.*{said}")


def test_another_encoding_is_named_with_the_line_of_its_first_byte(tmp_path):
    jnli(tmp_path)
    path = tmp_path / "jnli/valid-v1.1.json"
    lines = path.read_bytes().splitlines()
    lines[3] = '{"sentence1": "甲"}'.encode("shift_jis")
    path.write_bytes(b"\n".join(lines))
    fails("jnli", tmp_path, "valid-v1.1.json, line 4 is not UTF-8")


def test_a_missing_second_file_is_named(tmp_path):
    jnli(tmp_path)
    (tmp_path / "jnli/train-v1.1.json").unlink()
    fails("jnli", tmp_path, "there is no raw file .*jnli/train-v1.1.json")


def test_too_few_samples_for_a_dev_are_no_empty_dev(tmp_path):
    jnli(tmp_path, count=0)
    write(tmp_path / "jnli/valid-v1.1.json", '{"sentence1": "甲", "sentence2": "乙", "label": "neutral"}')  # fmt: skip
    fails("jnli", tmp_path, "leaves no sample for train")


@pytest.mark.parametrize(
    "line, said",
    [
        ("3\t甲\t乙", "has 3 columns where 5 are wanted"),
        ("3\t甲\t乙\tneutral\tx\ttrain", "label = 'neutral' must be one of entailment, non-entail"),
        ("3\t甲\t乙\tentailment\tx\tdev", "split = 'dev' must be one of train, test"),
    ],
)
def test_a_row_of_a_table_that_is_wrong_is_named(tmp_path, line, said):
    good = "1\t甲\t乙\tentailment\tx\ttrain"
    write(tmp_path / "janli/janli.tsv", f"header\n{good}\n{line}\n")
    fails("janli", tmp_path, f"janli.tsv, line 3.*{said}")


def test_an_empty_table_is_named(tmp_path):
    write(tmp_path / "janli/janli.tsv", "")
    fails("janli", tmp_path, "janli.tsv is empty")


NIILC = """<?xml version="1.0" encoding="UTF-8"?>
<questions>
<question id="1"><text>誰？</text><answers><answer>私</answer></answers></question>
{}
</questions>"""


@pytest.mark.parametrize(
    "question, said",
    [
        ("<question><text>誰？</text><answers></answers></question>", "line 4.*no answer"),
        ("<question><text> </text><answers><answer>x</answer></answers></question>", "line 4.*no text"),
        ("<question><text>誰？</text></question>", "line 4.*0 elements <answers>"),
        ("<question><text>誰？</question>", "line 4 is no XML"),
        ("<question>&gone;</question>", "line 4 is no XML"),
    ],
)  # fmt: skip
def test_an_xml_element_that_is_wrong_is_named(tmp_path, question, said):
    write(tmp_path / "niilc/NIILC-ECQA2015_dev.xml", NIILC.format(question))
    fails("niilc", tmp_path, f"NIILC-ECQA2015_dev.xml, {said}")


def test_an_entity_is_refused_and_nothing_outside_is_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    declared = f'<!DOCTYPE questions [\n<!ENTITY x SYSTEM "{secret}">]>'
    text = NIILC.format("<question><text>&x;</text></question>")
    write(tmp_path / "niilc/NIILC-ECQA2015_dev.xml", text.replace("\n", f"\n{declared}\n", 1))
    fails("niilc", tmp_path, "line 3 declares the entity x")


def jsem(folder, problem):
    from llmjp_jax.evaluation.preparation.inference import _JSEM_FILES

    good = '<problem answer="yes"><p idx="1"><script>甲</script></p><h><script>乙</script></h></problem>'  # fmt: skip
    for name in _JSEM_FILES:
        content = good * 3 + ("\n" + problem if name == "NP" else "")
        write(folder / f"jsem/{name}.xml", f"<jsem-dataset>{content}</jsem-dataset>")


@pytest.mark.parametrize(
    "problem, said",
    [
        ('<problem answer="perhaps"/>', "answer = 'perhaps'"),
        ('<problem answer="yes"><h><script>乙</script></h></problem>', "no premise"),
        ('<problem answer="yes"><p><script>甲</script></p></problem>', "0 elements <h>"),
        ('<problem answer="no"><p><script> </script></p><h><script>乙</script></h></problem>', "<script> is empty"),
    ],
)  # fmt: skip
def test_a_jsem_problem_that_is_wrong_is_named(tmp_path, problem, said):
    jsem(tmp_path, problem)
    fails("jsem", tmp_path, f"NP.xml, line 2.*{said}")


def test_a_jsem_problem_that_is_judged_odd_is_left_out(tmp_path):
    jsem(tmp_path, '<problem answer="infelicitous"/>')
    files = prepare_task(find_task("jsem"), tmp_path)
    assert sum(len(file.samples) for file in files.values()) == 3 * 22


def test_records_of_a_json_list_are_named_by_their_number(tmp_path):
    write(tmp_path / "jemhopqa/train.json", json.dumps([{"question": "?", "answer": "a"}, {"question": "?"}]))  # fmt: skip
    fails("jemhopqa", tmp_path, "train.json, record 1 has no field answer")
    write(tmp_path / "jemhopqa/train.json", '[\n{"question": "?",\n')
    fails("jemhopqa", tmp_path, "train.json, line 3 is no JSON")
    write(tmp_path / "jemhopqa/train.json", "{}")
    fails("jemhopqa", tmp_path, "train.json, line 1: the whole file must be a JSON list")


@pytest.mark.parametrize(
    "record, said",
    [
        ({"shot_example": "問題：1+1？答えは2です。"}, "no line 解答："),
        ({"shot_example": "問題：1+1？\n解答：2です。"}, "no 答えは … です。"),
        ({"shot_example": "問題：1+1？\n解答：答えは2"}, "no 答えは … です。"),
    ],
)
def test_a_worked_example_of_mawps_that_is_wrong_is_named(tmp_path, record, said):
    write(tmp_path / "mawps/zero_shot_example.json", json.dumps([record]))
    fails("mawps", tmp_path, f"zero_shot_example.json, record 0.*{said}")


@pytest.mark.parametrize(
    "name, label, said",
    [("jcommonsenseqa", 5, "label = 5 must be one of 0"), ("jsts", 5.5, "label = 5.5 must be between"),
     ("jsts", True, "label = True where a number or whole number"), ("jsts", "2.0", "label = '2.0' where a number")],
)  # fmt: skip
def test_a_label_out_of_range_is_named(tmp_path, name, label, said):
    choices = {f"choice{i}": "x" for i in range(5)}
    record = {"question": "?", "sentence1": "a", "sentence2": "b", "label": label, **choices}
    for split in ("train", "valid"):
        write(tmp_path / f"jglue/{name}/{split}-v1.1.json", json.dumps(record))
    fails(name, tmp_path, f"train-v1.1.json, line 1.*{said}")


def test_a_question_of_jsquad_without_answer_is_named(tmp_path):
    article = {"title": "題", "paragraphs": [{"context": "文", "qas": [{"id": "q7", "question": "?", "answers": []}]}]}  # fmt: skip
    for split in ("train", "valid"):
        write(tmp_path / f"jsquad/{split}-v1.1.json", json.dumps({"data": [article]}))
    fails("jsquad", tmp_path, "article '題', question 'q7' has no answer")


def test_an_answer_that_is_no_letter_and_a_row_too_short_are_named(tmp_path):
    mmlu(tmp_path / "mmlu/data", {"abstract_algebra": 2})
    path = tmp_path / "mmlu/data/val/abstract_algebra_val.csv"
    for row, said in (("q,1,2,3,4,E", "answer = 'E'"), ("q,1,2,3,4", "has 5 columns where 6")):
        path.write_text(f'"two\nlines",1,2,3,4,A\n{row}\n')
        fails("mmluen", tmp_path, f"abstract_algebra_val.csv, line 3.*{said}")


def test_a_subject_of_jmmlu_that_is_missing_is_named(tmp_path):
    write(tmp_path / "jmmlu/econometrics.csv", "q,1,2,3,4,A\nr,1,2,3,4,B\n")
    fails("jmmlu", tmp_path, "there is no raw file .*human_aging.csv")


def test_an_unknown_polarity_is_named_with_its_sentence(tmp_path):
    chabsa(tmp_path / "chabsa/chABSA-dataset", count=3)
    path = tmp_path / "chabsa/chABSA-dataset/e00001_ann.json"
    path.write_text(path.read_text().replace("positive", "POSITIVE"))
    fails("chabsa", tmp_path, "e00001_ann.json, sentence 1: polarity = 'POSITIVE'")


@pytest.mark.parametrize(
    "file, line, said",
    [("data_ja.txt", "SNT.7\t文", "'SNT.7' must be SNT.<article>.<sentence>"), ("URL-dev.txt", "4\thttp://x", "'4' must be URL")],
)  # fmt: skip
def test_a_line_of_alt_that_is_wrong_is_named(tmp_path, file, line, said):
    alt(tmp_path / "alt", ".")
    path = tmp_path / "alt" / file
    path.write_text(f"{line}\n" + path.read_text())
    fails("alt-j-to-e", tmp_path, f"{file}, line 1: {said}")


def test_alt_without_its_sentences_says_what_to_unpack(tmp_path):
    alt(tmp_path / "alt", "elsewhere")
    (tmp_path / "alt/elsewhere/data_en.txt").unlink()
    fails("alt-j-to-e", tmp_path, "0 folders with data_en.txt.*unpack")


def test_a_document_of_wikicorpus_that_is_broken_is_named(tmp_path):
    kyoto(tmp_path / "wikicorpus", 3)
    path = tmp_path / "wikicorpus/BDS/BDS00001.xml"
    path.write_text(path.read_text().replace("</par>\n<sec", "<sec", 1))
    fails("wikicorpus-j-to-e", tmp_path, r"BDS00001.xml, line \d+ is no XML")


def test_a_label_of_jcola_that_is_unknown_is_named(tmp_path):
    jcola(tmp_path / "jcola")
    path = tmp_path / "jcola/in_domain_train-v1.0.json"
    path.write_text(path.read_text().replace('"label": 1', '"label": 2', 1))
    fails("jcola-in-domain", tmp_path, "in_domain_train-v1.0.json, line 2: label = '2'")


def test_another_header_of_commonsensemoralja_is_named(tmp_path):
    for split in ("train", "val", "test"):
        write(tmp_path / f"commonsensemoralja/data_{split}.csv", ",label,sent\n0,1,文\n")
    fails("commonsensemoralja", tmp_path, "data_train.csv, line 1: the header must be")


def test_raw_data_that_is_not_there_names_the_command_that_fetches_it(tmp_path):
    with pytest.raises(MissingRawData, match=r"tools/download.py jglue --output_dir="):
        prepare_task(find_task("jsquad"), tmp_path)
