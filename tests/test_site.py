"""What the site takes from the code and the results, and that it loads nothing from elsewhere."""

import json
import re
import sys
from types import SimpleNamespace

import pytest
from documentation import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import make_site


def made(line):
    return make_site.on_page_markdown(line)


def test_the_table_of_layers_is_that_of_the_network():
    rows = [line.split("|") for line in made('{{ layers("lenet5") }}').splitlines()]
    cells = [[cell.strip() for cell in row[1:-1]] for row in rows if len(row) > 2]
    assert cells[2][:6] == ["`c1`", "Conv", "28 × 28 × 6", "156", "117,600", "5"]
    assert cells[-1][3] == "**61,706**"


def test_tables_of_networks_and_figures():
    assert "| `vgg16_bn` | 224 × 224 × 3 | 1,000   | 138,365,992 |" in made(
        '{{ networks("vgg16_bn", "vgg11_bn") }}'
    )
    found = made('{{ published("resnet152") }}')
    assert "21.43" in found
    assert "ten_crop" in found
    assert "vgg" not in found
    digits = json.loads((ROOT / "docs/results/digits.json").read_text())["presets"]
    table = made('{{ digits("lenet_mnist") }}')
    assert table.count("\n") == 1 + sum(name.startswith("lenet_mnist/") for name in digits)


def test_recipes_speak_for_themselves():
    found = made('{{ recipe("vgg_imagenet") }}')
    assert "Paper: batch 256, momentum 0.9" in found
    assert re.search(
        r"^\| `d_jitter` +\| D at S in", made('{{ presets("vgg_imagenet") }}'), re.MULTILINE
    )


def test_a_page_cannot_ask_for_what_is_not_there():
    with pytest.raises(KeyError):
        made('{{ nothing("vgg16") }}')
    assert made("An {{ inline }} one is text.") == "An {{ inline }} one is text."


@pytest.mark.parametrize(
    "loaded",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img alt="a" src=http://example.org/a.png>',
        "<style>@import 'https://example.org/a.css';</style>",
        "<style>body { background: url(https://example.org/a.png) }</style>",
    ],
)
def test_nothing_is_loaded_from_elsewhere(loaded, tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<a href="https://example.org">a link</a><img src="data:image/png;base64,">')
    make_site.on_post_build(SimpleNamespace(site_dir=tmp_path))
    page.write_text(page.read_text() + loaded)
    with pytest.raises(RuntimeError, match="loads from elsewhere"):
        make_site.on_post_build(SimpleNamespace(site_dir=tmp_path))
