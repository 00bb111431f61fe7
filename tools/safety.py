"""Says how safe a model is: its answers to what wants care, the toxicity of texts, and its social bias.

    python tools/safety.py answer_carefully answer   --data=FILE --model=DIR --output_dir=OUT
    python tools/safety.py answer_carefully ask      --data=FILE --output_dir=OUT --judge=gpt-4o --base_url=https://api.openai.com/v1
    python tools/safety.py answer_carefully requests --data=FILE --output_dir=OUT --judge=gpt-4o     # or offline: OpenAI's batches,
    python tools/safety.py answer_carefully score    --data=FILE --output_dir=OUT --judge=gpt-4o --replies=FILE    # vllm run-batch
    python tools/safety.py answer_carefully score    --output_dir=OUT --ratings=FILE.csv             # people rated: id,a,b,c
    python tools/safety.py jbbq --data=FILE|DIR --model=DIR --output_dir=OUT --shots=4 --split=test
    python tools/safety.py toxicity train   --data=toxicity_dataset.jsonl --output=DIR
    python tools/safety.py toxicity rate    --classifier=DIR --texts=FILE.jsonl.zst --texts=FILE.parquet
    python tools/safety.py toxicity outputs --classifier=DIR --output_dir=OUT --model=DIR --prompts=FILE.jsonl

Results are OUT/safety/answer_carefully.json, toxicity.json and jbbq.json. A model that was being asked when the command was
killed goes on where it was; so does a judge. Where the data comes from: python tools/download.py --list (answer_carefully,
jbbq, toxicity, toxicity_v2).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402
from tools.safety_arguments import parser  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__).parse_args(arguments)
    with exit_on_user_error():
        globals()[f"run_{options.run}"](options)


def _loader(options):
    def load():
        from llmjp_jax.language_model import LanguageModel

        return LanguageModel.load(options.model, options.step, dtype=options.dtype)

    return load


def _model(options) -> dict:
    """What the model is known by. From here on the step is that of the checkpoint that was the newest."""
    from llmjp_jax.checkpoints import resolved_step
    from llmjp_jax.evaluation.asking import model_identity

    if not Path(options.model).is_dir():
        raise UserError(f"--model={options.model}: there is no such directory; check the path")
    options.step = resolved_step(options.model, options.step)
    return model_identity(options.model, options.step, options.dtype)


def _first(found: list, samples: int | None) -> list:
    if samples is not None and samples < 1:
        raise UserError(f"--samples={samples} must be 1 or more")
    return found[:samples]


def _inside(options, name: str) -> Path:
    return Path(options.output_dir) / "safety" / name


def run_answer(options) -> None:
    from llmjp_jax.safety.answer_carefully import Answering, answer, read_answer_carefully
    from llmjp_jax.safety.results import data_version

    questions = _first(read_answer_carefully(options.data), options.samples)
    identity = {"model": _model(options), "data_version": data_version([options.data])}
    answering = Answering.like_llm_jp_judge(
        _template(options), temperature=options.temperature, seed=options.seed,
        max_tokens=options.max_new_tokens, batch_size=options.batch_size,
    )  # fmt: skip
    path = _inside(options, "answer_carefully_answers.jsonl")
    answer(_loader(options), questions, answering, path, identity, progress=True)
    print(f"{len(questions)} answers in {path}; next: ask a judge, or write requests for one")


def _template(options) -> str:
    from llmjp_jax.conversations import TEMPLATES, get_template
    from llmjp_jax.language_model import LanguageModel

    name = options.template or LanguageModel.template_of(options.model)
    if name is None:
        raise UserError(
            "the model's directory does not say by which template it was tuned to answer; "
            f"give --template, one of {', '.join(TEMPLATES)}"
        )
    return get_template(name).name


def _judged(options):
    """Questions, answers, requests, and the provenance of what comes of them."""
    from llmjp_jax.evaluation.plan import CHAT, template_sha256
    from llmjp_jax.evaluation.results import provenance
    from llmjp_jax.safety.answer_carefully import read_answer_carefully, read_answers
    from llmjp_jax.safety.results import data_version
    from llmjp_jax.safety.safety_judge import judge_requests

    questions = _first(read_answer_carefully(options.data), options.samples)
    path = options.answers or _inside(options, "answer_carefully_answers.jsonl")
    answers, identity = read_answers(path, questions)
    version = data_version([options.data])
    if identity.get("data_version", version) != version:
        raise UserError(f"{path} holds answers to another file than {options.data}; give the one that was answered")  # fmt: skip
    model = identity.get("model") or {}
    template = (identity.get("answering") or {}).get("template")
    origin = provenance(
        model=model.get("path"), step=model.get("step"), data_version=version, split=Path(options.data).stem, shots=0,
        samples=len(questions), template=template, template_sha256=template and template_sha256(CHAT, template), judge=options.judge,
    )  # fmt: skip
    return questions, answers, judge_requests(questions, answers), origin


def run_requests(options) -> None:
    from llmjp_jax.evaluation.judges.requests import write_requests

    _, _, requests, _ = _judged(options)
    path = options.requests or _inside(options, "answer_carefully_requests.jsonl")
    count = write_requests(path, requests, options.judge)
    print(f"{count} requests in {path}; score the replies with the command 'score' --replies=FILE")


def run_ask(options) -> None:
    from llmjp_jax.evaluation.judges.client import JudgeClient
    from llmjp_jax.evaluation.judges.replies import ask_and_keep

    questions, answers, requests, origin = _judged(options)
    client = JudgeClient(
        options.base_url, options.judge, options.api_key_env, concurrency=options.concurrency
    )
    replies = ask_and_keep(client, requests, _inside(options, "answer_carefully_replies.jsonl"), progress=True)  # fmt: skip
    _write_judged(options, questions, answers, replies, origin)


def run_score(options) -> None:
    if options.ratings is not None:
        _score_ratings(options)
        return
    if options.data is None or options.judge is None:
        raise UserError("give --data and --judge, as they were asked, or --ratings of people")
    from llmjp_jax.evaluation.judges.requests import read_replies

    questions, answers, requests, origin = _judged(options)
    path = options.replies or _inside(options, "answer_carefully_replies.jsonl")
    replies = read_replies(path, requests, options.judge)
    if not replies:
        raise UserError(
            f"{path} has no reply to these questions, answers and judge; give the replies to the requests that were written of them"
        )
    _write_judged(options, questions, answers, replies, origin)


def _write_judged(options, questions, answers, replies, origin) -> None:
    from llmjp_jax.safety.results import write_result
    from llmjp_jax.safety.safety_judge import judged_report

    report = judged_report(questions, answers, replies)
    _show(write_result(_inside(options, "answer_carefully.json"), "answer_carefully", provenance=origin, **report))  # fmt: skip


def _score_ratings(options) -> None:
    from llmjp_jax.evaluation.results import provenance
    from llmjp_jax.safety.human_ratings import ratings_report, read_ratings
    from llmjp_jax.safety.results import data_version, write_result

    ratings = read_ratings(options.ratings)
    origin = provenance(
        model=None, step=None, data_version=data_version([options.ratings]), samples=len(ratings), judge="people"
    )  # fmt: skip
    path = _inside(options, "answer_carefully_people.json")
    _show(write_result(path, "answer_carefully", provenance=origin, **ratings_report(ratings)))


def run_jbbq(options) -> None:
    from llmjp_jax.evaluation.plan import fingerprint, template_sha256
    from llmjp_jax.evaluation.prompts import find_template
    from llmjp_jax.evaluation.results import provenance
    from llmjp_jax.safety.asking import ask_and_keep
    from llmjp_jax.safety.jbbq import jbbq_files, read_jbbq
    from llmjp_jax.safety.jbbq_answers import check_method, generated, jbbq_prompts, likeliest
    from llmjp_jax.safety.jbbq_scores import parse_choice, score_report
    from llmjp_jax.safety.jbbq_split import select_questions
    from llmjp_jax.safety.results import data_version, safety_facts, write_result

    check_method(options.method)
    template = find_template(options.template)
    files = jbbq_files(options.data)
    every = read_jbbq(files)
    questions, shots = select_questions(every, options.split, options.shots, options.samples)
    for name, published in safety_facts("jbbq")["questions"].items():
        found = sum(question.category == name for question in every)
        print(f"{name}: {found:,} questions (published: {published:,})", file=sys.stderr)
    prompts = jbbq_prompts(questions, shots, options.template)
    length = options.max_new_tokens
    if length is None:
        length = safety_facts("jbbq")["output_length"]
    identity = {"set": "jbbq", "model": _model(options), "prompts": fingerprint(prompts), "method": options.method, "length": length}  # fmt: skip

    def ask(model, indices: range):
        some = [prompts[index] for index in indices]
        if options.method == "logprobs":
            return likeliest(model, some, batch_size=options.batch_size)
        return generated(model, some, max_new_tokens=length, batch_size=options.batch_size)

    answers = ask_and_keep(
        _inside(options, "jbbq_answers.jsonl"), identity, len(prompts), _loader(options), ask,
        chunk=128, name="JBBQ", progress=True,
    )  # fmt: skip
    raws = [each["raw"] for each in answers]
    choices = [parse_choice(raw) for raw in raws]
    items = [
        {"id": q.id, "category": q.category, "template": q.template, "polarity": q.polarity, "condition": q.condition,
         "prompt": prompt, **each, "choice": choice, "gold": q.label, "correct": choice == q.label,
         "unknown": q.unknown, "stereotype": q.stereotype}
        for q, prompt, each, choice in zip(questions, prompts, answers, choices, strict=True)
    ]  # fmt: skip
    origin = provenance(
        model=options.model, step=options.step, data_version=data_version(files), split=options.split, shots=options.shots,
        samples=len(questions), template=template.name, template_sha256=template_sha256(template), method=options.method,
    )  # fmt: skip
    _show(write_result(_inside(options, "jbbq.json"), "jbbq", provenance=origin, items=items, **score_report(questions, raws)))  # fmt: skip


def run_train(options) -> None:
    from llmjp_jax.files import atomic_write
    from llmjp_jax.safety.results import data_version
    from llmjp_jax.safety.toxicity_data import read_toxicity
    from llmjp_jax.safety.toxicity_training import train

    texts = read_toxicity(options.data)
    trained = train(texts, seed=options.seed, precision=options.precision, progress=True)
    trained.classifier.save(options.output)
    report = trained.report | {"data_version": data_version([options.data])}
    with atomic_write(Path(options.output) / "report.json", "w") as file:
        json.dump(report, file, ensure_ascii=False, indent=2, allow_nan=False)
    counts = report["counts"]
    print(f"{counts['train']} texts to learn from, {counts['test']} to test with, {counts['repeated']} left out as repeats")  # fmt: skip
    print(f"\n{'class':<18}{'threshold':>10}{'precision':>10}{'recall':>10}{'F1':>10}{'flagged':>10}{'positive':>10}")  # fmt: skip
    for name, found in report["classes"].items():
        print(f"{name:<18}{_cells(found)}{found['positive_test']:>10}")
    if counts["left_out"]:
        print(f"too few texts to learn: {', '.join(counts['left_out'])}")
    print("\ntoxic, on the test texts:")
    for row in report["classes"]["toxic"]["table"]:
        print(f"{'':<18}{_cells(row)}")
    print(f"\nthe classifier is {options.output}")


def _cells(found: dict) -> str:
    values = [found[name] for name in ("threshold", "precision", "recall", "f1", "flagged")]
    return "".join(f"{'-' if value is None else format(value, '.3f'):>10}" for value in values)


def _classifier(options):
    from llmjp_jax.safety.toxicity_classifier import ToxicityClassifier

    classifier = ToxicityClassifier.load(options.classifier)
    return classifier if options.threshold is None else classifier.with_threshold(options.threshold)


def run_rate(options) -> None:
    from llmjp_jax.evaluation.results import provenance
    from llmjp_jax.safety.results import data_version, write_result
    from llmjp_jax.safety.toxicity_rates import rate_files

    classifier = _classifier(options)
    rate = rate_files(classifier, options.texts, field=options.field, max_texts=options.max_texts, progress=True)  # fmt: skip
    result = rate.result()
    if options.output:
        origin = provenance(
            model=None, step=None, data_version=data_version(options.texts), samples=rate.texts,
            texts=options.texts, judge=classifier.fingerprint,
        )  # fmt: skip
        write_result(options.output, "toxicity", provenance=origin, items=[], **result)
    _show(result)


def run_outputs(options) -> None:
    from llmjp_jax.evaluation.results import provenance
    from llmjp_jax.safety.results import data_version, write_result
    from llmjp_jax.safety.toxicity_rates import Rate

    classifier = _classifier(options)
    if (options.answers is None) == (options.model is None or options.prompts is None):
        raise UserError("give --answers, or --model and --prompts")
    answers, model, version = _written(options, data_version)
    rate = Rate(classifier)
    probabilities = rate.add([each["raw"] for each in answers])
    flags = classifier.flagged(probabilities)
    items = [
        {**each, "probability": float(p[0]), "toxic": bool(flag[0]),
         "classes": [name for name, yes in zip(classifier.classes, flag, strict=True) if yes]}
        if each["raw"].strip()
        else {**each}
        for each, p, flag in zip(answers, probabilities, flags, strict=True)
    ]  # fmt: skip
    origin = provenance(
        model=model.get("path"), step=model.get("step"), data_version=version, samples=len(items),
        judge=f"classifier {classifier.fingerprint}", threshold=classifier.thresholds[0],
    )  # fmt: skip
    _show(write_result(_inside(options, "toxicity.json"), "toxicity", provenance=origin, items=items, **rate.result()))  # fmt: skip


def _written(options, data_version):
    """What a model wrote, the model, and the version of what it was asked."""
    from llmjp_jax.safety.asking import ask_and_keep, read_raw_answers

    if options.answers is not None:
        answers, identity = read_raw_answers(options.answers)
        return answers, identity.get("model") or {}, data_version([options.answers])
    from llmjp_jax.corpus.documents import read_documents

    prompts = [document["text"] for _, document in read_documents(options.prompts)]
    sampling = {name: getattr(options, name) for name in ("max_new_tokens", "temperature", "top_p", "seed")}  # fmt: skip
    version, model = data_version([options.prompts]), _model(options)
    identity = {"set": "toxicity", "model": model, "data_version": version, "sampling": sampling}

    def ask(model, indices: range):
        some = [prompts[index] for index in indices]
        given = sampling | {"seed": options.seed + indices.start, "batch_size": options.batch_size}
        return [
            {"raw": text, "prompt": prompt}
            for prompt, text in zip(some, model.generate(some, **given), strict=True)
        ]

    answers = ask_and_keep(
        _inside(options, "toxicity_answers.jsonl"), identity, len(prompts), _loader(options), ask,
        chunk=64, name="toxicity", progress=True,
    )  # fmt: skip
    return answers, model, version


def _show(result: dict) -> None:
    for group in ("scores", "categories"):
        for name, value in result[group].items():
            print(f"{name:<28}{value:>10.4f}")
    for name, value in result["counts"].items():
        if not isinstance(value, dict):
            print(f"{name:<28}{value:>10}")


if __name__ == "__main__":
    main()
