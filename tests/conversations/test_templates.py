"""What LLM-jp wrote, era by era, to the character; and `transformers` writes the same by the exported chat template."""

import itertools

import pytest

from llmjp_jax.conversations import (
    TEMPLATES,
    Conversation,
    Template,
    Turn,
    chat_template_name,
    encode,
    encode_prompt,
    get_template,
)
from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer import load_vocabulary, save_hf_tokenizer

HEADER = "以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。"
HEADER_WITH_INPUT = "以下は、タスクを説明する指示と、文脈のある入力の組み合わせです。要求を適切に満たす応答を書きなさい。"


def conversation(*texts: str, **fields) -> Conversation:
    return Conversation(tuple(Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)), **fields)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "spoken", "text"),
    [
        ("v1.0", conversation("山は？", "富士山"), "山は？ ### 回答：富士山"),
        ("v1.0", conversation("答えよ。", "富士山", input="山は？"), "### 指示：答えよ。 ### 質問：山は？ ### 回答：富士山"),
        ("v1.0", conversation("山は？", "富士山", system="答えよ。"), "### 指示：答えよ。 ### 質問：山は？ ### 回答：富士山"),
        ("v1.0", conversation("山は？", "富士山", "川は？", "信濃川"), "山は？ ### 回答：富士山 川は？ ### 回答：信濃川"),
        ("v1.1", conversation("山は？", "富士山"), f"{HEADER}\n\n### 指示:\n山は？\n\n### 応答:\n富士山"),
        ("v1.1", conversation("要約", "猫", input="吾輩は\n猫"),
         f"{HEADER_WITH_INPUT}\n\n### 指示:\n要約\n\n### 入力:\n吾輩は\n猫\n\n### 応答:\n猫"),
        ("v1.1", conversation("山は？", "富士山", "川は？", "信濃川"),
         f"{HEADER}\n\n### 指示:\n山は？\n\n### 応答:\n富士山\n\n### 指示:\n川は？\n\n### 応答:\n信濃川"),
        ("v1.1", conversation("山は？", "富士山", system="短く。"), "短く。\n\n### 指示:\n山は？\n\n### 応答:\n富士山"),
        ("llm_jp_3", conversation("山は？", "富士山", "川は？", "信濃川"),
         f"{HEADER}\n\n### 指示:\n山は？\n\n### 応答:\n富士山\n\n### 指示:\n川は？\n\n### 応答:\n信濃川"),
    ],
)  # fmt: skip
def test_each_era_writes_its_own_text(name, spoken, text):
    rendered = get_template(name).render(spoken)
    assert rendered.text == text
    answers = [turn.text for turn in spoken.turns if turn.role == "assistant"]
    assert [text[start:end] for start, end in rendered.spans] == answers
    prompt = Conversation(spoken.turns[:-1], spoken.system, spoken.input)
    asked = get_template(name).render(prompt, generation_prompt=True)
    assert asked.text == text.removesuffix(answers[-1])
    ends = tuple(end for _, end in rendered.spans)
    assert rendered.ends == (ends if name == "llm_jp_3" else ends[-1:])


def test_the_prompts_of_the_reference_data_are_written(pair_rows):
    for row in pair_rows:
        turns = tuple(Turn({"human": "user", "gpt": "assistant"}[turn["from"]], turn["value"]) for turn in row["conversations"])  # fmt: skip
        rendered = get_template("v1.1").render(Conversation(turns), generation_prompt=True)
        assert rendered.text == row["prompt"]


def test_the_texts_of_the_reference_data_are_written(mask_examples):
    singles = [e["text"] for e in mask_examples if e["kind"] in ("single", "v1.0", "input")]
    assert len(singles) > 25
    for text in singles:
        name, before = ("v1.1", "\n\n### 応答:\n") if before_in(text) else ("v1.0", " ### 回答：")
        template = get_template(name)
        question, answer = text.split(before)
        for header in (template.header_with_input, template.header):
            question = question.removeprefix(header)
        question = question.removeprefix(template.before_instruction)
        instruction, found, given = question.partition(template.before_input)
        spoken = conversation(instruction, answer, input=given if found else None)
        assert template.render(spoken).text == text


def before_in(text: str) -> bool:
    return "\n\n### 応答:\n" in text


CONVERSATIONS = [
    conversation(*texts, system=system, input=given)
    for texts, system, given in itertools.product(
        [
            ("山は？",),
            ("山は？", "富士山です。🌸"),
            (' It\'s "1"\\n {{ x }} {% y %}\n', "'a'\n\nb ", "三\n", "\n四", "五"),
            ("一\n\n### 入力:\n二 ### 質問：三", "\\", "五", "六"),
        ],
        [None, HEADER, "短く'答えよ'。\n"],
        [None, "吾輩は\n猫である。"],
    )
]


@pytest.fixture(scope="module")
def tokenizers(released, tmp_path_factory) -> dict:
    """For each template LLM-jp's tokenizer of its time, exported with the chat template and loaded by transformers."""
    transformers = pytest.importorskip("transformers")
    loaded = {}
    for name, template in TEMPLATES.items():
        vocabulary = released[{"v1.0": "v2.1-50k", "v1.1": "v2.2-100k", "llm_jp_3": "v3.0b1"}[name]]
        folder = tmp_path_factory.mktemp(name)
        save_hf_tokenizer(vocabulary, folder, chat_template=template.chat_template)
        loaded[name] = (vocabulary, transformers.AutoTokenizer.from_pretrained(folder))
    return loaded


def messages_of(spoken: Conversation, template: Template) -> list[dict]:
    """As a user of transformers gives them: an input stands behind its marker in the first content."""
    contents = [turn.text for turn in spoken.turns]
    if spoken.input is not None:
        contents[0] += template.before_input + spoken.input
    system = [] if spoken.system is None else [{"role": "system", "content": spoken.system}]
    return system + [{"role": turn.role, "content": content} for turn, content in zip(spoken.turns, contents, strict=True)]  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_transformers_writes_the_same_string(tokenizers, name):
    template, (_, tokenizer) = get_template(name), tokenizers[name]
    for spoken in CONVERSATIONS:
        for asks in (False, True):
            if asks and spoken.answered:
                continue
            rendered = template.render(spoken, generation_prompt=asks)
            expected = rendered.text
            if name == "llm_jp_3":  # the one whose string names its special tokens
                for end in reversed(rendered.ends):
                    expected = expected[:end] + "</s>" + expected[end:]
                expected = "<s>" + expected
            messages = messages_of(spoken, template)
            written = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=asks
            )
            assert written == expected


@pytest.mark.parametrize("name", TEMPLATES)
def test_transformers_gets_the_ids_that_are_trained_on(tokenizers, name):
    template, (vocabulary, tokenizer) = get_template(name), tokenizers[name]
    for spoken in CONVERSATIONS:
        messages = messages_of(spoken, template)
        if not spoken.answered:
            ids = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False
            )
            assert ids == encode_prompt(vocabulary, spoken, template)
            continue
        if name == "llm_jp_3":
            ids = tokenizer.apply_chat_template(messages, return_dict=False)
        else:  # the tokenizer itself puts eos behind
            ids = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"]
        assert ids == encode(vocabulary, spoken, template).ids.tolist()


def test_transformers_refuses_roles_out_of_order(tokenizers):
    for _, tokenizer in tokenizers.values():
        for roles in (["assistant"], ["user", "user"], ["user", "system"]):
            messages = [{"role": role, "content": "A"} for role in roles]
            with pytest.raises(Exception, match="must take turns"):
                tokenizer.apply_chat_template(messages, tokenize=False)


def test_an_exported_template_takes_the_place_of_the_one_before(tokenizers, tmp_path):
    transformers = pytest.importorskip("transformers")
    vocabulary, _ = tokenizers["v1.1"]
    save_hf_tokenizer(vocabulary, tmp_path / "first", chat_template="{{ messages }}")
    (tmp_path / "first" / "chat_template.jinja").write_text("{{ 'older' }}")
    back = load_vocabulary(tmp_path / "first")
    template = get_template("v1.1")
    for folder in ("second", "first"):  # into another folder, and over the one it came from
        save_hf_tokenizer(back, tmp_path / folder, chat_template=template.chat_template)
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / folder)
        assert tokenizer.chat_template == template.chat_template
        assert load_vocabulary(tmp_path / folder) == vocabulary


# As LLM-jp published it with LLM-jp-3 (quoted by programs that use those models).
PUBLISHED = (
    "{{bos_token}}{% for message in messages %}{% if message['role'] == 'user' %}{{ '\\n\\n### 指示:\\n' + message['content'] }}"
    "{% elif message['role'] == 'system' %}{{ '"
    + HEADER
    + "' }}{% elif message['role'] == 'assistant' %}"
    "{{ '\\n\\n### 応答:\\n' + message['content'] + eos_token }}{% endif %}{% if loop.last and add_generation_prompt %}"
    "{{ '\\n\\n### 応答:\\n' }}{% endif %}{% endfor %}"
)


def test_llm_jp_3_writes_as_the_published_template_does(tokenizers):
    template, (_, tokenizer) = get_template("llm_jp_3"), tokenizers["llm_jp_3"]
    checked = 0
    for spoken in CONVERSATIONS:
        if spoken.system != HEADER:
            continue  # the published one has no other system message
        messages, asks = messages_of(spoken, template), not spoken.answered
        ours, theirs = (
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=asks, chat_template=text
            )
            for text in (template.chat_template, PUBLISHED)
        )
        assert ours == theirs
        checked += 1
    assert checked == 8


def test_a_chat_template_is_known_by_its_text():
    assert len({template.chat_template for template in TEMPLATES.values()}) == 3
    for name, template in TEMPLATES.items():
        assert chat_template_name(template.chat_template + "\n") == name
    assert chat_template_name(PUBLISHED) == "llm_jp_3"
    assert chat_template_name(PUBLISHED.replace("\\n", "\n")) == "llm_jp_3"
    assert chat_template_name("{{ messages }}") is None


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no template 'v1.2'.*did you mean 'v1.[10]'"):
        get_template("v1.2")
    with pytest.raises(UserError, match="did you mean 'llm_jp_3'"):
        get_template("llm-jp-3")
    with pytest.raises(UserError, match="ends with a response; remove the response"):
        get_template("v1.1").render(conversation("A", "B"), generation_prompt=True)
