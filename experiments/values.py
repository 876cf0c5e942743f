"""The plain types that a field of a configuration may have: in words, from text, from JSON.

They are ``int``, ``float``, ``str``, ``bool``, ``Literal[...]``, ``tuple[X, ...]`` of any of
these, and each of them ``| None``.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Kind:
    """How the values of one type are named, read and checked.

    Attributes:
      words: the type in words, such as ``'a whole number'``.
      example: a value as one writes it on the command line.
      read: makes the value from a text of the command line; ValueError where there is none.
      accept: makes the value from one of JSON or Python (a list into a tuple, 1 into 1.0);
        ValueError where the type is another.
      choices: all the values, where they can be counted; else empty.
    """

    words: str
    example: str
    read: Callable[[str], Any]
    accept: Callable[[Any], Any]
    choices: tuple[Any, ...] = ()

    @property
    def needed(self) -> str:
        """The answer to a wrong value, such as ``'a number is needed, such as 0.01'``."""
        if self.choices:
            return f"choose {self.words}"
        return f"{self.words} is needed, such as {self.example}"


def kind_of(annotation: Any) -> Kind:
    """The kind of a type annotation.

    Raises:
      TypeError: a configuration cannot have a field of this type.
    """
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return _one_of(arguments)
    if origin is tuple and arguments[1:] == (...,):
        return _several(kind_of(arguments[0]))
    if origin in (typing.Union, types.UnionType) and arguments[1:] == (types.NoneType,):
        return _optional(kind_of(arguments[0]))
    raise TypeError(f"{annotation} is not a type that a field of a configuration can have")


def shown(value: Any) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(shown, value)) or "()"
    return "''" if value == "" else str(value)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _read_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = _finite(text)  # 1e3 is how many people write a thousand
        if not number.is_integer():
            raise
        return int(number)


def _read_bool(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise ValueError
    return values[text.lower()]


def _instance_of(*types_: type) -> Callable[[Any], Any]:
    def accept(value: Any) -> Any:
        # A bool is an int to Python, but True is no batch size.
        if not isinstance(value, types_) or (isinstance(value, bool) and bool not in types_):
            raise ValueError
        return value

    return accept


def _one_of(values: tuple[Any, ...]) -> Kind:
    texts = [shown(value) for value in values]
    typed = [(type(value), value) for value in values]
    return Kind(
        words=f"one of {', '.join(texts)}",
        example=texts[0],
        read=lambda text: values[texts.index(text)],
        accept=lambda given: values[typed.index((type(given), given))],
        choices=values,
    )


def _several(item: Kind) -> Kind:
    def read(text: str) -> tuple[Any, ...]:
        inside = text.strip()
        if inside.startswith("(") and inside.endswith(")"):  # (a|b)=2 begins with one too
            inside = inside[1:-1]
        inside = inside.rstrip(", ")
        return tuple(item.read(part.strip().strip("'\"")) for part in inside.split(",") if inside)

    def accept(given: Any) -> tuple[Any, ...]:
        if not isinstance(given, list | tuple):
            raise ValueError
        return tuple(map(item.accept, given))

    words = f"a list of {item.words.removeprefix('a ')}s"
    return Kind(words, f"{item.example},{item.example}", read, accept)


def _optional(kind: Kind) -> Kind:
    return Kind(
        words=f"{kind.words}{', ' if kind.choices else ' or '}None",
        example=kind.example,
        read=lambda text: None if text.lower() == "none" else kind.read(text),
        accept=lambda given: None if given is None else kind.accept(given),
        choices=kind.choices and (*kind.choices, None),
    )


_PLAIN: dict[Any, Kind] = {
    int: Kind("a whole number", "100", _read_int, _instance_of(int)),
    float: Kind("a number", "0.01", _finite, lambda v: _finite(_instance_of(int, float)(v))),
    bool: Kind("one of True, False", "True", _read_bool, _instance_of(bool), (True, False)),
    str: Kind("a text", "name", str, _instance_of(str)),
}
