"""The one kind of error that is a user's mistake, and how it suggests the nearest right name."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can mend.

    Its text is one sentence: what is wrong, where, and what to do. Commands print it without a
    traceback and exit with status 2; in a library call it is an ordinary ``ValueError``.
    """


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
