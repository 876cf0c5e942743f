"""The page about runs, from plain data: what it shows, and that nothing in it is obeyed."""

import base64
import dataclasses
import io
import itertools
import math
import re

import numpy as np
import pytest
from html_page import loaded_from_elsewhere, read_page
from PIL import Image
from report_runs import metrics, photograph, run, settings

from jaxcnn import create_model
from jaxcnn.inspection.filters import groups_of
from jaxcnn.inspection.report import (
    Answered,
    Figure,
    Filters,
    Mistake,
    Run,
    mistakes_each,
    report_html,
)
from jaxcnn.inspection.report.answers import answers_of
from jaxcnn.inspection.report.curves import charts_of
from jaxcnn.inspection.report.embedding import data_address, side_by_side
from jaxcnn.inspection.report.line_chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    line_chart,
)

UP = (HEIGHT - BOTTOM, TOP)  # of the axis, in units of the drawing
MANY = tuple(f"class {number}" for number in range(600))


def page(*runs, **options):
    return read_page(report_html(runs, settings(len(runs)), **options))


def pixels(address):
    kind, data = re.fullmatch(r"data:image/(\w+);base64,(.*)", address).groups()
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.format.lower() == kind
        return np.asarray(image)


def points(line):
    return [tuple(map(float, place.split())) for place in re.split("[ML]", line.path) if place]


def chart(values, **options):
    epochs = [(float(number), value) for number, value in enumerate(values)]
    return line_chart("Loss", "nats", [Series("it", "red", "solid", epochs)], **options)


def test_a_line_lies_where_its_ticks_say():
    drawn = chart([0.0, 10.0, 5.0])
    (line,) = drawn.lines
    assert [tick.label for tick in drawn.up] == ["0", "2", "4", "6", "8", "10"]
    assert (drawn.up[0].at, drawn.up[-1].at) == UP
    assert [tick.label for tick in drawn.across] == ["0", "0.5", "1", "1.5", "2"]
    assert (drawn.across[0].at, drawn.across[-1].at) == (LEFT, WIDTH - RIGHT)
    middle = ((LEFT + WIDTH - RIGHT) / 2, TOP)
    assert points(line) == [(LEFT, UP[0]), middle, (WIDTH - RIGHT, sum(UP) / 2)]
    assert [mark.words for mark in line.marks][1] == "it, epoch 1: 10"
    assert drawn.words == ("Loss (nats) over 2 epochs. it: from 0 to 5, lowest 0, highest 10.")


def test_a_wide_range_lies_on_a_logarithmic_axis():
    drawn = chart([100.0, 1.0, 0.01])
    assert [tick.label for tick in drawn.up] == ["0.01", "0.1", "1", "10", "100"]
    assert [y for _, y in points(drawn.lines[0])] == [UP[1], sum(UP) / 2, UP[0]]
    few = chart([0.1, 0.004, 0.001])
    assert [t.label for t in few.up] == ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1"]
    # What goes to zero, or may, has a plain axis.
    for plain in (chart([1.0, 0.0]), chart([1.0, 1e-6], widest=1e4), chart([1.0, 0.01], widest=0)):
        assert [tick.label for tick in plain.up][::5] == ["0", "1"]


@pytest.mark.parametrize("values", [[0.5], [0.0], [-3.0, -3.0], [1e-30, 2e-30], [1e30, 5e30]])
def test_ticks_enclose_what_is_drawn(values):
    drawn = chart(values)
    assert 2 <= len(drawn.up) <= 9
    assert len({tick.label for tick in drawn.up}) == len(drawn.up)
    places = [(mark.x, mark.y) for mark in drawn.lines[0].marks]
    assert len(places) == len(values)
    assert all(UP[1] <= y <= UP[0] for _, y in places)
    assert all(LEFT <= x <= WIDTH - RIGHT for x, _ in places)


def test_an_accuracy_has_no_tick_above_its_highest():
    assert chart([97.0, 99.9], most=100).up[-1].label == "100"


def test_what_is_no_number_leaves_a_gap():
    drawn = chart([1.0, 2.0, math.nan, 1.0, math.inf, 3.0, 2.0])
    (line,) = drawn.lines
    assert [len(points(line._replace(path=p))) for p in line.path.split(" M")] == [2, 2]
    assert len(line.dots) == 1
    assert chart([math.nan]) is None
    assert line_chart("Loss", "nats", []) is None


def test_a_long_line_keeps_its_peaks():
    values = np.random.default_rng(0).uniform(1, 2, 50_000)
    values[12_345], values[40_000] = 9.0, 0.25
    (line,) = chart(list(values)).lines
    heights = [y for _, y in points(line)]
    assert len(heights) <= 302
    assert len(line.marks) == 0
    (whole,) = chart([9.0, 0.25, 1.0]).lines
    expected = [y for _, y in points(whole)[:2]]
    assert [min(heights), max(heights)] == pytest.approx(expected, abs=0.11)


def test_the_curves_are_those_of_the_lines():
    made = run(metrics=metrics(np.random.default_rng(0), 3, 4))
    loss, accuracy, rate = charts_of([made])
    assert [line.label for line in loss.lines] == [
        "training, some steps",
        "training",
        "evaluation",
    ]
    evaluated = [line for line in made.metrics if line["kind"] == "eval"]
    assert [mark.words for mark in loss.lines[-1].marks] == [
        f"evaluation, epoch {line['epoch']:g}: {line['loss']:.4g}" for line in evaluated
    ]
    assert [line.label for line in accuracy.lines][-1] == "evaluation, top 5"
    assert f"highest {100 * evaluated[-1]['top5']:.4g}." in accuracy.words
    assert len(rate.lines) == 1
    without = [dict(line) for line in made.metrics]
    for line in without:
        line.pop("learning_rate", None)
    assert len(charts_of([dataclasses.replace(made, metrics=without)])) == 2
    assert charts_of([dataclasses.replace(made, metrics=[])]) == []


def test_several_runs_have_colours_of_their_own():
    runs = [run(name=f"run {number}", seed=number, epochs=3, steps=4) for number in range(12)]
    loss, accuracy, rate = charts_of(runs)
    assert (len(loss.lines), len(accuracy.lines), len(rate.lines)) == (24, 24, 12)
    assert len({line.color for line in rate.lines}) == 12
    assert [line.color for line in loss.lines[::2]] == [line.color for line in rate.lines]
    assert [line.style for line in loss.lines[:2]] == ["dashed", "solid"]
    assert loss.lines[3].label == "run 1, evaluation"


def answered(matrix, names=None):
    names = names or tuple(map(str, range(len(matrix))))
    return run(answered=Answered("about", tuple(names), np.asarray(matrix)))


def test_confusions_of_few_classes_are_counts():
    found = answers_of(answered([[3, 1, 0], [0, 0, 0], [2, 0, 2]], ("cat", "dog", "emu")))
    assert found.classes == (("cat", 0.75, 3, 4), ("dog", None, 0, 0), ("emu", 0.5, 2, 4))
    cat, _, emu = (cells for _, cells in found.cells)
    assert [cell.images for cell in cat] == [3, 1, 0]
    assert [cell.share for cell in emu] == [0.5, 0, 0.5]
    assert [cell.right for cell in emu] == [False, False, True]
    assert (found.picture, found.pairs, found.wide) == ("", (), False)
    assert answers_of(answered([[1]], ("a long name",))).wide


def test_confusions_of_many_classes_are_a_picture_and_the_worst():
    matrix = np.diag(np.full(40, 9))
    matrix[3, 5], matrix[30, 1], matrix[7] = 27, 3, 0
    found = answers_of(answered(matrix))
    assert [row.name for row in found.classes[:2]] == ["3", "30"]
    assert found.classes[0] == ("3", 0.25, 9, 36)
    assert len(found.classes) + len(found.others) == found.total == 40
    assert found.others[-1] == ("7", None, 0, 0)
    assert found.pairs == (("3", "5", 27, 0.75), ("30", "1", 3, 0.25))
    ink = pixels(found.picture)[..., 3]
    assert ink.shape == (40, 40)
    assert (ink[0, 0], ink[0, 1], ink[7, 7]) == (255, 0, 0)
    assert ink[3, 5] == round(255 * 0.75**0.5)
    assert found.cells == ()


def test_confusions_of_thousands_of_classes_are_put_together():
    matrix = np.zeros((1201, 1201), np.int64)
    matrix[1200, 0], matrix[0, 0], matrix[2, 4] = 5, 1, 3
    found = answers_of(answered(matrix))
    ink = pixels(found.picture)[..., 3]
    assert (found.blocks, ink.shape) == (3, (401, 401))
    assert ink[400, 0] == 255
    assert (ink[0, 0], ink[0, 1]) == (round(255 * 0.25**0.5), round(255 * 0.75**0.5))
    assert len(found.classes) + len(found.others) == 1000 + 20 - 20


def test_without_the_network_the_result_has_the_classes():
    classes = {"cat": {"accuracy": 0.5, "correct": 1, "count": 2}}
    found = answers_of(run(answered=None, classes=classes))
    assert found.classes == (("cat", 0.5, 1, 2),)
    assert (found.cells, found.picture) == ((), "")
    assert answers_of(run(answered=None)) is None


def test_small_images_are_kept_to_the_bit_and_large_ones_nearly():
    random = np.random.default_rng(0)
    for channels in (1, 3, 4):
        image = random.integers(0, 256, (32, 20, channels), np.uint8)
        kept = pixels(data_address(image))
        np.testing.assert_array_equal(kept.reshape(image.shape), image)
    image = photograph(random, 500)[:400]
    kept = pixels(data_address(image))
    assert kept.shape == (179, 224, 3)
    smaller = np.asarray(Image.fromarray(image).resize((224, 179)), float)
    assert np.abs(kept - smaller).mean() < 5
    assert len(data_address(image)) < 25_000


def test_filters_lie_side_by_side_in_their_groups():
    pictures = np.arange(6, dtype=np.uint8).repeat(2 * 2 * 3).reshape(6, 2, 2, 3)
    shown = side_by_side(Filters("conv1", pictures, groups=2), columns=2)
    assert shown.shape == (2 * (2 * 3 + 1), 2 * 3 + 1, 4)
    for number, (top, left) in enumerate([(1, 1), (1, 4), (4, 1), (8, 1), (8, 4), (11, 1)]):
        assert (shown[top : top + 2, left : left + 2] == [number] * 3 + [255]).all()
    assert (shown[..., 3] == 255).sum() == 6 * 4  # all else is clear


@pytest.mark.parametrize(
    ("name", "towers"),
    [("alexnet", 2), ("alexnet_owt", 1), ("vgg11", 1), ("vgg16_1x1_bn", 1), ("resnet18", 1)],
)
def test_the_towers_of_the_first_layer(name, towers):
    assert groups_of(create_model(name)) == towers


def test_a_page_shows_what_there_is():
    made = run()
    root = page(made, preset="vgg_imagenet digits")
    assert root.one("head").one("title").text == root.one("h1").text == "vgg11 on digits"
    assert [h.text for h in root.all("h2")] == [
        "Curves",
        "Answers",
        "Where the time went",
        "Configuration",
        "Environment",
    ]
    figures = dict(zip(root.all("dt"), root.all("dd"), strict=True))
    assert {dt.text: dd.text for dt, dd in figures.items()} == {
        name: f"{figure.value} {figure.note}".strip() for name, figure in made.verdict.items()
    }
    assert root.one("header").text.count("runs/vgg_imagenet/digits") == 1
    tables = {table.one("caption").text: table for table in root.all("table")}
    confusion = tables["How many images of each class (rows) were taken for each (columns)"]
    counts = [[int(cell or 0) for cell in row[1:]] for row in confusion.rows()[1:]]
    np.testing.assert_array_equal(counts, made.answered.matrix)
    classes = tables["By the class that the images have"].rows()[1:]
    assert [row[-1] for row in classes] == [
        f"{right} of {of}"
        for right, of in zip(
            made.answered.matrix.diagonal(), made.answered.matrix.sum(axis=1), strict=True
        )
    ]
    differing = tables["Fields that differ from the preset"]
    assert [[re.sub("^▸ ", "", row[0]), row[1]] for row in differing.rows()[1:]] == [
        ["optimizer.learning_rate", "0.1 preset: 0.01"],
        ["seed", "0 preset: 7"],
    ]
    assert tables["Seconds, and their share of the wall time"].rows()[1] == [
        "useful steps",
        "31.2",
        "68.1%",
    ]
    assert tables["Hardware and versions that the runs were made with"].rows()[2] == [
        "jaxcnn",
        "0.1.0",
    ]
    shown = [i for i in root.all("img") if i.attributes["alt"].startswith("An image of")]
    for mistake, image in zip(made.answered.mistakes, shown, strict=True):
        np.testing.assert_array_equal(
            pixels(image.attributes["src"]), mistake.image.squeeze(axis=-1)
        )
        caption = image.parent.one("figcaption").text
        assert caption == f"{mistake.answer} {mistake.probability:.1%} is {mistake.label}"


def test_several_runs_are_compared():
    runs = [run(name=name, seed=n) for n, name in enumerate(("a", "b", "c"))]
    runs[1] = dataclasses.replace(runs[1], verdict={"Loss": Figure("0.5")}, state="12 steps")
    root = page(*runs)
    assert root.one("h1").text == "3 runs compared"
    tables = {table.one("caption").text: table for table in root.all("table")}
    head, *rows = tables["Results"].rows()
    assert head[:4] == ["run", "Top-1 accuracy", "Top-5 accuracy", "Loss"]
    assert rows[0][1] == runs[0].verdict["Top-1 accuracy"].value
    assert rows[1] == ["b", "–", "–", "0.5", "–", "–", "–", "12 steps"]
    differing = tables["Fields of the configuration that differ between the runs"].rows()
    assert differing == [
        ["field", "a", "b", "c"],
        ["▸ optimizer.learning_rate", "0.1", "0.2", "0.3"],
        ["▸ seed", "0", "1", "2"],
    ]
    # What is the same stands there once.
    assert tables["Fields of model"].rows()[1:] == [["name", "vgg11"], ["hidden", "128,128"]]
    assert [h.text for h in root.all("h2")][2:5] == ["a", "b", "c"]


def test_what_a_run_lacks_is_said():
    bare = Run("x", "runs/x", "vgg11", "digits", "0 steps", "Not finished.", missing=("No <a>.",))
    root = page(bare)
    assert "No <a>." in root.one("main").text
    assert [h.text for h in root.all("h2")] == ["Answers", "Configuration"]
    assert not list(root.all("img"))
    assert "2 runs compared" in page(bare, run()).text


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; --x: url(http://example.com/a)",
    "</style><style>@import url(http://example.com/b)</style>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\x00\ud800\u202e]]>&lt;b&gt;",
)


def hostile():
    names = tuple(HOSTILE)
    mistake = Mistake(np.zeros((4, 4, 3), np.uint8), *HOSTILE[1::-1], HOSTILE[1], 0.5)
    word, other = HOSTILE[0], HOSTILE[1]
    return run(
        name=other,
        class_names=names,
        workdir=HOSTILE[3],
        network=word,
        source=other,
        state=other,
        about=HOSTILE[4],
        verdict={word: Figure(other, HOSTILE[3])},
        goodput={word: 1.0, other: 1.0},
        environment={other: word},
        answered=Answered(HOSTILE[5], names, np.ones((7, 7), int), (mistake,)),
        filters=Filters(other, np.zeros((2, 3, 3, 3), np.uint8)),
        missing=HOSTILE,
    )


@pytest.mark.parametrize("runs", [1, 2])
def test_no_name_is_obeyed(runs):
    evil = [
        s._replace(meaning=HOSTILE[1], values=(HOSTILE[0], HOSTILE[1])[:runs], preset=HOSTILE[3])
        for s in settings(runs)
    ]
    html = report_html([hostile(), run()][:runs], evil, preset=HOSTILE[0])
    assert html.encode()  # what cannot be written is not in it
    root = read_page(html)
    assert loaded_from_elsewhere(root) == []
    assert len(list(root.all("style"))) == 1
    assert "49" not in root.one("header").text
    for name in HOSTILE[:4]:
        assert name in root.one("main").text


def test_a_page_holds_all_that_it_shows():
    made = run(class_names=MANY, images=6000, side=224)
    for runs in ([made], [made, run(name="other")]):
        assert loaded_from_elsewhere(page(*runs)) == []


def test_what_is_elsewhere_is_found():
    for bad, found in {
        "<script>1</script>": "<script>",
        "<img src='https://example.com/a.png'>": "img src=https://example.com/a.png",
        "<img src=a.png>": "img src=a.png",
        "<link href='//example.com'>": "link href=//example.com",
        "<p onclick='x()'>a</p>": "p onclick",
        "<a href='javascript:x()'>a</a>": "a href=javascript:x()",
        "<style>@import 'a.css';</style>": "@import 'a.css'",
        "<p style='background: url(a.png)'>a</p>": "url(a.png)",
    }.items():
        assert loaded_from_elsewhere(read_page(bad)) == [found]


def test_a_page_is_small():
    """Whatever the runs: of photographs, of a thousand classes, of a hundred thousand steps."""
    one = run(class_names=MANY, images=50_000, side=224, epochs=90, steps=400)
    assert len(report_html([one], settings()).encode()) < 1_500_000
    for count in (4, 20):
        mistakes = mistakes_each(count)
        runs = [
            run(name=str(n), class_names=MANY[:100], side=224, mistakes=mistakes, epochs=20)
            for n in range(count)
        ]
        assert len(report_html(runs, settings(count)).encode()) < 3_000_000
    assert [mistakes_each(count) for count in (1, 4, 8, 100)] == [24, 24, 12, 3]


@pytest.mark.parametrize("runs", [1, 3])
def test_a_page_can_be_read_by_all(runs):
    made = [run(name=f"run {n}", class_names=MANY[:30] if n else tuple("ab")) for n in range(runs)]
    root = page(*made, preset="a b" if runs == 1 else "")
    assert root.one("html").attributes["lang"] == "en"
    levels = [int(h.tag[1]) for h in root.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for image in root.all("img"):
        assert image.attributes["alt"]
        assert image.under("figure")
    for figure in root.all("figure"):
        assert figure.one("figcaption").text
    for drawing in root.all("svg"):
        named = drawing.attributes.get("role") == "img" and drawing.attributes["aria-label"]
        assert named or drawing.attributes["aria-hidden"] == "true"
    for table in root.all("table"):
        assert table.one("caption").text
        assert all(th.attributes["scope"] in ("col", "row") for th in table.all("th"))
        # A table that is too wide scrolls by itself, for which it can be reached by keyboard.
        assert table.parent.attributes["class"] == "scroll"
        assert table.parent.attributes["tabindex"] == "0"
        assert table.parent.attributes["aria-label"]
    ids = [e.attributes["id"] for e in root.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    assert {a.attributes["href"][1:] for a in root.all("a")} <= set(ids)
