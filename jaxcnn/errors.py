"""The one kind of error that is a user's mistake, and how it suggests the nearest right name."""

import difflib
import unicodedata
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can mend.

    Its text is one sentence: what is wrong, where, and what to do. Commands print it without a
    traceback and exit with status 2; in a library call it is an ordinary ``ValueError``.

    Args:
      sentence: it may quote names out of files, which hold what they like: see `printable`.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


def printable(text: str) -> str:
    """A text in one line, with nothing in it that a terminal would obey or could not write."""
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in ("Cc", "Cs")
        else letter
        for letter in " ".join(text.splitlines())
    )


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """An error for a name that does not exist, suggesting the nearest one that does.

    Args:
      kind: what the name should have named, in the reader's words, such as ``'model'``.
      name: the name given.
      known: every name that would have been right.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if nearest:
        advice = f"did you mean '{nearest[0]}'?"
    elif len(names) <= 20:
        advice = f"choose one of: {', '.join(names)}."
    else:
        advice = f"there are {len(names)}, from '{names[0]}' to '{names[-1]}'."
    return UserError(f"there is no {kind} '{name}'; {advice}")
