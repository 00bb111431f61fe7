"""Questions and similarity: jsquad, jcommonsenseqa, jsts, jemhopqa, niilc and mawps, from raw files to samples.

Sources: llm-jp-eval v1.3.0, datasets/{jsquad,jcommonsenseqa,jsts,jemhopqa,niilc,mawps}.py.
"""

from __future__ import annotations

from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation.raw_files import (
    field,
    json_document,
    json_lines,
)
from llmjp_jax.evaluation.preparation.splitting import Splits, shuffled, with_own_test
from llmjp_jax.evaluation.preparation.xml_elements import read_xml
from llmjp_jax.evaluation.task_files import Sample

_TRAIN, _VALID = "train-v1.1.json", "valid-v1.1.json"
_ANSWER = "\n解答："


def prepare_jsquad(raw: Path) -> Splits:
    """JGLUE's train, and its valid as test; of several answers the first.

    Raises:
      UserError: as `json_document`; a field is missing.
    """
    return with_own_test(_squad(raw / _TRAIN), _squad(raw / _VALID))


def prepare_jcommonsenseqa(raw: Path) -> Splits:
    """JGLUE's train, and its valid as test.

    Raises:
      UserError: as `json_lines`; a field is missing, or a label is not 0 to 4.
    """

    def read(path: Path) -> list[Sample]:
        samples = []
        for place, record in json_lines(path):
            question = field(record, "question", str, place)
            choices = [field(record, f"choice{index}", str, place) for index in range(5)]
            label = field(record, "label", int, place)
            if not 0 <= label < len(choices):
                raise UserError(f"{place}: label = {label} must be one of 0, 1, 2, 3, 4")
            listed = ",".join(f"{index}.{choice}" for index, choice in enumerate(choices))
            samples.append(Sample(f"質問：{question}\n選択肢：{listed}", str(label)))
        return samples

    return with_own_test(read(raw / _TRAIN), read(raw / _VALID))


def prepare_jsts(raw: Path) -> Splits:
    """JGLUE's train, and its valid as test; the answer is the similarity as Python writes the number.

    Raises:
      UserError: as `json_lines`; a field is missing, or a similarity is not in 0 to 5.
    """

    def read(path: Path) -> list[Sample]:
        samples = []
        for place, record in json_lines(path):
            first = field(record, "sentence1", str, place)
            second = field(record, "sentence2", str, place)
            label = field(record, "label", (float, int), place)
            if not 0 <= label <= 5:
                raise UserError(f"{place}: label = {label} must be between 0 and 5")
            samples.append(Sample(f"文1：{first}\n文2：{second}", str(label)))
        return samples

    return with_own_test(read(raw / _TRAIN), read(raw / _VALID))


def prepare_jemhopqa(raw: Path) -> Splits:
    """The corpus's train, and its dev as test.

    Raises:
      UserError: as `json_document`; a field is missing.
    """

    def read(path: Path) -> list[Sample]:
        samples = []
        for index, record in enumerate(json_document(path, list)):
            place = f"{path}, record {index}"
            question = field(record, "question", str, place)
            samples.append(Sample(f"質問：{question}", field(record, "answer", str, place)))
        return samples

    return with_own_test(read(raw / "train.json"), read(raw / "dev.json"))


def prepare_niilc(raw: Path) -> Splits:
    """The corpus's dev as train and dev, and its test. Several answers are joined by commas; a question whose answer is `-` is left out.

    Raises:
      UserError: as `read_xml`; a question has no text or no answer.
    """

    def read(path: Path) -> list[Sample]:
        samples = []
        for question in read_xml(path).all("question"):
            text = question.one("text").text.strip()
            answers = [a.text.strip() for a in question.one("answers").all("answer")]
            answer = ",".join(filter(None, answers))
            if not text or not answer:
                raise UserError(f"{question.place}: the question has no {'answer' if text else 'text'}; give it one")  # fmt: skip
            if answer != "-":
                samples.append(Sample(f"質問：{text}", answer))
        return samples

    return with_own_test(
        read(raw / "NIILC-ECQA2015_dev.xml"), read(raw / "NIILC-ECQA2015_test.xml")
    )


def prepare_mawps(raw: Path) -> Splits:
    """Both lists of worked examples as train, in their order; the test shuffled and halved into dev and test.

    Raises:
      UserError: as `json_document`; a problem has no `解答：`, or an example no `答えは … です。`.
    """
    train = []
    for name in ("zero_shot_example.json", "shot_example.json"):
        for place, record in _records(raw / name):
            text = field(record, "shot_example", str, place)
            question, worked = _at_answer(text, place)
            _, found, rest = worked.partition("答えは")
            answer, end, _ = rest.partition("です。")
            if not (found and end):
                raise UserError(
                    f"{place}: shot_example has no 答えは … です。 to take the answer from"
                )
            train.append(Sample(question, answer))
    pool = []
    for place, record in _records(raw / "test.json"):
        question, _ = _at_answer(field(record, "question", str, place), place)
        pool.append(Sample(question, field(record, "answer", str, place)))
    pool = shuffled(pool)
    half = len(pool) // 2
    return Splits(train, pool[:half], pool[half:])


def _squad(path: Path) -> list[Sample]:
    samples = []
    for article in field(json_document(path, dict), "data", list, f"{path}, the whole file"):
        title = article.get("title") if isinstance(article, dict) else article
        place = f"{path}, article {title!r}"
        for paragraph in field(article, "paragraphs", list, place):
            context = field(paragraph, "context", str, place)
            for question in field(paragraph, "qas", list, place):
                text = field(question, "question", str, place)
                place_of = f"{place}, question {question.get('id')!r}"
                answers = field(question, "answers", list, place_of)
                if not answers:
                    raise UserError(f"{place_of} has no answer; give it one or take it out")
                answer = field(answers[0], "text", str, place_of)
                samples.append(Sample(f"文章：{context}\n質問：{text}", answer))
    return samples


def _records(path: Path):
    for index, record in enumerate(json_document(path, list)):
        yield f"{path}, record {index}", record


def _at_answer(text: str, place: str) -> tuple[str, str]:
    question, found, rest = text.partition(_ANSWER)
    if not found:
        raise UserError(f"{place} has no line 解答： that parts the problem from its answer")
    return question, rest
