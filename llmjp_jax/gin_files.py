"""Reads gin files and flag bindings for a launcher: found by search path, each mistake one sentence with its place.

gin's parser and tables do the work, through their private names where they have no public ones (gin-config is
pinned). What gin does itself and we do not want: looking for files in Python packages first, tracebacks for a user's
mistakes, forgetting where a binding was written. What the bindings mean for a function is `gin_arguments.py`.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import pkgutil
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gin
from gin import config, config_parser

from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root


class Key(NamedTuple):
    """What a binding sets: parameter `name` of the function with gin's full `selector`, inside `scope` ('a/b')."""

    scope: str
    selector: str
    name: str


class Origin(NamedTuple):
    """A binding's name as it was written, and where: `tiny.gin line 3` or the flag itself."""

    written: str
    place: str
    from_flag: bool


class GinFiles:
    """The bindings read so far, in gin's global tables, and the place of each.

    Reading starts from an empty gin configuration. A later binding replaces an earlier one; `superseded` remembers
    the values that were replaced, so that what only they refer to is not taken for a mistake.

    Args:
      search_paths: folders searched in turn for a file's name; the repository root comes after them.

    Raises:
      UserError: a search path that is not a folder.
    """

    def __init__(self, search_paths: Sequence[str] = (".",)):
        _forget()
        folders = [Path(path or ".").expanduser() for path in search_paths]
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"--gin_search_paths names {folder}, which is not a folder")
        unique = {folder.resolve(): folder for folder in reversed([*folders, repository_root()])}
        self.folders = list(reversed(unique.values()))
        self.origins: dict[Key, Origin] = {}
        self.superseded: dict[Key, list[Any]] = {}
        self.selectors: set[str] = set()
        self._flags = _Context(self, lenient=True)
        self._open: list[Path] = []

    def read_file(self, name: str) -> None:
        """Reads a gin file and what it includes; `name` is absolute or relative to a search path."""
        path = self._find(name)
        if path.resolve() in self._open:
            raise UserError(f"{_shown(path)} includes itself")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{_shown(path)} is not a gin file: {error}") from None
        except OSError as error:
            raise UserError(f"cannot read {_shown(path)}: {error.strerror}") from None
        self._open.append(path.resolve())
        self._read(text, _Context(self), lambda line: f"{_shown(path)} line {line}")
        self._open.pop()

    def read_flag(self, binding: str, flag: str) -> None:
        """Reads one binding given on the command line as `flag`; it knows every name that the files import."""
        self._read(binding, self._flags, lambda line: flag, from_flag=True)

    def configurable(self, module: str, name: str) -> config.Configurable:
        """gin's entry for the function `name` of `module`, whether or not the files refer to it."""
        dynamic = config_parser.ImportStatement("__gin__.dynamic_registration", True, None, None)
        context = _Context(self)
        context.use(dynamic)
        context.use(config_parser.ImportStatement(module, "." in module, None, None))
        _record([dynamic])
        return context.get_configurable(f"{module.rpartition('.')[2]}.{name}")

    def _find(self, name: str) -> Path:
        wanted = Path(name).expanduser()
        candidates = [folder / wanted for folder in self.folders]
        for path in candidates:
            if path.is_file():
                return path
        near = nearest(str(wanted), _gin_files_near(wanted, self.folders))
        places = ", ".join(str(folder) for folder in self.folders)
        searched = "" if wanted.is_absolute() else f" in the search paths {places}"
        raise UserError(f"there is no gin file {name}{searched}{near}")

    def _read(self, text: str, context: _Context, place: Any, from_flag: bool = False) -> None:
        line = 1
        try:
            with _inside(context):
                parser = config_parser.ConfigParser(io.StringIO(text), config.ParserDelegate())
                for statement in parser:
                    line = statement.location.line_num
                    if isinstance(statement, config_parser.BlockDeclaration):
                        context.get_configurable(statement.selector)
                    elif isinstance(statement, config_parser.BindingStatement):
                        self._bind(statement, context, Origin("", place(line), from_flag))
                    elif isinstance(statement, config_parser.ImportStatement):
                        context.use(statement)
                        self._flags.use(statement)
                    else:
                        self.read_file(statement.filename)
                _record(context.imports)
        except _Placed:
            raise
        except SyntaxError as error:
            raise _Placed(f"{place(error.lineno or line)}: {_syntax(error)}") from None
        except tokenize.TokenError as error:
            raise _Placed(
                f"{place(error.args[1][0])}: a bracket or a quote is not closed"
            ) from None
        except UserError as error:
            # gin adds the line of a reference inside a value; a statement's own line is known here.
            sentence, _, rest = str(error).partition("\n")
            inner = re.search(r"line (\d+)\n", rest)
            raise _Placed(f"{place(int(inner[1]) if inner else line)}: {sentence}") from None

    def _bind(self, statement: config_parser.BindingStatement, context: _Context, origin: Origin):
        scope, selector, name, value, _ = statement
        written = "/".join(filter(None, [scope, ".".join(filter(None, [selector, name]))]))
        if name:
            found = context.get_configurable(selector)
            _check_parameter(found.wrapped, selector, name)
            key = Key(scope, found.selector, name)
        else:
            key = Key(written, "gin.macro", "value")
        if key in self.origins:
            self.superseded.setdefault(key, []).append(config._CONFIG[key[:2]][key.name])
        config._CONFIG.setdefault(key[:2], {})[key.name] = value
        self.origins[key] = origin._replace(written=written)


class _Placed(UserError):
    """A UserError that already names its place."""


class _Context(config.ParseContext):
    """The names that one gin file imports; the lenient one, for flags, also knows `train` for `loop.train`."""

    def __init__(self, files: GinFiles, lenient: bool = False):
        super().__init__()
        self._files = files
        self._lenient = lenient
        if lenient:
            self._enable_dynamic_registration()

    def use(self, statement: config_parser.ImportStatement) -> None:
        """Imports the module that a gin file's `import` names."""
        package, _, name = statement.module.rpartition(".")
        if statement.bound_name() == "gin":
            raise UserError("the name gin is taken; import the module under another name with `as`")
        if package != "__gin__":
            with _import_mistakes(statement):
                self.process_import(statement)
        elif name != "dynamic_registration":
            raise UserError(f"gin has no feature __gin__.{name}; it has dynamic_registration")
        elif not self._dynamic_registration:
            if self._imports:
                raise UserError("`from __gin__ import dynamic_registration` must come first")
            self.process_import(statement)

    def get_configurable(self, selector: str) -> config.Configurable:
        """gin's entry for the function or class that `selector` names here."""
        if selector in ("gin.macro", "gin.constant"):
            return config._REGISTRY[selector]
        if selector.startswith("gin."):
            raise UserError(f"{selector} is not supported; only %MACROS and %gin.REQUIRED are")
        found = None
        if self._lenient or not self._dynamic_registration:
            found = self._already_named(selector)
        if found is None:
            self._check(selector)
            found = super().get_configurable(selector)
        self._files.selectors.add(found.selector)
        return found

    def _already_named(self, selector: str) -> config.Configurable | None:
        matches = config._REGISTRY.matching_selectors(selector)
        matches = sorted(self._files.selectors.intersection(matches))
        if len(matches) > 1:
            raise UserError(f"{selector} may mean {' or '.join(matches)}; write more of its name")
        return config._REGISTRY[matches[0]] if matches else None

    def _check(self, selector: str) -> None:
        symbol, *attributes = selector.split(".")
        value = self._symbol_table.get(symbol)
        for attribute in attributes:
            value = getattr(value, attribute, None)
        if value is None:
            self._raise_unknown(selector)
        if not callable(value):
            near = nearest(selector, self._names())
            raise UserError(f"{selector} is no function or class, so it takes no bindings{near}")

    def _names(self) -> list[str]:
        names = {
            f"{symbol}.{name}"
            for symbol, module in self._symbol_table.items()
            if symbol != "gin"
            for name, value in vars(module).items()
            if callable(value) and not name.startswith("_")
        }
        if self._lenient:
            names |= {".".join(selector.split(".")[-2:]) for selector in self._files.selectors}
        return sorted(names)

    def _raise_unknown(self, selector: str):
        leaf = [name for name in self._names() if name.endswith(f".{selector}")]
        near = f"; did you mean {leaf[0]}?" if leaf else nearest(selector, self._names())
        symbols = sorted(symbol for symbol in self._symbol_table if symbol != "gin")
        if not near:
            imported = ", ".join(symbols) or "nothing"
            near = f"; imported here: {imported} (import its module first)"
        raise UserError(f"there is no function or class {selector}{near}")


def _record(imports: Iterable[config_parser.ImportStatement]) -> None:
    """Keeps one import of each module, the first: gin writes them from a set, whose order is not fixed."""
    known = {statement.module for statement in config._IMPORTS}
    for statement in imports:
        if statement.module not in known:
            config._IMPORTS.add(statement)
            known.add(statement.module)


def _forget() -> None:
    """Clears gin's tables; a name that an earlier launch imported must not stand in for a missing import."""
    gin.clear_config()
    for selector, found in list(config._REGISTRY.items()):
        if found.import_source is not None:
            config._REGISTRY.pop(selector)
            del config._INVERSE_REGISTRY[found.wrapped]


def _check_parameter(function: Any, written: str, name: str) -> None:
    if config._might_have_parameter(function, name):
        return
    valid = list(inspect.signature(function).parameters)
    near = nearest(name, valid) or f"; it has {', '.join(valid) or 'none'}"
    raise UserError(f"{written} has no parameter {name}{near}")


@contextlib.contextmanager
def _inside(context: _Context | None) -> Iterator[None]:
    # gin resolves names in the context on top of its stack.
    config._PARSE_CONTEXTS.append(context if context is not None else config.ParseContext())
    try:
        yield
    finally:
        config._PARSE_CONTEXTS.pop()


@contextlib.contextmanager
def _import_mistakes(statement: config_parser.ImportStatement) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        wanted, missing = statement.module, error.name or ""
        if missing != wanted and not wanted.startswith(f"{missing}."):
            raise UserError(
                f"importing {wanted} needs the package {missing}, which is not installed"
            ) from None
        parent, _, leaf = missing.rpartition(".")
        if hasattr(sys.modules.get(parent), leaf):
            package = parent.rpartition(".")
            line = f"from {package[0]} import {package[2]}" if package[0] else f"import {parent}"
            raise UserError(
                f"gin imports modules, and {missing} is none; write `{line}` and name {package[2]}.{leaf}"
            ) from None
        paths = getattr(sys.modules.get(parent), "__path__", None) if parent else sys.path
        modules = [module.name for module in pkgutil.iter_modules(paths or [])]
        near = nearest(leaf, modules)
        raise UserError(f"there is no module {missing}{near}") from None


def _syntax(error: SyntaxError) -> str:
    """gin's syntax errors in one line, with what to write instead for the usual ones."""
    token = re.search(r"Failed to parse token '(.*)'", error.msg)
    line = (error.text or "").strip()
    if token:
        return f"{token[1]} is not a value; quote a string, and spell True, False, None so, in `{line}`"
    if error.msg.startswith("Expected newline"):
        return (
            f"there is more than one value in `{line}`; write a list in brackets or quote a string"
        )
    reason = error.msg.splitlines()[0].rstrip(". ")
    return f"{reason}, in `{line}`" if line else reason


def _gin_files_near(wanted: Path, folders: Iterable[Path]) -> list[str]:
    near = {
        str(wanted.parent / found.name)
        for folder in folders
        for found in (folder / wanted.parent).glob("*.gin")
    }
    root = repository_root()
    near |= {str(found.relative_to(root)) for found in (root / "gin_configs").rglob("*.gin")}
    return sorted(near)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean X?` for the candidate nearest to `name`, or nothing."""
    matches = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


def _shown(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)
