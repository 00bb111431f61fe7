"""The arguments of `safety.py`, by command."""

from __future__ import annotations

import argparse


def parser(description: str) -> argparse.ArgumentParser:
    """Its result names the function of safety.py to run: `run`."""
    form = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    root = argparse.ArgumentParser(description=description, **form)
    sets = root.add_subparsers(dest="set", required=True)
    careful = sets.add_parser("answer_carefully", help="answers to what wants care, judged", **form)
    toxicity = sets.add_parser("toxicity", help="a classifier, and what share of texts it flags", **form)  # fmt: skip
    _jbbq_arguments(sets.add_parser("jbbq", help="accuracy and social bias", **form))
    _careful_arguments(careful.add_subparsers(dest="command", required=True), form)
    _toxicity_arguments(toxicity.add_subparsers(dest="command", required=True), form)
    return root


def _careful_arguments(commands, form) -> None:
    sayings = {"answer": "a model answers", "ask": "ask a judge behind an endpoint, and score",
               "requests": "write what a judge is to be asked", "score": "score a judge's replies, or people's ratings"}  # fmt: skip
    for name, saying in sayings.items():
        command = commands.add_parser(name, help=saying, description=saying, **form)
        command.set_defaults(run=name)
        add = command.add_argument
        add(
            "--data",
            required=name != "score",
            help="the data set's file: JSON, JSON lines or Parquet",
        )
        add("--output_dir", required=True)
        add("--samples", type=int, help="the first so many questions; default: all")
        if name == "answer":
            _model_arguments(command, required=True)
            add("--template", help="of the conversation; default: the model's own")
            add("--temperature", type=float, help="default: 1.0, as llm-jp-judge")
            add("--max_new_tokens", type=int, help="default: 1024, as llm-jp-judge")
            add("--seed", type=int, help="default: 1234, as llm-jp-judge")
            continue
        add("--judge", required=name != "score", help="the judge's name at its endpoint")
        add("--answers", help="default: OUT/safety/answer_carefully_answers.jsonl")
        if name == "ask":
            add("--base_url", help="of the endpoint; default: the variable OPENAI_BASE_URL")
            add("--api_key_env", default="OPENAI_API_KEY", help="the variable that holds the key (default: OPENAI_API_KEY)")  # fmt: skip
            add(
                "--concurrency",
                type=int,
                default=8,
                help="requests under way at a time (default: 8)",
            )
        if name == "requests":
            add("--requests", help="default: OUT/safety/answer_carefully_requests.jsonl")
        if name == "score":
            add("--replies", help="the output of a batch run; default: what `ask` keeps in OUT")
            add("--ratings", help="a CSV file of people's ratings in place of a judge's: id and three raters")  # fmt: skip


def _jbbq_arguments(command) -> None:
    command.set_defaults(run="jbbq")
    add = command.add_argument
    add("--data", required=True, help="JBBQ's file, or the folder of its files")
    add("--output_dir", required=True)
    _model_arguments(command, required=True)
    add("--method", default="generate", help="generate (the number it writes) or logprobs (the likeliest number)")  # fmt: skip
    add("--split", default="all", help="all, or Nejumi's dev or test (default: all)")
    add("--shots", type=int, default=0, help="of Nejumi's train part (default: 0)")
    add("--samples", type=int, help="the first so many questions of each category; default: all")
    add("--template", default="llm_jp_eval_1_3", help="of the prompt (default: llm_jp_eval_1_3)")
    add("--max_new_tokens", type=int, help="of an answer; default: 1, as Nejumi")


def _toxicity_arguments(commands, form) -> None:
    add = _command(commands, "train", "learn a classifier", form)
    add("--data", required=True, help="toxicity_dataset.jsonl")
    add(
        "--output",
        required=True,
        help="the classifier's directory; report.json there says how good it is",
    )
    add("--precision", type=float, help="the threshold is to have this precision; default: the largest F1")  # fmt: skip
    add("--seed", type=int, default=0, help="of the split (default: 0)")
    for name, saying in (("rate", "score a corpus"), ("outputs", "score what a model writes")):
        add = _command(commands, name, saying, form)
        add("--classifier", required=True, help="the directory that `train` made")
        add("--threshold", type=float, help="of 'toxic'; default: the classifier's")
        if name == "rate":
            add("--texts", action="append", required=True, help="JSON lines (.gz, .zst, .bz2) or Parquet; repeatable")  # fmt: skip
            add("--field", default="text", help="that holds a text (default: text)")
            add("--max_texts", type=int, help="the first so many; default: all")
            add("--output", help="a JSON file for the same numbers")
        else:
            add("--output_dir", required=True)
            add(
                "--answers",
                help="what a model wrote: JSON lines with 'raw'; or give --model and --prompts",
            )
            _model_arguments(commands.choices[name], required=False)
            add("--prompts", help="JSON lines with 'text'; the model goes on from each")
            add("--max_new_tokens", type=int, default=128, help="default: 128")
            add("--temperature", type=float, default=1.0, help="default: 1.0")
            add("--top_p", type=float, default=0.95, help="default: 0.95")
            add("--seed", type=int, default=0)


def _command(commands, name, saying, form):
    command = commands.add_parser(name, help=saying, description=saying, **form)
    command.set_defaults(run=name)
    return command.add_argument


def _model_arguments(command, required: bool) -> None:
    command.add_argument("--model", required=required, help="a run or Hugging Face directory")
    command.add_argument("--step", type=int, help="of a run; default: the newest")
    command.add_argument("--dtype", help="float32 or bfloat16; default: as the model says")
    command.add_argument("--batch_size", type=int, default=16, help="default: 16")
