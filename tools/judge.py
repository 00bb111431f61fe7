"""Lets a judge mark a model's answers: Japanese Vicuna QA (vicuna) and Japanese MT-Bench (mt_bench).

    python tools/download.py ja_vicuna_qa
    python tools/judge.py answer vicuna --model=runs/mine --output=runs/mine/vicuna.jsonl
    OPENAI_API_KEY=... python tools/judge.py ask vicuna --answers=runs/mine/vicuna.jsonl --judge=gpt-4 \\
        --base_url=https://api.openai.com/v1 --output_dir=runs/mine/evaluation

Any server that speaks OpenAI's chat completions will do, such as `vllm serve` (--base_url=http://localhost:8000/v1, no key).
Without a connection, in batches of OpenAI's or of `vllm run-batch`:

    python tools/judge.py requests vicuna --answers=runs/mine/vicuna.jsonl --judge=gpt-4 --output=requests.jsonl
    python tools/judge.py score vicuna --answers=runs/mine/vicuna.jsonl --judge=gpt-4 --replies=replies.jsonl \\
        --output_dir=runs/mine/evaluation

vicuna compares with text-davinci-003's answers, in both orders; --baseline takes another model's, --mode=single marks without
one. Every command may be killed and started again: nothing is answered or asked twice. A judge's error is never a win; it is
left out and counted, and the next `ask` tries it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402
from llmjp_jax.files import atomic_write  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    actions = {
        "answer": (answer, "let a model answer the questions"),
        "ask": (ask, "ask an endpoint for its verdicts, and score them"),
        "requests": (write, "write the requests as a batch file"),
        "score": (score, "score a batch run's replies"),
    }
    for name, (action, text) in actions.items():
        # Flags are not shortened: --prompt would be taken for --prompts.
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(action=action)
        _add_flags(name, command.add_argument)
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        options.action(options)


def _add_flags(command: str, add) -> None:
    add("benchmark", metavar="vicuna|mt_bench")
    add("--data_dir", type=Path, help="folder of the benchmark's download (default: downloads/NAME)")  # fmt: skip
    add("--questions", help="a file in place of that in --data_dir")
    if command == "answer":
        add("--model", required=True, help="a run, Hugging Face or adapter directory")
        add("--output", required=True, help="JSON lines of answers; appended to")
        add("--name", help="of the model in the answers (default: the directory's)")
        add("--template", help="of conversations (default: what the directory says)")
        add("--temperature", type=float, help="one for all questions (default: by category)")
        add("--seed", type=int, help="default: the benchmark's, 0")
        add("--max_new_tokens", type=int, help="longest answer (default: the benchmark's)")
        add("--batch_size", type=int, default=16)
        add("--step", help="of a run: a number or 'best' (default: the newest)")
        add("--dtype", choices=["float32", "bfloat16"])
        return
    add("--answers", required=True, help="JSON lines of the model's answers")
    add("--baseline", help="of vicuna: answers to compare with (default: text-davinci-003's)")
    add("--references", help="a file in place of that in --data_dir")
    add("--prompts", help="judge prompts in place of those in --data_dir")
    add("--mode", choices=["pairwise", "single"], help="of vicuna (default: pairwise)")
    add("--judge", help="the judge's name at the endpoint (default: gpt-4)")
    if command == "requests":
        add("--output", required=True)
        return
    add("--output_dir", required=True, type=Path, help="takes judges/vicuna.json or judges/mt_bench.json")  # fmt: skip
    if command == "score":
        add("--replies", required=True, help="a batch run's output")
        return
    add("--base_url", help="the endpoint, up to /v1 (default: OPENAI_BASE_URL)")
    add("--api_key_env", default="OPENAI_API_KEY", help="the variable that holds the key (default: OPENAI_API_KEY)")  # fmt: skip
    add("--concurrency", type=int, default=8, help="requests under way at a time (default: 8)")
    add("--requests_per_minute", type=float, help="sent at most (default: as many as are answered)")
    add("--retries", type=int, default=8, help="of a request that failed (default: 8)")
    add("--timeout", type=float, default=180.0, help="seconds for one reply (default: 180)")


class Material(NamedTuple):
    """What the last three commands share: the benchmark's texts, the answers, and what is asked."""

    benchmark: Any
    mode: str
    questions: list
    answers: Any
    baseline: Any
    requests: list
    judge: str
    origin: dict


def answer(options: argparse.Namespace) -> None:
    import dataclasses

    from llmjp_jax.evaluation.judges.benchmarks import find_benchmark
    from llmjp_jax.evaluation.judges.records import read_questions

    benchmark = find_benchmark(options.benchmark)
    questions = read_questions(_file(options, benchmark, "questions"), benchmark)
    given = {name: getattr(options, name) for name in ("seed", "max_new_tokens")}
    settings = dataclasses.replace(
        benchmark.answers, **{name: value for name, value in given.items() if value is not None}
    )

    from llmjp_jax.checkpoints import resolved_step
    from llmjp_jax.evaluation.asking import model_identity
    from llmjp_jax.evaluation.judges.answers import Answering, answer_questions
    from llmjp_jax.language_model import LanguageModel

    step = int(options.step) if options.step and options.step.isdecimal() else options.step
    step = resolved_step(options.model, step)
    template = options.template or LanguageModel.template_of(options.model)
    if template is None:
        raise UserError(
            f"{options.model} does not say by which template its model was tuned to answer; give --template"
        )
    answering = Answering(
        name=options.name or Path(options.model).resolve().name,
        template=template,
        settings=settings,
        identity=model_identity(options.model, step, options.dtype),
        temperature=options.temperature,
        batch_size=options.batch_size,
    )
    dropped = answer_questions(
        lambda: LanguageModel.load(options.model, step=step, dtype=options.dtype),
        questions,
        answering,
        options.output,
        progress=True,
    )
    print(f"{len(questions)} answers in {options.output}")
    if dropped:
        print(f"warning: {dropped} prompts were too long for the model and lost their first turn")


def ask(options: argparse.Namespace) -> None:
    from llmjp_jax.evaluation.judges import JudgeClient, ask_and_keep

    material = gather(options)
    client = JudgeClient(
        options.base_url,
        material.judge,
        api_key_env=options.api_key_env,
        retries=options.retries,
        timeout=options.timeout,
        concurrency=options.concurrency,
        requests_per_minute=options.requests_per_minute,
    )
    kept = options.output_dir / "judges" / f"{material.benchmark.name}_replies.jsonl"
    replies = ask_and_keep(client, material.requests, kept, progress=True)
    report(material, replies, options.output_dir)


def write(options: argparse.Namespace) -> None:
    from llmjp_jax.evaluation.judges import write_requests

    material = gather(options)
    count = write_requests(options.output, material.requests, material.judge)
    print(f"{count} requests to {material.judge} in {options.output}")


def score(options: argparse.Namespace) -> None:
    from llmjp_jax.evaluation.judges import read_replies

    material = gather(options)
    replies = read_replies(options.replies, material.requests, material.judge)
    if not replies:
        raise UserError(
            f"{options.replies} has no reply to these requests to {material.judge}; give the same answers, --judge, --mode and "
            "prompts as to the command requests"
        )
    report(material, replies, options.output_dir)


def gather(options: argparse.Namespace) -> Material:
    """Reads and checks everything, before anything is asked."""
    from llmjp_jax.evaluation.judges import mt_bench, records, vicuna
    from llmjp_jax.evaluation.judges.benchmarks import find_benchmark

    benchmark = find_benchmark(options.benchmark)
    pairwise = "pairwise" in benchmark.prompts
    mode = options.mode or ("pairwise" if pairwise else "single")
    if mode not in benchmark.prompts:
        raise UserError(f"{benchmark.title} has no mode {mode}; leave --mode out")
    if options.baseline and mode == "single":
        raise UserError(f"mode single of {benchmark.title} compares nothing; leave --baseline out")
    path = _file(options, benchmark, "questions")
    questions = records.read_questions(path, benchmark)
    references = records.read_answers(_file(options, benchmark, "references")) if _needs_references(questions, benchmark) else None  # fmt: skip
    questions = records.with_references(questions, benchmark, references)
    prompts_path = _file(options, benchmark, "prompts")
    prompts = records.read_prompts(prompts_path)
    answers = records.read_answers(options.answers)
    records.check_answered(questions, answers, benchmark.turns, options.answers)
    baseline = None
    if mode == "pairwise":
        baseline_path = _file(options, benchmark, "baseline")
        baseline = records.read_answers(baseline_path)
        records.check_answered(questions, baseline, benchmark.turns, str(baseline_path))
        requests = vicuna.pairwise_requests(benchmark, questions, answers, baseline, prompts)
    elif benchmark.name == "vicuna":
        requests = vicuna.single_requests(benchmark, questions, answers, prompts)
    else:
        requests = mt_bench.requests_of(benchmark, questions, answers, prompts)
    judge = options.judge or benchmark.judge.model
    origin = {
        "model": answers.model, "judge": judge, "mode": mode, "samples": len(questions), "shots": 0,
        "data_version": _digest(path), "split": "test", **_made_with(options.answers),
        "judge_prompts_sha256": _digest(prompts_path), "baseline": baseline.model if baseline else None,
    }  # fmt: skip
    return Material(benchmark, mode, questions, answers, baseline, requests, judge, origin)


def report(material: Material, replies, output_dir: Path) -> None:
    """Scores the replies, writes them, and prints the numbers."""
    from llmjp_jax.evaluation.judges import mt_bench, vicuna
    from llmjp_jax.evaluation.results import provenance

    origin = provenance(**material.origin)
    first = (material.benchmark, material.questions, material.answers)
    if material.mode == "pairwise":
        result = vicuna.score_pairwise(*first, material.baseline, replies, origin)
    elif material.benchmark.name == "vicuna":
        result = vicuna.score_single(*first, replies, origin)
    else:
        result = mt_bench.score(*first, replies, origin)
    path = output_dir / "judges" / f"{material.benchmark.name}.json"
    with atomic_write(path, "w") as file:
        json.dump(result, file, ensure_ascii=False, indent=2)
    against = f" against {material.baseline.model}" if material.baseline else ""
    print(f"{material.benchmark.title}: {material.answers.model}{against}, judge {material.judge}")
    compat = result.get("compat", {"scores": {}})
    for name, value in result["scores"].items():
        published = compat["scores"].get(name, value)
        beside = f"   ({compat['name']}: {_number(published)})" if published != value else ""
        print(f"  {name:20} {_number(value)}{beside}")
    for name, value in result["categories"].items():
        print(f"    {name:18} {_number(value)}")
    counts = result["counts"]
    if counts["errors"]:
        print(
            f"warning: {counts['errors']} verdicts could not be had or read and are left out "
            f"({counts['reply_errors']} of {counts['replies']} replies are errors)"
        )
    print(f"written: {path}")


def _file(options: argparse.Namespace, benchmark, kind: str) -> Path:
    given = getattr(options, kind)
    if given:
        return Path(given)
    return benchmark.find_file(kind, options.data_dir or Path("downloads") / benchmark.download)


def _needs_references(questions, benchmark) -> bool:
    """Whether a question must show a reference that its own line does not have."""
    return any(
        question.category in benchmark.reference_categories
        and len(question.reference) < benchmark.turns
        for question in questions
    )


def _made_with(answers: str) -> dict[str, Any]:
    """The model's step, and the template that the answers were made with, where they are known."""
    from llmjp_jax.evaluation.plan import CHAT, template_sha256

    path = Path(answers + ".config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        raise UserError(f"{path} is half-written or no JSON; remove it, and the template is not known") from None  # fmt: skip
    template, model = config.get("template"), config.get("model") or {}
    return {
        "step": model.get("step"),
        "template": template,
        "template_sha256": template and template_sha256(CHAT, template),
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    main()
