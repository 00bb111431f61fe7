"""The gin text that says everything about a run, and what differs between two of them.

A run saves the text, and compares it when it is started again. Reading it imports nothing that it names. How the text
comes about is `gin_arguments.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gin import config_parser


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
