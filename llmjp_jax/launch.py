"""Starts a command from gin files: t5x's flags, --dry_run, several processes, and an exit that always comes.

A launcher module calls `run` with the dotted path of the function that does the work. Nothing heavy is imported
before the flags are parsed, so that --help answers at once. What bindings mean is `gin_files.py` and
`gin_arguments.py`; what the command does is none of this file's business.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import inspect
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from llmjp_jax.errors import UserError, exit_on_user_error

if TYPE_CHECKING:
    from llmjp_jax.gin_arguments import Arguments

# How long threads that are still busy may delay the exit of a command that failed.
GRACE_SECONDS = 30.0

_TRAIN_MACROS = {"MODEL_DIR": "runs/first"}

_SPELLINGS = {"true": "True", "false": "False", "none": "None", "null": "None"}


def run(
    entry: str,
    argv: Sequence[str] | None = None,
    *,
    description: str,
    example: str,
    macros: Mapping[str, str] = _TRAIN_MACROS,
    dry_run: str | None = None,
    processes: bool = True,
) -> Any:
    """Parses the flags, builds the keyword arguments of `entry` from gin, checks them all, and calls it.

    `entry` and `dry_run` are dotted paths of functions; with --dry_run the second is called, with the same keyword
    arguments, in place of the first. A parameter `operative_config` of either is filled with
    the gin text of everything that configures the run, defaults included, for it to save.

    Args:
      argv: the flags; None takes the command line's, and makes sure that the process ends when the command fails,
        whatever threads it leaves.
      example: a gin file to name where the user gave none. macros: those that it needs, for the example in --help.
      processes: take the flags of a command that runs as several processes.

    Returns:
      What the function returns. A `UserError` prints `error: ...` and exits 2.
    """
    try:
        with exit_on_user_error():
            given = sys.argv[1:] if argv is None else argv
            flags = parse_flags(given, description, example, dry_run, macros, processes)
            return _run(entry, flags, dry_run)
    except BaseException:
        if argv is None:
            _end_within(GRACE_SECONDS)
        raise


def _run(entry: str, flags: argparse.Namespace, dry_run: str | None) -> Any:
    from llmjp_jax.gin_arguments import OPERATIVE_CONFIG

    arguments = read_arguments(entry, flags)
    function = arguments.function
    if flags.dry_run:
        function = _function(dry_run)
    else:
        _connect(flags)
    keywords = arguments.build()
    if OPERATIVE_CONFIG in inspect.signature(function).parameters:
        keywords[OPERATIVE_CONFIG] = arguments.operative_config()
    return function(**keywords)


def read_arguments(
    entry: str, flags: argparse.Namespace, unneeded: Mapping[str, str] | None = None
) -> Arguments:
    """The checked arguments that the flags' gin files and bindings give to the function at the dotted path `entry`.

    Args:
      flags: of `parse_flags`.
      unneeded: for a command that does only a part of what `entry` does: parameters that need not be given, each
        with its macro.

    Raises:
      UserError: a mistake in the files or bindings.
    """
    from llmjp_jax.gin_arguments import Arguments
    from llmjp_jax.gin_files import GinFiles

    files = GinFiles(flags.gin_search_paths.split(","))
    for name in flags.gin_file:
        files.read_file(name)
    arguments = Arguments(entry, files)
    for binding in flags.gin_bindings:
        files.read_flag(binding, flags.typed.get(binding, f"--gin_bindings={binding}"))
    for parameter, macro in (unneeded or {}).items():
        arguments.spare(parameter, macro, _program())
    arguments.check()
    return arguments


def parse_flags(
    argv: Sequence[str],
    description: str,
    example: str,
    dry_run: str | None,
    macros: Mapping[str, str] = _TRAIN_MACROS,
    processes: bool = True,
) -> argparse.Namespace:
    """The flags; `gin_bindings` are gin text in the order given, `typed` maps a text back to its --gin. flag.

    Raises:
      UserError: a flag that is unknown, incomplete or malformed.
    """
    parser = _Parser(description=description, allow_abbrev=False, prog=_program())
    shown = " ".join(f"--gin.{name}={value}" for name, value in macros.items())
    parser.epilog = f"Example: {parser.prog} --gin_file={example} {shown}"
    parser.add_argument(
        "--gin_file",
        action="append",
        default=[],
        metavar="FILE",
        help="a gin file, looked for in the search paths; repeatable, later files win",
    )
    parser.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="BINDING",
        help='a line of gin, as "train.steps = 3"; repeatable',
    )
    parser.add_argument(
        "--gin.NAME",
        metavar="VALUE",
        dest="gin_name",
        help="sets a macro or a parameter; a bare path or word is a string",
    )
    parser.add_argument(
        "--gin_search_paths",
        default=".",
        metavar="FOLDER,...",
        help="folders searched for gin files, before the repository root (default: .)",
    )
    if dry_run is not None:
        parser.add_argument(
            "--dry_run",
            nargs="?",
            const=True,
            default=False,
            type=_boolean,
            metavar="True",
            help="check the configuration and print what the run would take; nothing is written",
        )
    else:
        parser.set_defaults(dry_run=False)
    if processes:
        _add_process_flags(parser)
    typed: dict[str, str] = {}
    flags, unknown = parser.parse_known_args([_as_binding(flag, typed) for flag in argv])
    if unknown:
        parser.reject(unknown[0])
    if not flags.gin_file and not flags.gin_bindings:
        raise UserError(f"no gin file is given; add for example --gin_file={example}")
    flags.typed = typed
    if any(value is not None for value in _processes(flags).values()):
        from llmjp_jax.processes import check_flags

        check_flags(**_processes(flags))
    return flags


def _add_process_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "several processes",
        "one on each machine, or on each GPU; all are started with the same gin flags",
    )
    group.add_argument(
        "--hosts",
        metavar="HOST[:PORT],HOST,...",
        help="the machines, or @FILE with one a line; each finds itself in the list, and all meet at the first",
    )
    group.add_argument(
        "--coordinator_address",
        metavar="HOST:PORT",
        help="where process 0 meets the others; 'auto' asks the cluster (TPU pod, Slurm, Open MPI, Kubernetes)",
    )
    group.add_argument(
        "--process_count", type=int, metavar="N", help="how many processes there are"
    )
    group.add_argument("--process_index", type=int, metavar="I", help="which one this is, from 0")
    group.add_argument(
        "--initialization_timeout",
        type=int,
        metavar="SECONDS",
        help="how long to wait for the other processes (default: 300)",
    )


def _processes(flags: argparse.Namespace) -> dict[str, Any]:
    names = (
        "hosts",
        "coordinator_address",
        "process_count",
        "process_index",
        "initialization_timeout",
    )
    return {name: getattr(flags, name, None) for name in names}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the flags")

    def reject(self, flag: str) -> NoReturn:
        if not flag.startswith("-"):
            raise UserError(f"unexpected argument {flag}; flags are written --name=value")
        name = flag.partition("=")[0]
        valid = [option for option in self._option_string_actions if option.startswith("--")]
        match = difflib.get_close_matches(name.replace("-", "_").replace("__", "--", 1), valid, n=1)
        near = f"did you mean {match[0]}?" if match else "--help lists the flags"
        raise UserError(f"unknown flag {name}; {near}")


def _as_binding(flag: str, typed: dict[str, str]) -> str:
    """`--gin.NAME=VALUE` as `--gin_bindings=NAME = VALUE`; any other flag as it is."""
    if not flag.startswith("--gin."):
        return flag
    name, equals, value = flag.removeprefix("--gin.").partition("=")
    if not equals or not re.fullmatch(r"([A-Za-z_]\w*/)*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        raise UserError(f"{flag} is not of the form --gin.NAME=VALUE")
    binding = f"{name} = {quoted(value.strip(), flag)}"
    typed[binding] = flag
    return f"--gin_bindings={binding}"


def quoted(value: str, flag: str) -> str:
    """A flag's value as gin text: literals, containers, @references and %macros as they are, bare words quoted.

        256 -> 256    [1, 2] -> [1, 2]    'a b' -> 'a b'    %STEPS -> %STEPS    runs/first -> 'runs/first'

    Raises:
      UserError: an empty value, several words, or true, false, none, null, which gin spells otherwise.
    """
    name = flag.partition("=")[0]
    if not value:
        raise UserError(f"{flag} has no value; for the empty string write {name}=\"''\"")
    spelling = _SPELLINGS.get(value.lower())
    if spelling and value != spelling:
        raise UserError(
            f"{flag} is ambiguous; write {name}={spelling}, or {name}=\"'{value}'\" for the word"
        )
    try:
        ast.literal_eval(value)
        return value
    except (ValueError, SyntaxError):
        pass
    if value[0] in "[({":
        return value
    if value[0] in "@%":
        if not re.fullmatch(r"@[\w/.]+(\(\))?|%[\w/.]+", value):
            raise UserError(
                f"{flag} is neither a reference (@module.function()) nor a macro (%NAME)"
            )
        return value
    if value[0] in "'\"":
        raise UserError(f"{flag} has a quote that does not close")
    if re.search(r"\s", value):
        raise UserError(
            f"{flag} has spaces; for one string write {name}='\"{value}\"', for a list use brackets"
        )
    # No shell expands ~ behind an equals sign, and a folder named ~ is nobody's wish.
    return repr(str(Path(value).expanduser()) if value.startswith("~/") else value)


def _boolean(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{value!r} is neither True nor False")
    return value.lower() == "true"


def _connect(flags: argparse.Namespace) -> None:
    given = _processes(flags)
    if given["hosts"] is None and given["coordinator_address"] is None:
        return
    from llmjp_jax.processes import connect

    connect(**given)


def _function(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _program() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None or not spec.name.startswith("llmjp_jax"):
        return Path(sys.argv[0]).name
    return f"python -m {spec.name}"


def _end_within(seconds: float) -> None:
    """Lets the interpreter shut down, and ends the process if threads keep it from doing so."""
    error = sys.exception()
    code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
    timer = threading.Timer(seconds, os._exit, args=[code])
    timer.daemon = True
    timer.start()
