"""Downloads a source of raw data, by the name that the manifests in data/ give it, into DIR/NAME.

    python tools/download.py --list
    python tools/download.py tokenizer_v2_2_100k
    python tools/download.py llm_jp_corpus_v3 --include='ja/ja_wiki/*'
    python tools/download.py common_crawl --crawl=CC-MAIN-2023-23 --max_files=2 --yes

Licence, home page and size are shown before the first byte is fetched. A download that broke off goes on where it was;
one that is finished is not done again. Each file is checked against its sha256; where the manifest has none, the one that
was seen is written to DIR/NAME/SHA256SUMS, and later downloads are checked against that.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", help="of the source; --list shows all")
    parser.add_argument("--list", action="store_true", help="show all sources")
    parser.add_argument("--output_dir", default="downloads", help="default: downloads")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--include", help="only files whose path matches, such as 'ja/ja_wiki/*'")
    parser.add_argument("--max_files", type=int, help="only the first so many files")
    parser.add_argument("--crawl", help="of common_crawl: its name, such as CC-MAIN-2023-23")
    parser.add_argument("--date", help="of wikipedia_*: the dump's, as YYYYMMDD")
    parser.add_argument(
        "--manifest",
        action="append",
        default=[],
        help="a TOML file of yours in place of those in data/; may be repeated",
    )
    arguments = parser.parse_args()
    with exit_on_user_error():
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    from llmjp_jax.corpus.downloads import download
    from llmjp_jax.corpus.sources import find_source, load_sources

    sources = load_sources(arguments.manifest)
    if arguments.list:
        print_list(sources.values())
        return
    if arguments.name is None:
        raise UserError("name a source, or give --list to see all of them")
    if arguments.max_files is not None and arguments.max_files < 1:
        raise UserError(f"--max_files={arguments.max_files} must be 1 or more")
    given = {name: getattr(arguments, name) for name in ("crawl", "date")}
    source = find_source(arguments.name, sources)
    source = source.with_parameters({k: v for k, v in given.items() if v is not None})
    paths = download(
        source,
        arguments.output_dir,
        confirm=lambda plan: confirmed(plan, arguments.yes),
        report=lambda line: print(line, flush=True),
        include=arguments.include,
        max_files=arguments.max_files,
    )
    print(f"{len(paths)} files in {Path(arguments.output_dir) / source.name}")


def confirmed(plan, yes: bool) -> bool:
    """Says how much is to be fetched, and asks on a terminal unless `yes`."""
    from llmjp_jax.corpus.downloads import size_in_words

    size = size_in_words(plan.known_bytes) if plan.known_bytes or not plan.unknown else ""
    unknown = f"{plan.unknown} files of unknown size" if plan.unknown else ""
    there = f" ({plan.done} are there already)" if plan.done else ""
    print(f"  to fetch: {len(plan.missing)} files{there}, {' and '.join(filter(None, [size, unknown]))}", flush=True)  # fmt: skip
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask on; give --yes to accept licence and size")
    return input("Fetch it under this licence? [y/N] ").strip().lower() in ("y", "yes")


def print_list(sources) -> None:
    from llmjp_jax.corpus.downloads import size_in_words

    rows = []
    for source in sources:
        kind = "by hand" if source.by_hand else "gated" if source.gated else ""
        size = size_in_words(source.bytes) if source.bytes is not None else kind or "size unsure"
        rows.append((source.name, size, source.licence, source.title))
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))  # fmt: skip


if __name__ == "__main__":
    main()
