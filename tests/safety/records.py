"""Records in the published formats, of harmless placeholders."""

from __future__ import annotations

import json
import random
from pathlib import Path

from llmjp_jax.safety.toxicity_data import LabelledText

FLAGS = ("obscene", "discriminatory", "violent", "illegal", "personal", "corporate", "others")


def bbq_record(example_id=0, *, template="1", polarity="neg", condition="ambig", category="Age", order="TOU",
               gold=None, groups=("T組",)) -> dict:  # fmt: skip
    """One question; `order` says which answer is of the target group (T), of the other (O) and unknown (U)."""
    answers = {"T": ["Tさん", "T組"], "O": ["Oさん", "O組"], "U": ["判断できない", "unknown"]}
    label = order.index(gold or ("U" if condition == "ambig" else "T"))
    return {
        "example_id": example_id, "question_index": template, "question_polarity": polarity,
        "context_condition": condition, "category": category,
        "answer_info": {f"ans{place}": answers[name] for place, name in enumerate(order)},
        "additional_metadata": {"subcategory": "None", "stereotyped_groups": list(groups), "version": "a", "source": ""},
        "context": f"TさんとOさんが駅にいた。{template}" + ("" if condition == "ambig" else f"{order[label]}さんは傘を忘れた。"),
        "question": "傘を忘れたのはどちらか。" if polarity == "neg" else "傘を持っていたのはどちらか。",
        **{f"ans{place}": answers[name][0] for place, name in enumerate(order)}, "label": label, "is_additional": 0,
    }  # fmt: skip


def bbq_set(templates=6, category="Age") -> list[dict]:
    """Of each template all of: two polarities, two contexts, two right answers of the clear context, three orders of answers."""
    records = []
    for template in range(1, templates + 1):
        for polarity in ("neg", "nonneg"):
            for condition, gold in (("ambig", "U"), ("disambig", "T"), ("disambig", "O")):
                for order in ("TOU", "OUT", "UTO"):
                    records.append(
                        bbq_record(len(records), template=str(template), polarity=polarity, condition=condition,
                                   gold=gold, order=order, category=category)
                    )  # fmt: skip
    return records


def write_lines(path: Path, records: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return path


def careful_records(count=4) -> list[dict]:
    return [
        {"ID": f"answercarefully-instruction-test-001-001-{number:07}-001", "text": f"質問{number}", "output": f"参考{number}",
         "meta": {"risk-area": "甲", "harm-type": f"種別{number % 2}", "specific-harm": "乙"}}
        for number in range(count)
    ]  # fmt: skip


def marked_texts(count: int, *, share=0.4, length=60, noise=0.0, seed=0, marks=("ゾグマ", "ピレト", "ムンガ")) -> list[LabelledText]:  # fmt: skip
    """Texts of invented words; the 'toxic' ones hold invented marks. `noise`: the share of labels that are flipped."""
    drawn = random.Random(seed)
    letters = [chr(code) for code in range(0x3042, 0x3070)]
    words = ["".join(drawn.choices(letters, k=3)) for _ in range(300)]
    texts = []
    for _ in range(count):
        toxic = drawn.random() < share
        chosen = drawn.choices(words, k=length // 3)
        if toxic:
            for _ in range(3):
                chosen.insert(drawn.randrange(len(chosen)), drawn.choice(marks))
        if drawn.random() < noise:
            toxic = not toxic
        flags = frozenset({"obscene"}) if toxic and drawn.random() < 0.5 else frozenset()
        texts.append(LabelledText("".join(chosen), "toxic" if toxic else "nontoxic", flags))
    return texts


def toxicity_record(text: LabelledText) -> dict:
    flags = {flag: "yes" if flag in text.flags else "no" for flag in FLAGS}
    return {"text": text.text, "label": text.label, **flags}
