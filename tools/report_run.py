"""Says how good a run is: bits per byte of each corpus beside a unigram baseline, sampled text, and where the curve is.

  python tools/report_run.py --model_dir=runs/quickstart/model --cache_dir=runs/quickstart/cache \
      --mixture_or_task_name=quickstart

The figures are those of the last validation in MODEL_DIR/metrics.jsonl; the baseline codes every token of the validation
text by its frequency in the training text. The same is written to MODEL_DIR/report.json.
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

PROMPTS = ("私は昨日、", "I was surprised to", "import os\n\ndef ")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model_dir", required=True, help="the run")
    parser.add_argument("--cache_dir", required=True, help="its token stores")
    parser.add_argument("--mixture_or_task_name", required=True, help="its Task or Mixture")
    parser.add_argument(
        "--prompt", action="append", help=f"a text to go on from; repeat it (default: {PROMPTS})"
    )
    parser.add_argument("--max_new_tokens", type=int, default=48)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top_p", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        report(options)


def report(options: argparse.Namespace) -> None:
    model_dir = Path(options.model_dir)
    scores = _scores(model_dir, options.cache_dir, options.mixture_or_task_name)
    print("\nvalidation, bits per byte (lower is better)\n")
    print(f"  {'corpus':<24}{'this model':>12}{'unigram tokens':>16}")
    for name, score in scores.items():
        print(f"  {name:<24}{score['bits_per_byte']:>12.3f}{score['unigram_bits_per_byte']:>16.3f}")
    prompts = options.prompt or list(PROMPTS)
    texts = _continuations(options, prompts)
    print(
        f"\nsampled continuations (temperature {options.temperature:g}, top-p {options.top_p:g})\n"
    )
    for prompt, text in zip(prompts, texts, strict=True):
        print(f"  [{prompt}]{text}".replace("\n", "\n  ") + "\n")
    with atomic_write(model_dir / "report.json", "w") as file:
        samples = [{"prompt": p, "text": t} for p, t in zip(prompts, texts, strict=True)]
        json.dump({"validation": scores, "samples": samples}, file, indent=1, ensure_ascii=False)
    print(f"loss curve   {model_dir / 'loss.png'}\nmodel        {model_dir}")


def _scores(model_dir: Path, cache_dir: str, name: str) -> dict[str, dict[str, float]]:
    """The last validation of the run, with the baseline added."""
    from llmjp_jax.checkpoints import read_run
    from llmjp_jax.inputs import open_stores
    from llmjp_jax.training import read_metrics, unigram_bits_per_byte

    run = read_run(model_dir)
    validations = [r for r in read_metrics(model_dir / "metrics.jsonl") if "validation" in r]
    if not validations:
        raise UserError(f"{model_dir} has no validation yet; let its run reach its end")
    fingerprint = run["identity"]["vocabulary"]
    train = open_stores(cache_dir, name, "train", fingerprint)
    scores = validations[-1]["validation"]
    for task, store in open_stores(cache_dir, name, "validation", fingerprint).items():
        if task not in scores:
            raise UserError(
                f"{model_dir} was not validated on {task}; give the run's own --mixture_or_task_name"
            )
        scores[task]["unigram_bits_per_byte"] = unigram_bits_per_byte(
            train[task], store, run["model"]["vocab_size"]
        )
    return scores


def _continuations(options: argparse.Namespace, prompts: list[str]) -> list[str]:
    from llmjp_jax import LanguageModel

    return LanguageModel.load(options.model_dir).generate(
        prompts,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
