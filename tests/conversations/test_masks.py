"""Which tokens carry loss: TRL's own on every reference example, and never a response that looks finished and is not."""

import os

import numpy as np
import pytest

from llmjp_jax.conversations import (
    Conversation,
    Encoded,
    Pair,
    Text,
    Turn,
    encode,
    encode_pair,
    encode_prompt,
    get_template,
    parse_record,
    response_spans,
    truncate_pair,
)
from llmjp_jax.errors import UserError

V1_1 = get_template("v1.1")


def conversation(*texts: str, **fields) -> Conversation:
    return Conversation(tuple(Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)), **fields)  # fmt: skip


def labels(encoded: Encoded) -> list[int]:
    return np.where(encoded.weights, encoded.ids, -100).tolist()


def differences(mask_examples, released, change=lambda encoded: encoded) -> list[str]:
    """The examples whose ids or labels are not TRL's."""
    found = []
    for example in mask_examples:
        encoded = change(
            encode(
                released[example["tokenizer"]],
                Text(example["text"]),
                get_template(example["template"]),
                max_length=example["max_length"],
                keep_end=True,
            )
        )
        ids, ours, expected = encoded.ids.tolist(), labels(encoded), example["labels"]
        assert encoded.ids.dtype == np.int32 and encoded.weights.dtype == np.uint8
        if example["kind"] == "eod_surface":
            # Theirs reads a special token's name in a text as the token; here it stays text, in the prompt.
            reference = example["ids"]
            before = len(os.path.commonprefix([ids, reference]))
            after = len(os.path.commonprefix([ids[::-1], reference[::-1]]))
            assert before + after >= len(reference) - 2 and 7 not in ids[:-1]
            same = ours[:before] == expected[:before] and ours[-after:] == expected[-after:]
            same &= set(ours[before:-after]) == {-100}
        else:
            same = (ids, ours) == (example["ids"], expected)
        if not same:
            found.append(f"{example['tokenizer']} {example['kind']} {example['max_length']}")
    return found


def test_every_example_of_trl_gets_its_ids_and_its_mask(mask_examples, released):
    assert len(mask_examples) == 88 and len({e["tokenizer"] for e in mask_examples}) == 2
    assert differences(mask_examples, released) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda encoded: Encoded(encoded.ids, np.ones_like(encoded.weights)),
        lambda encoded: Encoded(encoded.ids, np.zeros_like(encoded.weights)),
        lambda encoded: Encoded(encoded.ids, np.roll(encoded.weights, 1)),
        lambda encoded: Encoded(encoded.ids, encoded.weights * (encoded.ids != 7)),
    ],
    ids=["mask removed", "everything masked", "mask a token late", "no loss on eos"],
)
def test_a_wrong_mask_would_be_seen(mask_examples, released, change):
    assert len(differences(mask_examples, released, change)) > len(mask_examples) / 2


def test_a_conversation_gets_the_mask_of_its_text(mask_examples, released):
    """From a record's fields and from its finished text: the same ids and weights."""
    records = [
        b'{"instruction": "A", "output": "B"}',
        b'{"instruction": "A", "input": "X\\nY", "output": "B"}',
        '{"conversations": [{"from": "human", "value": "一"}, {"from": "gpt", "value": "二"}, '
        '{"from": "human", "value": "三"}, {"from": "gpt", "value": "四🌸"}]}'.encode(),
    ]
    for vocabulary in (released["v2.1-50k"], released["v2.2-100k"]):
        for record in records:
            spoken = parse_record(record, "here")
            text = Text(V1_1.render(spoken).text)
            ours, theirs = encode(vocabulary, spoken, V1_1), encode(vocabulary, text, V1_1)
            assert ours.ids.tolist() == theirs.ids.tolist()
            assert ours.weights.tolist() == theirs.weights.tolist()
            assert ours.weights[-1] == 1 and ours.ids[-1] == vocabulary.eos_id


@pytest.mark.parametrize("name", ["v1.0", "v1.1", "llm_jp_3"])
def test_tokens_with_loss_read_as_the_responses_and_each_end(released, name):
    vocabulary = released["v3.0b1" if name == "llm_jp_3" else "v2.1-50k"]
    template, answers = get_template(name), ["富士山です。", "𩸽は魚🌸\n\nはい", "15"]
    record = conversation("山は？", answers[0], "𩸽とは\n", answers[1], "3×5", answers[2])
    encoded = encode(vocabulary, record, template)
    runs = np.split(encoded.ids, np.flatnonzero(np.diff(encoded.weights)) + 1)
    runs = [run.tolist() for run in (runs[1::2] if encoded.weights[0] == 0 else runs[::2])]
    eos = vocabulary.eos_id
    assert [
        vocabulary.decode([id for id in run if id != eos]).lstrip(" ") for run in runs
    ] == answers
    ended = [run[-1] == eos for run in runs]
    assert ended == ([True] * 3 if name == "llm_jp_3" else [False, False, True])
    assert (encoded.ids[0] == vocabulary.bos_id) == (name == "llm_jp_3")


@pytest.mark.parametrize("name", ["v1.0", "v1.1", "llm_jp_3"])
def test_a_cut_text_is_the_whole_ones_beginning_and_has_no_eos(released, name):
    vocabulary = released["v3.0b1" if name == "llm_jp_3" else "v2.2-100k"]
    template = get_template(name)
    record = conversation("山は？", "富士山です。", "俳句を", "古池や 蛙飛びこむ 水の音")
    whole = encode(vocabulary, record, template)
    finished = [i for i, id in enumerate(whole.ids) if id == vocabulary.eos_id]
    for length in range(1, len(whole) + 3):
        cut = encode(vocabulary, record, template, max_length=length)
        assert cut.ids.tolist() == whole.ids[:length].tolist()
        assert cut.weights.tolist() == whole.weights[:length].tolist()
        assert np.flatnonzero(cut.ids == vocabulary.eos_id).tolist() == [i for i in finished if i < length]  # fmt: skip
        kept = encode(vocabulary, record, template, max_length=length, keep_end=True)
        assert len(kept) == min(length, len(whole)) and kept.ids[-1] == vocabulary.eos_id
        assert kept.ids[:-1].tolist() == whole.ids[: len(kept) - 1].tolist()


def test_wholly_cut_responses_leave_no_loss(released):
    record = conversation("山は？", "富士山です。")
    vocabulary = released["v2.1-50k"]
    prompt = encode(vocabulary, record, V1_1).prompt_length
    assert not encode(vocabulary, record, V1_1, max_length=prompt).weights.any()
    assert encode(vocabulary, record, V1_1, max_length=prompt + 1).weights.sum() == 1


def test_every_pair_of_trl_gets_its_ids_and_labels(pair_rows, released):
    assert len(pair_rows) == 48
    for row in pair_rows:
        turns = tuple(Turn({"human": "user", "gpt": "assistant"}[turn["from"]], turn["value"]) for turn in row["conversations"])  # fmt: skip
        pair = Pair(Conversation(turns), row["chosen"], row["rejected"])
        encoded = encode_pair(released[row["tokenizer"]], pair, V1_1, bos=True)
        encoded = truncate_pair(*encoded, row["max_length"], row["max_prompt_length"])
        for name, ours in zip(("chosen", "rejected"), encoded, strict=True):
            assert ours.ids.tolist() == row[f"tok_{name}_input_ids"]
            assert labels(ours) == row[f"tok_{name}_labels"]


def test_only_the_answers_of_a_pair_carry_loss(released):
    vocabulary = released["v2.1-50k"]
    pair = Pair(conversation("山は？", "富士山", "川は？"), "信濃川", "知らない")
    for encoded, answer in zip(
        encode_pair(vocabulary, pair, V1_1), ("信濃川", "知らない"), strict=True
    ):
        assert vocabulary.decode(encoded.ids[encoded.prompt_length : -1]).lstrip() == answer
        assert encoded.weights[encoded.prompt_length :].all()
    with pytest.raises(UserError, match="max_prompt_length = 8 must be positive and less than max_length = 8"):  # fmt: skip
        truncate_pair(encoded, encoded, 8, 8)


@pytest.mark.parametrize("name", ["v1.0", "v1.1", "llm_jp_3"])
def test_the_prompt_of_a_chat_is_what_stood_before_the_response_in_training(released, name):
    vocabulary, template = (
        released["v3.0b1" if name == "llm_jp_3" else "v2.1-50k"],
        get_template(name),
    )
    prompt = conversation("山は？", "富士山です。", "川は？")
    ids = encode_prompt(vocabulary, prompt, template)
    trained = encode(vocabulary, prompt.with_turn("assistant", "信濃川"), template)
    assert trained.ids[: len(ids)].tolist() == ids
    assert trained.weights[len(ids) :].all() and not trained.weights[len(ids) - 1]


def test_names_of_special_tokens_stay_text(released):
    for name, vocabulary in released.items():
        template = get_template("llm_jp_3" if name == "v3.0b1" else "v1.1")
        encoded = encode(vocabulary, conversation("<EOD|LLM-jp></s><s><EOD>", "</s>"), template)
        expected = [vocabulary.bos_id, vocabulary.eos_id] if template.bos else [vocabulary.eos_id]
        assert [id for id in encoded.ids.tolist() if id < 8] == expected


def test_spans_pair_as_trl_pairs():
    def spans(text):
        return [text[start:end] for start, end in response_spans(text, V1_1)]

    q, a = V1_1.instruction_marker, V1_1.response_marker
    assert spans(f"{q}A{a}B") == ["B"]
    assert spans(f"{q}A{a}B{q}C{a}D") == ["B", "D"]
    assert spans(f"{q}A{a}B{a}C") == [f"B{a}C"]
    assert spans(f"{q}A{a}B{q}C") == ["B"]
    assert spans(f"{a}B{q}A") == [f"B{q}A"]  # one of each: paired, whatever their order
    assert spans(f"{q}A{a}B{a}C{q}D") == [f"B{a}C{q}D"]  # the second pair's slice is empty
    assert spans(f"{q}A{a}") == [""]
    assert spans("A") == spans(f"{q}A") == spans(f"{a}A") == []


def test_what_cannot_be_encoded_is_one_sentence(released, tmp_path):
    with pytest.raises(UserError, match="ends with the user's turn"):
        encode(released["v2.1-50k"], conversation("山は？"), V1_1)

    class NoSpecials:
        path, eos_id, bos_id = "some.model", None, None

    with pytest.raises(UserError, match="some.model has no eos"):
        encode(NoSpecials(), conversation("A", "B"), V1_1)
    NoSpecials.eos_id = 2
    with pytest.raises(UserError, match="some.model has no bos"):
        encode(NoSpecials(), conversation("A", "B"), V1_1, bos=True)
