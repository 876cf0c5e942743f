"""A reader of pickles that cannot run code.

Python's own ``pickle`` calls whatever a file names, and forbidding names is not enough: the same
machine sets attributes, allocates what a length field says and hashes what it is given. This one
knows only the instructions by which weights are described (``pickletools`` defines them all), keeps
to plain dicts, lists, tuples, strings and numbers, and hands the few calls that describe tensors to
its caller as a name and a tuple. Nothing here recurses, and no instruction makes more than its own
bytes say.
"""

import pickle
import pickletools
import struct
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from jaxcnn.pretrained.refusal import Refusal, damaged, shown

# Larger keys could be chosen to share one hash, and a dict of them would never be filled.
_LARGEST_KEY = 2**60
_ORDERED_DICT = "collections.OrderedDict"


@dataclass(frozen=True)
class Named:
    """What stands for a class or a function that a pickle names: its name, and nothing else."""

    name: str


@dataclass
class PickleReader:
    """Reads the pickles that stand one after another in ``data``.

    Attributes:
      data: bytes that hold whole pickles from ``position`` on.
      allowed: the dotted names that a pickle may name besides ``collections.OrderedDict``.
      call: what a call of an allowed name with some arguments stands for.
      persistent: what a persistent id stands for.
      position: where the next pickle begins.
    """

    data: bytes
    allowed: Set[str]
    call: Callable[[str, tuple[Any, ...]], object]
    persistent: Callable[[object], object]
    position: int = 0
    _stack: list[Any] = field(default_factory=list)
    _below_marks: list[list[Any]] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)

    def read(self) -> object:
        """The object that the next pickle describes, its ordered dicts as plain ones.

        Raises:
          EOFError: ``data`` ends before the pickle does.
          Refusal: the pickle is damaged, asks for a name that is not allowed, or holds an
            instruction that describing weights does not need.
        """
        self._stack, self._below_marks, self._memo = [], [], {}
        try:
            while (instruction := self._take(1)) != pickle.STOP:
                self._step(instruction)
            return self._stack.pop()
        except (IndexError, KeyError, ValueError) as error:
            raise damaged("describes its tensors as no pickle does") from error

    def _step(self, instruction: bytes) -> None:
        push = self._stack.append
        match instruction:
            case pickle.BINPUT:
                self._memo[self._number("<B")] = self._stack[-1]
            case pickle.LONG_BINPUT:
                self._memo[self._number("<I")] = self._stack[-1]
            case pickle.MEMOIZE:
                self._memo[len(self._memo)] = self._stack[-1]
            case pickle.BINGET:
                push(self._memo[self._number("<B")])
            case pickle.LONG_BINGET:
                push(self._memo[self._number("<I")])
            case pickle.BINUNICODE:
                push(self._text(self._number("<I")))
            case pickle.SHORT_BINUNICODE | pickle.SHORT_BINSTRING:
                push(self._text(self._number("<B")))
            case pickle.BININT1:
                push(self._number("<B"))
            case pickle.BININT2:
                push(self._number("<H"))
            case pickle.BININT:
                push(self._number("<i"))
            case pickle.LONG1:
                push(int.from_bytes(self._take(self._number("<B")), "little", signed=True))
            case pickle.BINFLOAT:
                push(struct.unpack(">d", self._take(8))[0])
            case pickle.NONE:
                push(None)
            case pickle.NEWTRUE:
                push(True)
            case pickle.NEWFALSE:
                push(False)
            case pickle.MARK:
                self._below_marks.append(self._stack)
                self._stack = []
            case pickle.EMPTY_TUPLE:
                push(())
            case pickle.TUPLE1 | pickle.TUPLE2 | pickle.TUPLE3:
                length = 1 + instruction[0] - pickle.TUPLE1[0]
                items = [self._stack.pop() for _ in range(length)]
                push(tuple(reversed(items)))
            case pickle.TUPLE:
                items = self._above_mark()
                self._stack.append(tuple(items))
            case pickle.EMPTY_LIST:
                push([])
            case pickle.APPEND:
                item = self._stack.pop()
                self._last_list().append(item)
            case pickle.APPENDS:
                items = self._above_mark()
                self._last_list().extend(items)
            case pickle.EMPTY_DICT:
                push({})
            case pickle.SETITEM:
                value, key = self._stack.pop(), self._stack.pop()
                self._last_dict().update(_entries([(key, value)]))
            case pickle.SETITEMS:
                items = self._above_mark()
                self._last_dict().update(_entries(zip(items[::2], items[1::2], strict=True)))
            case pickle.GLOBAL:
                module, name = self._line(), self._line()
                push(self._named(f"{module}.{name}"))
            case pickle.STACK_GLOBAL:
                name, module = self._stack.pop(), self._stack.pop()
                if type(module) is not str or type(name) is not str:
                    raise damaged("names something by what is no name")
                push(self._named(f"{module}.{name}"))
            case pickle.REDUCE:
                arguments, function = self._stack.pop(), self._stack.pop()
                push(self._called(function, arguments))
            case pickle.BUILD:  # the attributes that PyTorch hangs on a state dict are not weights
                self._stack.pop()
                self._last_dict()
            case pickle.BINPERSID:
                push(self.persistent(self._stack.pop()))
            case pickle.PROTO:
                self._take(1)
            case pickle.FRAME:
                self._take(8)
            case _:
                names = {each.code: each.name for each in pickletools.opcodes}
                name = names.get(instruction.decode("latin-1"), f"0x{instruction.hex()}")
                raise Refusal(
                    f"holds the pickle instruction {name}, which describing weights does not "
                    "need; it is not read, for it could run code."
                )

    def _take(self, length: int) -> bytes:
        taken = self.data[self.position : self.position + length]
        if len(taken) < length:
            raise EOFError("the data ends within a pickle")
        self.position += length
        return taken

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _text(self, length: int) -> str:
        return self._take(length).decode()

    def _line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 256)
        line = self._take(end - self.position + 1 if end >= 0 else 256)
        return line.decode().removesuffix("\n")

    def _above_mark(self) -> list[Any]:
        above, self._stack = self._stack, self._below_marks.pop()
        return above

    def _last_list(self) -> list[Any]:
        if type(self._stack[-1]) is not list:
            raise Refusal("appends to what is no list; it is not read, for it could run code.")
        return self._stack[-1]

    def _last_dict(self) -> dict[Any, Any]:
        if type(self._stack[-1]) is not dict:
            raise Refusal("changes what is no dict; it is not read, for it could run code.")
        return self._stack[-1]

    def _named(self, name: str) -> Named:
        if name != _ORDERED_DICT and name not in self.allowed:
            raise Refusal(
                f"names {shown(name)}, which describing weights does not need; it is not read, for "
                "it could run code: save the model's state_dict() alone."
            )
        return Named(name)

    def _called(self, function: object, arguments: object) -> object:
        if not isinstance(function, Named) or type(arguments) is not tuple:
            raise Refusal("calls what is no function; it is not read, for it could run code.")
        if function.name != _ORDERED_DICT:
            return self.call(function.name, arguments)
        match arguments:
            case ():
                return {}
            case (list(pairs),) if all(type(pair) in (list, tuple) for pair in pairs):
                return _entries(pairs)  # as Python 2 wrote it
        raise damaged(f"calls {_ORDERED_DICT} with what it does not take")


def _entries(pairs: Iterable[Sequence[Any]]) -> dict[Any, Any]:
    entries = {}
    for key, value in pairs:
        if not (type(key) is str or (type(key) is int and abs(key) < _LARGEST_KEY)):
            raise Refusal(
                f"holds a dict with a key of type {type(key).__name__} where weights have names: "
                "save the model's state_dict() alone."
            )
        entries[key] = value
    return entries
