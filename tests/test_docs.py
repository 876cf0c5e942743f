"""The pages in docs/: every code block runs, or its command is understood and it is said why.

(Of many_machines.md and scaling.md: tests/test_readme.py and tests/test_projection.py.)
"""

import json
import re
import tomllib

import pytest
from documentation import (
    ROOT,
    commands_in,
    run_command,
    run_file,
    run_python,
    titled_blocks,
    understand,
)

from experiments.digits import recipes
from jaxcnn.models import registry

DOCS = ROOT / "docs"
ELSEWHERE = {"many_machines.md", "scaling.md"}
PAGES = sorted(str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md") if p.name not in ELSEWHERE)

# The commands that are run as they stand, by what tells them apart.
RUN = (
    "--config.workdir=runs/mine",
    "--config.workdir=runs/light",
    "--output=guessed",
    "--help",
    "jaxcnn list",
    "jaxcnn summary",
    "digits:",
    "=reader",
    "--output=convolution.png",
)
# Why others are only read by their parsers.
UNDERSTOOD = {
    r"FILE|PATH/TO": "it is about files of the reader",
    r"experiments\.prepare ": "it downloads, or needs ImageNet's tars",
    r"jaxcnn complexity": "it goes through all networks; tests/test_complexity.py runs it",
    r"--run=|experiments.report": "it needs a trained run; tests/test_evaluate.py has one",
    r"digits": "it takes minutes; tests/test_recipes.py runs all presets in a small form",
    r"_imagenet|imagenet2012|_cifar10|_mnist": "it needs data that is not to be had here",
}


def page_text(page):
    return (DOCS / page).read_text()


def how(command):
    """'run', 'installed', or why it is but read."""
    if any(mark in command for mark in RUN):
        return "run"
    if command.startswith("pip install -e "):
        return "installed"
    return next(why for pattern, why in UNDERSTOOD.items() if re.search(pattern, command))


@pytest.mark.usefixtures("compile_quickly")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for table in ("_MODELS", "_ALIASES", "_IMAGES"):  # a page may register a network
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    text, names = page_text(page), {"__name__": "documentation"}
    blocks = titled_blocks(text)
    assert text.count("```") == 2 * len(blocks), "a block that is indented would not be run"
    for language, title, block in blocks:
        assert language in ("bash", "python", "text")
        if title:
            run_file(title, block)
        elif language == "python":
            run_python(block, names, page=page)
        elif language == "bash":
            for command in commands_in(block):
                follow(command)


def follow(command):
    match how(command):
        case "run":
            assert run_command(command) == 0
        case "installed":
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            named = re.fullmatch(r"pip install -e (?:\.|'\.\[([\w,]+)\]')", command)
            for extra in filter(None, (named[1] or "").split(",")):
                assert extra in extras["optional-dependencies"]
        case _:
            understand(command)


def test_every_mark_is_of_a_command():
    commands = [
        command
        for page in PAGES
        for language, _, block in titled_blocks(page_text(page))
        if language == "bash"
        for command in commands_in(block)
    ]
    for mark in RUN:
        assert any(mark in command for command in commands), mark
    reasons = {how(command) for command in commands}
    assert reasons >= set(UNDERSTOOD.values())


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.name)
def test_the_commands_at_the_head_of_a_recipe_are_understood(recipe):
    """The site shows them, as `--help` does."""
    commands = re.findall(r"^ {4}(python -m .*)$", recipe.description, re.MULTILINE)
    assert commands
    for command in commands:
        understand(command)


def test_every_page_is_reached():
    """mkdocs says so of a page that is not in the navigation; this, of one that is not there."""
    named = set(re.findall(r"^ +- ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    notebooks = {f"notebooks/{p.stem}.md" for p in DOCS.glob("notebooks/*.ipynb")}
    assert named == {*PAGES, *ELSEWHERE, *notebooks}


def test_every_room_has_its_reference():
    described = re.findall(
        r'^\{\{ api\("(.*)"\) \}\}$', "".join(map(page_text, PAGES)), re.MULTILINE
    )
    rooms = {str(p.parent.relative_to(ROOT / "jaxcnn")) for p in (ROOT / "jaxcnn").rglob("*.py")}
    assert sorted(described) == sorted("" if room == "." else room for room in rooms)


def test_the_figures_of_the_first_run_are_those_of_its_file():
    result = json.loads((DOCS / "results" / "vgg_imagenet_digits.json").read_text())["result"]
    text = " ".join(page_text("getting_started.md").split())
    said = f"{result['accuracy']:.2%}".replace("%", " %")
    assert f"{said} of the {result['examples']} test images right" in text
    assert f"after {result['seconds']:.0f} seconds" in text
