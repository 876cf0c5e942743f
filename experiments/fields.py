"""A tree of frozen dataclasses as a flat list of fields, and as plain dicts.

A group is a field whose type is another dataclass; every other field is of one of the plain types
of ``experiments.values``. What a field means stands in the ``Attributes:`` section of its class.
"""

import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from experiments.values import kind_of
from jaxcnn.errors import UserError, unknown_name

C = TypeVar("C")


class Field(NamedTuple):
    """One field of a configuration.

    Attributes:
      name: its dotted name, such as ``'optimizer.learning_rate'``.
      type: its annotation, resolved.
      default: its value in the configuration asked about; ``dataclasses.MISSING`` if it has none.
      help: what it means, in one line; ``''`` where the docstring says nothing.
      choices: all the values it can have, where they can be counted; else empty.
    """

    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[Any, ...] = ()


def members(config: Any) -> Iterator[Field]:
    """The fields and groups that stand directly in a dataclass or in an instance of one."""
    cls = config if isinstance(config, type) else type(config)
    annotations, meanings = typing.get_type_hints(cls), _meanings(cls)
    for field in dataclasses.fields(cls):
        default = field.default
        if config is not cls:
            default = getattr(config, field.name)
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        annotation = annotations[field.name]
        choices = () if dataclasses.is_dataclass(annotation) else kind_of(annotation).choices
        yield Field(field.name, annotation, default, meanings.get(field.name, ""), choices)


def fields_of(config: Any) -> list[Field]:
    """Every field of a tree of dataclasses, in the order of definition, groups opened.

    Args:
      config: the class, for the defaults of its fields, or an instance, for the values in it.

    Raises:
      TypeError: a field has a type that a configuration cannot have.
    """
    found = []
    for member in members(config):
        if dataclasses.is_dataclass(member.type):
            group = member.type if member.default is dataclasses.MISSING else member.default
            found += [f._replace(name=f"{member.name}.{f.name}") for f in fields_of(group)]
        else:
            found.append(member)
    return found


def replaced(config: C, name: str, value: Any) -> C:
    """A copy of a tree of dataclasses with one field, by its dotted name, set."""
    member, _, rest = name.partition(".")
    if rest:
        value = replaced(getattr(config, member), rest, value)
    return dataclasses.replace(config, **{member: value})  # type: ignore[type-var]


def undocumented(config_class: Any) -> list[str]:
    """The dotted names of the fields and groups that no ``Attributes:`` section describes."""
    missing = []
    for member in members(config_class):
        if not member.help:
            missing.append(member.name)
        if dataclasses.is_dataclass(member.type):
            missing += [f"{member.name}.{name}" for name in undocumented(member.type)]
    return missing


def to_dict(config: Any) -> Any:
    """The nested plain dict of a configuration: groups as dicts, tuples as lists."""
    if dataclasses.is_dataclass(config):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return [to_dict(item) for item in config] if isinstance(config, tuple) else config


def from_dict(cls: type[C], data: Any, *, within: str = "") -> C:
    """The configuration that ``to_dict`` made a dict of; a field left out takes its default.

    Args:
      cls: the dataclass.
      data: the nested dict.
      within: the dotted name of the group that ``data`` is, for the errors.

    Raises:
      UserError: a field does not exist, has the wrong type, or has neither value nor default.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"{within or 'configuration'}: a group of fields is needed, not {data!r}.")
    prefix = f"{within}." if within else ""
    known = {member.name: member for member in members(cls)}
    for name in data:
        if name not in known:
            raise unknown_name("field", f"{prefix}{name}", [prefix + other for other in known])
    given = {name: _value(known[name], data[name], prefix + name) for name in data}
    for name, member in known.items():
        if name not in given and member.default is dataclasses.MISSING:
            raise UserError(f"{prefix}{name} has no default; give it a value.")
    return cls(**given)


def _value(member: Field, data: Any, name: str) -> Any:
    if dataclasses.is_dataclass(member.type):
        return from_dict(typing.cast(type, member.type), data, within=name)
    kind = kind_of(member.type)
    try:
        return kind.accept(data)
    except ValueError:
        raise UserError(f"{name}: {kind.needed}; it is {data!r}.") from None


def _meanings(cls: type) -> dict[str, str]:
    """What the ``Attributes:`` sections of a class and of its bases say, by name of the field."""
    meanings = {}
    for base in reversed(cls.__mro__):
        docstring = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        indented = re.search(r"^Attributes:\n((?:[ \t].*\n|\n)*)", f"{docstring}\n", re.MULTILINE)
        section = textwrap.dedent(indented[1]) if indented else ""
        for entry in re.split(r"^(?=\w)", section, flags=re.MULTILINE):
            name, _, meaning = entry.partition(":")
            meanings[name] = " ".join(meaning.replace("`", "").split())
    return meanings
