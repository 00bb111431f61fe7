"""From gin bindings to the keyword arguments of one function: all checked first, then built, then shown as gin text.

Bindings are followed from the function through references and macros. What cannot be reached that way would never
have an effect, and is refused; so is what is needed and missing. Reading the files is `gin_files.py`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from gin import config

from llmjp_jax.errors import UserError
from llmjp_jax.gin_files import GinFiles, Key, nearest
from llmjp_jax.gin_types import wanted

# The entry's parameter that the launcher fills with the text of `operative_config`.
OPERATIVE_CONFIG = "operative_config"


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
        self._table: dict[
            tuple[str, str], dict[str, Any]
        ] = {}  # a copy of gin's, which others clear
        self._live: set[Key] = set()  # bindings that reach the function
        self._reached: set[Key] = (
            set()
        )  # and those that would, had no later binding replaced a value
        self._calls: dict[tuple[str, str], config.Configurable] = {}
        self._required: dict[str, str] = {}  # macro or parameter -> place that requires it
        self._problems: list[str] = []

    def read_flag(self, binding: str, flag: str) -> None:
        self._files.read_flag(binding, flag)

    def spare(self, parameter: str, macro: str, place: str) -> None:
        """Gives a parameter of the entry some text where its macro, or the parameter itself, is still to be set."""
        key = Key(macro, "gin.macro", "value")
        value = config._CONFIG.get(key[:2], {}).get(key.name)
        if any(found.scopes == ["gin.REQUIRED"] for found in config.iterate_references([value])):
            self.read_flag(f"{macro} = 'unneeded'", place)
        elif not any(key[1:] == (self._entry.selector, parameter) for key in self._files.origins):
            name = f"{self._entry.selector.rpartition('.')[2]}.{parameter}"
            self.read_flag(f"{name} = 'unneeded'", place)

    def check(self) -> None:
        """Follows every reference without calling anything."""
        self._table = {at: dict(values) for at, values in config._CONFIG.items()}
        self._visit(self._entry, (), True, True, "", ())
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
        return self._keywords(self._entry, ())

    def operative_config(self) -> str:
        """What `build` uses and the defaults beside it, as a gin file; reading it again gives the same text."""
        table: dict[tuple[str, str], dict[str, Any]] = {}
        for key in self._live:
            table.setdefault(key[:2], {})[key.name] = self._table[key[:2]][key.name]
        for (_, selector), configurable in self._calls.items():
            defaults = table.setdefault(("", selector), {})
            for parameter in _parameters(configurable.wrapped):
                if parameter.default is not parameter.empty:
                    defaults.setdefault(parameter.name, parameter.default)
        table.get(("", self._entry.selector), {}).pop(OPERATIVE_CONFIG, None)
        return config._config_str(table)

    def _visit(
        self, found, scope: tuple, called: bool, live: bool, place: str, path: tuple
    ) -> None:
        """Marks the bindings of one function in one scope, and follows the references in their values."""
        if (scope, found.selector) in path:
            if not live:
                return
            chain = " -> ".join("/".join(where) or selector for where, selector in path)
            raise UserError(f"{place}: the macros and references go round in a circle: {chain}")
        path = (*path, (scope, found.selector))
        bound = self._bound(found, scope)
        for keys in bound.values():
            for key in keys[:-1]:
                self._reached.add(key)
                self._follow(key, scope, False, path)
            self._reached.add(keys[-1])
            if live:
                self._live.add(keys[-1])
            self._follow(keys[-1], scope, live, path)
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
                where = f"{place}: " if place else ""
                self._problems.append(
                    f"{where}{_short(found)} needs {_listed(missing)}; add"
                    f" `{_short(found)}.{missing[0]} = ...` to a gin file"
                )

    def _follow(self, key: Key, scope: tuple, live: bool, path: tuple) -> None:
        value = self._table[key[:2]][key.name]
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
        return f"{_listed(names)} {verb} required by {places} and not set; give {flags}{hint}"

    def _settable(self, key: Key) -> list[str]:
        """Names that a binding could have had: macros in use for a macro, parameters of what is called otherwise."""
        if key.selector == "gin.macro":
            return [used.scope for used in self._live if used.selector == "gin.macro"]
        return [
            "/".join(filter(None, [scope, f"{_short(found)}.{parameter.name}"]))
            for (scope, _), found in self._calls.items()
            for parameter in _parameters(found.wrapped)
        ]

    def _bound(self, found: config.Configurable, scope: tuple) -> dict[str, list[Key]]:
        """The bindings of each parameter in a scope, outermost first; the last one holds."""
        bound: dict[str, list[Key]] = {}
        for depth in range(len(scope) + 1):
            at = ("/".join(scope[:depth]), found.selector)
            for name in self._table.get(at, {}):
                bound.setdefault(name, []).append(Key(*at, name))
        return bound

    def _keywords(self, found: config.Configurable, scope: tuple) -> dict[str, Any]:
        keywords = {}
        for name, keys in self._bound(found, scope).items():
            value = keywords[name] = self._value(self._table[keys[-1][:2]][name], scope)
            words = wanted(found.wrapped, name, value)
            if words is not None:
                place = self._files.origins[self._behind(keys[-1])].place
                raise UserError(f"{place}: {_short(found)}.{name} = {value!r} must be {words}")
        return keywords

    def _value(self, value: Any, scope: tuple) -> Any:
        """A binding's value, with every reference in it called or configured, and every macro replaced."""
        if isinstance(value, config.ConfigurableReference):
            found, inner = value.configurable, tuple(value.scopes) or scope
            if found.wrapped is config.macro:
                return self._keywords(found, inner)["value"]
            return self._call(found, inner) if value.evaluate else self._configured(found, inner)
        if isinstance(value, dict):
            return {self._value(k, scope): self._value(v, scope) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._value(item, scope) for item in value)
        return value

    def _call(self, found: config.Configurable, scope: tuple) -> Any:
        keywords = self._keywords(found, scope)
        try:
            return found.wrapped(**keywords)
        except UserError as error:
            raise UserError(f"{error}{self._places(found, scope, str(error))}") from error

    def _configured(self, found: config.Configurable, scope: tuple) -> Callable[..., Any]:
        """A function that takes from gin what its caller does not give; built anew at each call."""
        function = found.wrapped
        if not self._bound(found, scope):
            return function

        @functools.wraps(function, updated=())
        def configured(*args, **kwargs):
            given = inspect.signature(function).bind_partial(*args, **kwargs).arguments
            keywords = self._keywords(found, scope)
            ours = {name: value for name, value in keywords.items() if name not in given}
            return function(*args, **ours, **kwargs)

        return configured

    def _places(self, found: config.Configurable, scope: tuple, sentence: str) -> str:
        """Where the parameters that a sentence names were set, in brackets."""
        places = [
            f"{name}: {self._files.origins[self._behind(keys[-1])].place}"
            for name, keys in self._bound(found, scope).items()
            if re.search(rf"\b{re.escape(name)}\b", sentence)
        ]
        return f" ({'; '.join(places)})" if places else ""

    def _behind(self, key: Key) -> Key:
        """The macro whose value a parameter takes, or the parameter itself."""
        value = self._table[key[:2]][key.name]
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


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _short(found: config.Configurable) -> str:
    return ".".join(found.selector.split(".")[-2:])
