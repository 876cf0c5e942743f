"""The projection to many accelerators: its arithmetic by hand, and the page that shows it."""

import json
from pathlib import Path

import jax
import pytest

from experiments import projection
from experiments.plain_training import plain_training
from experiments.projection import ACCELERATORS, Exchanged, projected
from jaxcnn.cli.exit_status import run_main
from jaxcnn.errors import UserError
from jaxcnn.models import create_model
from jaxcnn.training.links import LINKS, Links
from jaxcnn.training.traffic import Exchange

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text()
RESULT = json.loads((ROOT / "docs" / "results" / "projection.json").read_text())
# In domains of 4; 100 bytes a second within one, 10 between two.
SLOW = Links("slow ones", domain=4, within=100, between=10, source="here")


@pytest.mark.parametrize(
    ("devices", "stride", "seconds"),
    [
        (1, 1, 0),
        (2, 1, 2 * 400 / 2 / 100),
        (4, 1, 2 * 400 * 3 / 4 / 100),
        # Of a quarter of the sum each device sends its half to the other domain, and its sum.
        (8, 1, 2 * 400 * 3 / 4 / 100 + 2 * 100 / 2 / 10),
        (16, 1, 2 * 400 * 3 / 4 / 100 + 2 * 100 * 3 / 4 / 10),
        # Two of each domain take part, and then one.
        (2, 2, 2 * 400 / 2 / 100),
        (8, 2, 2 * 400 / 2 / 100 + 2 * 200 * 3 / 4 / 10),
        (4, 4, 2 * 400 * 3 / 4 / 10),
    ],
)
def test_the_time_of_a_sum(devices, stride, seconds):
    assert SLOW.sum_seconds(400, devices, stride=stride) == pytest.approx(seconds)


def test_the_projection_by_hand():
    exchanged = Exchanged(row=4, by_all=400, by_column=40, in_row=100)
    # 8 devices: 6 s and 10 s for all, 2 * 40 / 2 / 10 s for the two of a column, 1 s in the row.
    assert exchanged.seconds(SLOW, 8) == pytest.approx(6 + 10 + 4 + 1)
    slow = projected(exchanged, SLOW, rate=1, batch_size=29, accelerators=8)
    assert slow == (pytest.approx(8 * 29 / 50), pytest.approx(8))
    fast = projected(exchanged, SLOW, rate=10, batch_size=29, accelerators=8)
    assert fast == (pytest.approx(8 * 29 / 23.9), pytest.approx(8 * 29 / 21))
    assert projected(exchanged, SLOW, rate=7, batch_size=29, accelerators=1) == pytest.approx(
        (7, 7)
    )


@pytest.mark.parametrize("name", LINKS)
def test_more_accelerators_do_more_and_each_no_more(name):
    for exchanged in (Exchanged(1, 10**9, 0, 0), Exchanged(8, 10**8, 10**8, 10**8)):
        counts = [n for n in ACCELERATORS if n % exchanged.row == 0]
        for end in (0, 1):
            images = [
                projected(exchanged, LINKS[name], rate=5000, batch_size=64, accelerators=n)[end]
                for n in counts
            ]
            each = [total / n for total, n in zip(images, counts, strict=True)]
            assert images == sorted(images)
            assert each == sorted(each, reverse=True)


def test_what_is_counted_is_told_apart_by_who_takes_part():
    found = [
        Exchange("all-reduce", 16, 1000),
        Exchange("all-reduce", 2, 300),
        Exchange("all-reduce", 1, 7),
        Exchange("all-gather", 8, 80),
        Exchange("reduce-scatter", 8, 10),
    ]
    assert Exchanged.counted(found, 16, 8) == Exchanged(8, 1000, 300, 70 + 70)
    with pytest.raises(UserError, match="all-gather among 16 of 16"):
        Exchanged.counted([Exchange("all-gather", 16, 80)], 16, 8)


def test_the_command_counts_and_projects(tmp_path, capsys):
    output = tmp_path / "projection.json"
    arguments = ["--model=mnist_cnn", "--image_size=28", "--num_classes=12", "--batch_size=2"]
    arguments += ["--images_per_second=1000", "--row=4", f"--output={output}"]
    assert run_main(projection.main, "projection", arguments) == 0
    printed = capsys.readouterr().out
    result = json.loads(output.read_text())
    assert printed == projection.markdown(result) + "\n"
    assert "| 1 | 1,000 | 1,000 | 1,000 |" in printed
    gradients = _gradients("mnist_cnn", 28, 12)
    ways = {name: Exchanged(**sizes) for name, sizes in result["exchanged"].items()}
    assert list(ways) == ["jit", "pmap", "model=4"]
    for name in ("jit", "pmap"):
        assert gradients < ways[name].by_all < gradients + 100
        assert (ways[name].by_column, ways[name].in_row) == (0, 0)
    split = ways["model=4"]
    # A quarter of the split layers' gradients, and all of the others'.
    assert split.by_all < ways["jit"].by_all
    assert gradients <= split.by_all + 4 * split.by_column < gradients * 1.01
    assert split.in_row > 0


def _gradients(model, image_size, classes):
    create, _ = plain_training(create_model(model, num_classes=classes), image_size)
    return 4 * sum(x.size for x in jax.tree.leaves(jax.eval_shape(create).params))


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--images_per_second=fast", "no list of positive numbers"),
        ("--images_per_second=100,-1", "no list of positive numbers"),
        ("--row=3", "--row=3 must be a power of two"),
        ("--row=16", "8 accelerators of a domain"),
        ("--links=h20", "h200"),
        ("--batch_size=0", "--batch_size=0"),
        ("--model=vgg15", "vgg1"),
    ],
)
def test_a_mistake_is_one_sentence(argument, words, capsys):
    # A row of 4 needs no more devices than there are.
    assert run_main(projection.main, "projection", ["--row=4", argument]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1


def test_the_page_shows_the_command_and_its_output():
    assert f"\n{RESULT['command']}\n" in PAGE
    assert projection.markdown(RESULT) in PAGE
    links = LINKS[RESULT["links"]]
    for speed in (links.within, links.between):
        assert f"{speed / 10**9:g} GB/s" in PAGE
    for each in LINKS.values():
        assert each.source in PAGE.replace("\n", " ")
    gradients = _gradients(RESULT["model"], 224, 1000)
    for name in ("jit", "pmap"):
        assert gradients < RESULT["exchanged"][name]["by_all"] < gradients + 100


@pytest.mark.full
def test_the_page_shows_what_is_counted_now(capfd):
    _, _, _, *arguments = RESULT["command"].split()
    assert run_main(projection.main, "projection", arguments) == 0
    assert capfd.readouterr().out == projection.markdown(RESULT) + "\n"
