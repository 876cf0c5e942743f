"""The notebooks in docs/ run from top to bottom, and are kept as they were run."""

import json
import sys

import pytest
from documentation import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import notebook_pages

NOTEBOOKS = sorted(notebook_pages.NOTEBOOKS.glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell):
    """Of what a cell prints and draws."""
    return [sorted(output.get("data", {output["output_type"]: None})) for output in cell["outputs"]]


@pytest.mark.parametrize(
    "path",
    [
        # Two are long; what they call is tested without them too.
        pytest.param(path, marks=[] if path.stem == "features_and_style" else [pytest.mark.full])
        for path in NOTEBOOKS
    ],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs_from_top_to_bottom(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before, after = json.loads(path.read_text()), notebook_pages.run(path)
    assert list(map(kinds, code_cells(after))) == list(map(kinds, code_cells(before)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_as_it_was_run(path):
    notebook = json.loads(path.read_text())
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < 600_000
    assert any("image/png" in kind for cell in code_cells(notebook) for kind in kinds(cell)[-1:])


def test_a_page_has_all_of_a_notebook():
    for path in NOTEBOOKS:
        page = notebook_pages.page(path)
        for cell in json.loads(path.read_text())["cells"]:
            for line in filter(str.strip, "".join(cell["source"]).splitlines()):
                assert line in page
        drawn = [kind for cell in code_cells(json.loads(path.read_text())) for kind in kinds(cell)]
        assert page.count("data:image/png;base64,") == sum("image/png" in kind for kind in drawn)


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == [
        "features_and_style",
        "looking_inside",
        "vgg_on_digits",
    ]
