"""Why a file of weights is not read."""


class Refusal(Exception):  # noqa: N818 - it is the answer to a file, not a fault of ours
    """The end of a sentence that begins with the file's name, such as ``'is empty; ...'``."""


def damaged(what: str) -> Refusal:
    """A refusal of a file in which ``what`` shows that it is not as it was written."""
    return Refusal(f"{what}: it is cut short or damaged, download or copy it again.")


def shown(text: str) -> str:
    """A name out of a file, which may be anything, fit to be printed: escaped, and cut short."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return f"'{escaped}'" if len(escaped) <= 80 else f"'{escaped[:77]}...'"
