"""Tables as text: columns of one width, words to the left and numbers to the right."""

from collections.abc import Collection, Sequence


def table(rows: Sequence[Sequence[str]], words: Collection[int] = (0,)) -> str:
    """Lines of columns two spaces apart, a rule under the first row.

    Args:
      rows: of cells, the heads of the columns first.
      words: the columns that are set to the left; all others are set to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i in words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])
