"""A summary as text."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jaxcnn.inspection.tables import table

if TYPE_CHECKING:
    from jaxcnn.inspection.summary import Layer, Summary

MEGABYTE = 2**20


def summary_text(summary: "Summary") -> str:
    """A table of the layers, and the totals under it; MB are 2^20 bytes."""
    head = ["layer", "kind", "output", "parameters", "not trained", "multiply-adds"]
    head += ["MB", "sees", "stride", "offset"]
    rows = [head, *(_cells(layer, summary.batch_size) for layer in summary.layers)]
    sizes = (summary.input_bytes, summary.activation_bytes, summary.parameter_bytes)
    read, kept, held, total = (f"{of / MEGABYTE:,.2f} MB" for of in (*sizes, summary.total_bytes))
    lines = [
        f"{summary.name} on images of {times(summary.image_shape)}",
        "",
        table(rows, words=(0, 1, 2)),
        "",
        f"parameters     {summary.parameters:,} trained, {summary.not_trained:,} not",
        f"multiply-adds  {summary.multiply_adds:,} an image",
        f"memory         {total} for a batch of {summary.batch_size}: input {read}, forward and "
        f"backward {kept}, parameters {held}",
    ]
    if any(layer.training_only for layer in summary.layers):
        lines.append("A layer marked * is computed in training alone.")
    return "\n".join(lines)


def _cells(layer: "Layer", batch_size: int) -> list[str]:
    field = ["-"] * 3
    if layer.field is not None:
        field = [_pair(of) for of in layer.field]
        if not any(layer.field.stride):
            field[1] = "-"  # all units see the same
    return [
        layer.name,
        layer.kind + " *" * layer.training_only,
        times(layer.output_shape),
        *(f"{n:,}" if n else "-" for n in (layer.parameters, layer.not_trained)),
        f"{layer.multiply_adds:,}" if layer.multiply_adds else "-",
        f"{batch_size * layer.output_bytes / MEGABYTE:,.2f}",
        *field,
    ]


def _pair(of: tuple[float, float]) -> str:
    rows, columns = (f"{number:g}" for number in of)
    return rows if rows == columns else f"{rows} x {columns}"


def times(shape: Iterable[int]) -> str:
    """A shape in words, such as '224 x 224 x 3'."""
    return " x ".join(map(str, shape))
