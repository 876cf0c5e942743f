"""The curves of a page: of one run all there is, of several what is compared."""

from collections.abc import Sequence

from jaxcnn.inspection.report.contents import Run
from jaxcnn.inspection.report.line_chart import Chart, Series, line_chart

_OF_STYLE_SHEET = 7  # colours for runs


def color_of(number: int) -> str:
    """That of a run, in CSS; after those of the style sheet hues far from one another."""
    if number < _OF_STYLE_SHEET:
        return f"var(--run{number})"
    return f"hsl({137.5 * number % 360:.0f} 60% 56%)"


def charts_of(runs: Sequence[Run]) -> list[Chart]:
    """Loss, accuracy and learning rate over the epochs, as far as they were recorded."""
    several = len(runs) > 1
    loss, accuracy, rate = [], [], []
    for number, run in enumerate(runs):
        of_run = color_of(number) if several else ""
        before = f"{run.name}, " if several else ""
        if not several:
            faint = ("training, some steps", "var(--faint)", "faint")
            loss.append(Series(*faint, _points(run, "train", "loss")))
            accuracy.append(Series(*faint, _points(run, "train", "accuracy", 100)))
        for kind, words, style, color in (
            ("epoch", "training", "dashed", of_run or "var(--train)"),
            ("eval", "evaluation", "solid", of_run or "var(--eval)"),
        ):
            look = (before + words, color, style)
            loss.append(Series(*look, _points(run, kind, "loss")))
            accuracy.append(Series(*look, _points(run, kind, "accuracy", 100)))
        if not several:
            look = ("evaluation, top 5", "var(--eval)", "dotted")
            accuracy.append(Series(*look, _points(run, "eval", "top5", 100)))
        look = (before + "learning rate", of_run or "var(--train)", "plain")
        rate.append(Series(*look, _points(run, "train", "learning_rate")))
    charts = (
        line_chart("Loss", "nats per image", loss),
        line_chart("Accuracy", "% of the images", accuracy, most=100, widest=0),
        line_chart("Learning rate", "of each step", rate, widest=1e4),
    )
    return [chart for chart in charts if chart is not None]


def _points(run: Run, kind: str, name: str, scale: float = 1) -> list[tuple[float, float]]:
    """Epoch and value of one quantity, in the order of the lines."""
    return [
        (line["epoch"], scale * line[name])
        for line in run.metrics
        if line["kind"] == kind and isinstance(line.get(name), int | float)
    ]
