"""Whether a value from gin is of the type that a parameter declares: a bare word is a string, so a mistyped number is too."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    types.NoneType: "None",
}


def wanted(function: Callable, name: str, value: Any) -> str | None:
    """None if `value` fits the annotation of a parameter; else what the parameter wants, in words.

    Annotations that cannot be evaluated, and those of containers' contents, are not looked at.
    """
    hint = _hint(function, name)
    return None if _fits(value, hint) else " or ".join(dict.fromkeys(_words(hint)))


def _hint(function: Callable, name: str) -> Any:
    owner = function
    if inspect.isclass(function):
        owner = next(
            (c for c in function.__mro__ if name in getattr(c, "__annotations__", {})), None
        )
        owner = owner or function.__init__
    annotation = getattr(owner, "__annotations__", {}).get(name, Any)
    if not isinstance(annotation, str):
        return annotation
    module = inspect.getmodule(owner)
    try:
        return eval(annotation, vars(module) if module else {})  # the source's own words
    except (NameError, AttributeError, TypeError):
        return Any


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if hint is Any or origin is typing.Literal:
        return True  # of a Literal, the class itself says what the choices are
    if hint is None:
        return value is None
    if hint in (int, float):
        allowed = (int, float) if hint is float else int
        return isinstance(value, allowed) and not isinstance(value, bool)
    kind = origin or hint
    return isinstance(value, kind) if inspect.isclass(kind) else True


def _words(hint: Any) -> list[str]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [word for option in typing.get_args(hint) for word in _words(option)]
    hint = types.NoneType if hint is None else hint
    return [_WORDS.get(hint) or f"a {(typing.get_origin(hint) or hint).__name__}"]
