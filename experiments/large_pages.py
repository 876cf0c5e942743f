"""Commands start with their memory in large pages: on CPU a step is then a fifth faster and more.

What a step needs besides its arguments, hundreds of megabytes, XLA takes from the C library and
gives back each time, and Linux hands it out anew page by page: in pages of 4 KiB a quarter of a
million times a step in ResNet-50. glibc asks for large pages where its tunable
``glibc.malloc.hugetlb`` is 1, which it reads when a process starts and at no other time.
"""

import os
import sys
from pathlib import Path

_VARIABLE, _TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def start_in_large_pages() -> None:
    """Starts this command anew with glibc's tunable, where that is of use and nobody has set it.

    Only a command that begins, by ``python -m experiments.NAME``, is: whoever imports this package
    goes on undisturbed.
    """
    # So it is called while Python still looks for the module that -m names.
    beginning = sys.argv[:1] == ["-m"]
    chosen = _TUNABLE in os.environ.get(_VARIABLE, "")
    if beginning and not chosen and _of_use():
        environment = {**os.environ, **tunables(large_pages=True)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def tunables(*, large_pages: bool) -> dict[str, str]:
    """The variable of glibc's tunables as it is here, but with large pages or without."""
    here = os.environ.get(_VARIABLE, "").split(":")
    others = [each for each in here if each and not each.startswith(_TUNABLE)]
    return {_VARIABLE: ":".join([*others, f"{_TUNABLE}={int(large_pages)}"])}


def _of_use() -> bool:
    """Whether this glibc has the tunable, and Linux gives large pages to those who ask alone."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        enabled = _ENABLED.read_text()
    except (OSError, ValueError, AttributeError):  # not Linux, or not glibc
        return False
    new_enough = name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    return new_enough and "[madvise]" in enabled
