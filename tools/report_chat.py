"""Says how well models translate and prefer, side by side: chrF of greedy answers, and which of two answers they favour.

  python tools/report_chat.py --model=base=runs/quickstart/model --model=sft=runs/quickstart/sft \\
      --model=dpo=runs/quickstart/dpo --instructions=runs/quickstart/chat/instructions_test.jsonl \\
      --preferences=runs/quickstart/chat/preferences_test.jsonl --reference=sft --output=runs/quickstart/chat/report.json

likelier: share of pairs whose chosen answer has the larger probability a token. reward: share of pairs whose chosen answer
gained more probability over the model --reference than the rejected one did (DPO's reward accuracy).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402
from llmjp_jax.files import atomic_write  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", action="append", required=True, metavar="NAME=DIR", help="a run or Hugging Face directory; repeatable")  # fmt: skip
    add("--instructions", required=True, help='JSON lines of {"instruction", "input", "output"}')
    add(
        "--preferences",
        required=True,
        help='JSON lines of {"instruction", "input", "chosen", "rejected"}',
    )
    add("--reference", required=True, metavar="NAME", help="the model that rewards are counted from")  # fmt: skip
    add("--template", default="v1.0", help="of the prompts (default: v1.0, the quick start's)")
    add("--max_new_tokens", type=int, default=64)
    add("--batch_size", type=int, default=32)
    add("--output", help="a JSON file for the same numbers, and every answer")
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        report(options)


def report(options: argparse.Namespace) -> None:
    models = dict(_named(model) for model in options.model)
    if options.reference not in models:
        raise UserError(
            f"--reference={options.reference} is none of the models {', '.join(models)}; name one of them"
        )
    results = {name: _measured(name, path, options) for name, path in models.items()}
    _add_rewards(results, options.reference)
    directions = list(results[options.reference]["chrf"])
    header = "".join(f"{f'chrF, {name}':>19}" for name in directions)
    print(f"\n{'':<10}{header}{'likelier':>12}{'reward':>10}\n")
    for name, result in results.items():
        scores = "".join(f"{result['chrf'][direction]:>19.1f}" for direction in directions)
        reward = "-" if name == options.reference else f"{result['reward_accuracy']:.3f}"
        print(f"{name:<10}{scores}{result['likelier']:>12.3f}{reward:>10}")
    _print_samples(results)
    if options.output:
        for result in results.values():
            result.pop("log_ratios")
        with atomic_write(options.output, "w") as file:
            json.dump(results, file, indent=1, ensure_ascii=False)


def _named(argument: str) -> tuple[str, str]:
    name, equals, path = argument.partition("=")
    if not (name and equals and path):
        raise UserError(f"--model={argument} must be NAME=DIR, such as sft=runs/quickstart/sft")
    return name, path


def _measured(name: str, path: str, options: argparse.Namespace) -> dict:
    """One model's answers, chrF by instruction, and log-probabilities of both answers of each pair."""
    import numpy as np
    from sacrebleu.metrics import CHRF

    from llmjp_jax import LanguageModel
    from llmjp_jax.conversations import encode_pair, encode_prompt, get_template, read_records

    model, template = LanguageModel.load(path), get_template(options.template)
    examples = [record for _, _, record in read_records(options.instructions)]
    prompts = [
        encode_prompt(model.vocabulary, _prompt_of(example), template) for example in examples
    ]
    print(f"{name}: {len(prompts)} answers", file=sys.stderr, flush=True)
    answers = model.generate(
        prompts, max_new_tokens=options.max_new_tokens, batch_size=options.batch_size, progress=True
    )
    scored: dict[str, list] = {"all": []}
    for example, answer in zip(examples, answers, strict=True):
        found = (answer.strip(), example.turns[-1].text)
        scored["all"].append(found)
        scored.setdefault(_direction(example.turns[0].text), []).append(found)
    chrf = {
        name: CHRF().corpus_score([a for a, _ in found], [[gold for _, gold in found]]).score
        for name, found in scored.items()
    }
    pairs = [
        encode_pair(model.vocabulary, record, template)
        for _, _, record in read_records(options.preferences)
    ]
    flat = [side for pair in pairs for side in pair]
    scores = model.logprobs([side.ids.tolist() for side in flat], batch_size=options.batch_size)
    sums = np.array([float(s @ side.weights) for s, side in zip(scores, flat, strict=True)])
    means = sums / [int(side.weights.sum()) for side in flat]
    return {
        "chrf": chrf,
        "likelier": float(np.mean(means[::2] > means[1::2])),
        "log_ratios": sums,
        "answers": [
            {
                "prompt": f"{example.turns[0].text}{example.input or ''}",
                "answer": answer,
                "gold": example.turns[-1].text,
            }
            for example, answer in zip(examples, answers, strict=True)
        ],
    }


def _prompt_of(example):
    import dataclasses

    return dataclasses.replace(example, turns=example.turns[:-1])


def _direction(instruction: str) -> str:
    return "to English" if "英語" in instruction else "to Japanese"


def _add_rewards(results: dict, reference: str) -> None:
    base = results[reference]["log_ratios"]
    for result in results.values():
        gained = result["log_ratios"] - base
        result["reward_accuracy"] = float((gained[::2] > gained[1::2]).mean())


def _print_samples(results: dict, count: int = 4) -> None:
    print()
    for place in range(count):
        first = next(iter(results.values()))["answers"][place]
        print(f"  {first['prompt']}\n    {'gold':<8}{first['gold']}")
        for name, result in results.items():
            print(f"    {name:<8}{result['answers'][place]['answer']}".replace("\n", " "))
        print()


if __name__ == "__main__":
    main()
