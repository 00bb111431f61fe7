"""From gin bindings to the keyword arguments of one function: all checked first, then built, then shown as gin text.

Bindings are followed from the function through references and macros. What cannot be reached that way would never
have an effect, and is refused; so is what is needed and missing. Reading the files is `gin_files.py`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any, NamedTuple

import gin
from gin import config, config_parser

from llmjp_jax.errors import UserError
from llmjp_jax.gin_files import GinFiles, Key, nearest

# The entry's parameter that the launcher fills with the `OperativeConfig`.
OPERATIVE_CONFIG = "operative_config"


class Change(NamedTuple):
    """A binding whose effective value differs; `before` and `after` are gin values, or 'not set'."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name}: {self.before} -> {self.after}"


class OperativeConfig(NamedTuple):
    """Everything that configures a run, defaults included, as a gin file that gives the same run."""

    text: str

    @property
    def bindings(self) -> dict[str, str]:
        """Full name of each parameter -> its value as gin text, macros replaced by what they stand for."""
        return effective_bindings(self.text)

    def changes_since(self, old_text: str) -> list[Change]:
        """What differs from an earlier run's text; macros count only by what they change."""
        return diff(old_text, self.text)


def diff(old_text: str, new_text: str) -> list[Change]:
    """The parameters whose effective values differ between two gin texts, by name."""
    old, new = effective_bindings(old_text), effective_bindings(new_text)
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return [Change(name, old.get(name, "not set"), new.get(name, "not set")) for name in names]


class Arguments:
    """The keyword arguments that gin files give to the function at the dotted path `entry`.

    Raises:
      UserError: a required macro or argument that is missing, a macro that nothing defines, a binding that nothing
        uses; each with its place and the nearest valid name.
    """

    def __init__(self, entry: str, files: GinFiles):
        module, _, name = entry.rpartition(".")
        self.function = getattr(importlib.import_module(module), name)
        self._files = files
        self._entry = files.configurable(module, name)
        self._live: set[Key] = set()  # bindings that reach the function
        self._reached: set[Key] = (
            set()
        )  # and those that would, had no later binding replaced a value
        self._calls: dict[tuple[str, str], config.Configurable] = {}
        self._required: dict[str, str] = {}  # macro or parameter -> place that requires it
        self._problems: list[str] = []

    def read_flag(self, binding: str, flag: str) -> None:
        self._files.read_flag(binding, flag)

    def check(self) -> None:
        """Follows every reference without calling anything."""
        self._visit(self._entry, (), True, True, "the command", ())
        reserved = [
            key for key in self._live if key[1:] == (self._entry.selector, OPERATIVE_CONFIG)
        ]
        for key in reserved:
            origin = self._files.origins[key]
            raise UserError(
                f"{origin.place}: {origin.written} is filled by the launcher; remove it"
            )
        if self._required:
            raise UserError(self._required_sentence())
        for problem in self._problems:
            raise UserError(problem)
        for key, origin in self._files.origins.items():
            used = self._live if origin.from_flag else self._reached
            if key not in used:
                near = nearest(origin.written, self._settable(key))
                raise UserError(f"{origin.place} sets {origin.written}, which nothing uses{near}")

    def build(self) -> dict[str, Any]:
        """The keyword arguments, with `@references()` called and macros replaced; call `check` first."""
        try:
            return gin.get_bindings(self.function)
        except UserError as error:
            raise UserError(self._with_places(str(error))) from None

    def operative_config(self) -> OperativeConfig:
        """What `build` uses and the defaults beside it; reading the text again gives the same text."""
        table: dict[tuple[str, str], dict[str, Any]] = {}
        for key in self._live:
            table.setdefault(key[:2], {})[key.name] = config._CONFIG[key[:2]][key.name]
        for (_, selector), configurable in self._calls.items():
            defaults = table.setdefault(("", selector), {})
            for parameter in _parameters(configurable.wrapped):
                if parameter.default is not parameter.empty:
                    defaults.setdefault(parameter.name, parameter.default)
        table.get(("", self._entry.selector), {}).pop(OPERATIVE_CONFIG, None)
        return OperativeConfig(config._config_str(table))

    def _visit(
        self, found, scope: tuple, called: bool, live: bool, place: str, path: tuple
    ) -> None:
        """Marks the bindings of one function in one scope, and follows the references in their values."""
        if (scope, found.selector) in path:
            chain = " -> ".join("/".join(where) or selector for where, selector in path)
            raise UserError(f"{place}: the macros and references go round in a circle: {chain}")
        path = (*path, (scope, found.selector))
        bound: dict[str, Key] = {}
        for depth in range(len(scope) + 1):
            at = ("/".join(scope[:depth]), found.selector)
            for name in config._CONFIG.get(at, {}):
                if name in bound:
                    self._reached.add(bound[name])
                    self._follow(bound[name], scope, False, path)
                bound[name] = Key(*at, name)
        for key in bound.values():
            self._reached.add(key)
            if live:
                self._live.add(key)
            self._follow(key, scope, live, path)
        if not live:
            return
        if found.wrapped is config.macro:
            if not bound:
                self._undefined("/".join(scope), place)
            return
        if found.wrapped is not config._retrieve_constant:
            self._calls["/".join(scope), found.selector] = found
        if called:
            missing = [
                parameter.name
                for parameter in _parameters(found.wrapped)
                if parameter.default is parameter.empty and parameter.name not in bound
            ]
            if missing:
                names = " and ".join(f"{_short(found)}.{name}" for name in missing)
                self._problems.append(
                    f"{names} {'is' if len(missing) == 1 else 'are'} not set, and {place} needs"
                    f" {'it' if len(missing) == 1 else 'them'}; add `{_short(found)}.{missing[0]} = ...`"
                    " to a gin file"
                )

    def _follow(self, key: Key, scope: tuple, live: bool, path: tuple) -> None:
        value = config._CONFIG[key[:2]][key.name]
        place = self._files.origins[key].place
        for reference in config.iterate_references([value]):
            self._follow_reference(reference, key, scope, live, place, path)
        for old in self._files.superseded.get(key, []):
            for reference in config.iterate_references([old]):
                self._follow_reference(reference, key, scope, False, place, path)

    def _follow_reference(self, reference, key, scope, live, place, path) -> None:
        inner = tuple(reference.scopes) or scope
        if reference.configurable.wrapped is config._retrieve_constant:
            if live and reference.scopes == ["gin.REQUIRED"]:
                self._required[self._files.origins[key].written] = place
            return
        self._visit(reference.configurable, inner, reference.evaluate, live, place, path)

    def _undefined(self, macro: str, place: str) -> None:
        defined = [key.scope for key in self._files.origins if key.selector == "gin.macro"]
        near = nearest(macro, defined)
        self._problems.append(
            f"{place} uses %{macro}, which nothing defines{near or f'; give --gin.{macro}=...'}"
        )

    def _required_sentence(self) -> str:
        names = list(self._required)
        unused = [
            origin
            for key, origin in self._files.origins.items()
            if key not in self._reached and nearest(origin.written, names)
        ]
        places = ", ".join(dict.fromkeys(self._required.values()))
        flags = " ".join(f"--gin.{name}=..." for name in names)
        verb = "is" if len(names) == 1 else "are"
        hint = f" ({unused[0].place} sets {unused[0].written}: misspelt?)" if unused else ""
        return f"{' and '.join(names)} {verb} required by {places} and not set; give {flags}{hint}"

    def _settable(self, key: Key) -> list[str]:
        """Names that a binding could have had: macros in use for a macro, parameters of what is called otherwise."""
        if key.selector == "gin.macro":
            return [used.scope for used in self._live if used.selector == "gin.macro"]
        return [
            "/".join(filter(None, [scope, f"{_short(found)}.{parameter.name}"]))
            for (scope, _), found in self._calls.items()
            for parameter in _parameters(found.wrapped)
        ]

    def _with_places(self, message: str) -> str:
        """A UserError raised while building, with the places of the parameters that its sentence names."""
        sentence, _, rest = message.partition("\n")
        call = re.search(r"In call to configurable '(\w+)'", rest)
        places = {
            f"{key.name}: {self._files.origins[self._behind(key)].place}"
            for key in self._live
            if call and key.selector.endswith(f".{call[1]}")
            if re.search(rf"\b{re.escape(key.name)}\b", sentence)
        }
        return f"{sentence} ({'; '.join(sorted(places))})" if places else sentence

    def _behind(self, key: Key) -> Key:
        """The macro whose value a parameter takes, or the parameter itself."""
        value = config._CONFIG[key[:2]][key.name]
        if (
            isinstance(value, config.ConfigurableReference)
            and value.configurable.wrapped is config.macro
        ):
            return self._behind(Key("/".join(value.scopes), "gin.macro", "value"))
        return key


def _parameters(function: Any) -> list[inspect.Parameter]:
    """The parameters that a binding may set."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter for parameter in parameters if parameter.kind in kinds]


def _short(found: config.Configurable) -> str:
    return ".".join(found.selector.split(".")[-2:])


class _Text(config_parser.ParserDelegate):
    """Reads references as text, so that a gin text is read without importing anything."""

    def __init__(self, modules: dict[str, str]):
        self._modules = modules

    def configurable_reference(self, name, evaluate):
        scope, slash, selector = name.rpartition("/")
        return _Reference(f"@{scope}{slash}{_full(selector, self._modules)}{'()' * evaluate}")

    def macro(self, name):
        return _Reference(f"%{name}")


class _Reference(str):
    def __repr__(self) -> str:
        return str(self)


def _full(selector: str, modules: dict[str, str]) -> str:
    symbol, dot, rest = selector.partition(".")
    return f"{modules.get(symbol, symbol)}{dot}{rest}"


def effective_bindings(text: str) -> dict[str, str]:
    """Full name of each parameter that a gin text sets -> its value as gin text, with macros replaced."""
    modules: dict[str, str] = {}
    macros: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for statement in config_parser.ConfigParser(text, _Text(modules)):
        if isinstance(statement, config_parser.ImportStatement):
            if statement.is_from or statement.alias:
                modules[statement.bound_name()] = statement.module
        elif isinstance(statement, config_parser.BindingStatement):
            scope, selector, name, value, _ = statement
            prefix = f"{scope}/" if scope else ""
            if name:
                values[f"{prefix}{_full(selector, modules)}.{name}"] = value
            else:
                macros[f"{prefix}{selector}"] = value
    return {name: repr(_expand(value, macros)) for name, value in values.items()}


def _expand(value: Any, macros: dict[str, Any]) -> Any:
    if isinstance(value, _Reference) and value.startswith("%") and value[1:] in macros:
        return _expand(macros[value[1:]], macros)
    if isinstance(value, dict):
        return {_expand(key, macros): _expand(item, macros) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_expand(item, macros) for item in value)
    return value
