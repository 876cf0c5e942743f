"""What the pages say of the code and of the results, made from both when the site is built.

A line ``{{ name("argument", ...) }}`` of a page stands for what the function of that name below
makes of the arguments, so that no table, figure or list of a page can go stale. The build ends
with an error where a page asks for what is not there, or would load anything from elsewhere.
"""

import ast
import base64
import contextlib
import functools
import html
import io
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `experiments` is no package that is installed

from experiments import digits as digits_table  # noqa: E402
from experiments import study as studies  # noqa: E402
from experiments.faults.command import lines_of  # noqa: E402
from experiments.outcomes import table  # noqa: E402
from jaxcnn.cli import commands  # noqa: E402
from jaxcnn.cli.output import Output  # noqa: E402
from jaxcnn.evaluation.published import PUBLISHED  # noqa: E402
from jaxcnn.inspection.architecture import draw_architecture  # noqa: E402
from jaxcnn.inspection.summary import Summary, summarize  # noqa: E402
from jaxcnn.models import create_model, image_shape, list_models  # noqa: E402

ASKED = re.compile(r"^\{\{ (\w+)\((.*)\) \}\}$", re.MULTILINE)
RESULTS = ROOT / "docs" / "results"


def of_shape(shape: tuple[int, ...]) -> str:
    """Sides in words, such as ``224 × 224 × 3``."""
    return " × ".join(f"{n:,}" for n in shape)


def architecture(name: str) -> str:
    """The picture of a network."""
    title = f"The layers of {name}, for images of {of_shape(image_shape(name))}"
    svg = draw_architecture(create_model(name), image_shape(name), title=title)
    return f"<figure>\n{svg}<figcaption>{title}.</figcaption>\n</figure>"


@functools.cache
def summary(name: str) -> Summary:
    """Of a network on the images that it was made for."""
    return summarize(create_model(name), image_shape(name), name=name)


def layers(name: str) -> str:
    """The table of a network's layers, folded."""
    found = summary(name)
    rows = [
        (
            f"`{layer.name}`",
            layer.kind + ", in training only" * layer.training_only,
            of_shape(layer.output_shape),
            *(f"{n:,}" if n else "" for n in (layer.parameters, layer.multiply_adds)),
            "" if layer.field is None else f"{layer.field.size[0]}",
            "" if layer.field is None or not layer.field.stride[0] else f"{layer.field.stride[0]}",
        )
        for layer in found.layers
    ]
    rows.append(
        ("**all**", "", "", f"**{found.parameters:,}**", f"**{found.multiply_adds:,}**", "", "")
    )
    heads = ("layer", "kind", "output", "parameters", "multiply-adds", "sees", "stride")
    lines = table(heads, rows).splitlines()
    return f'??? note "The layers of `{name}`"\n\n' + "\n".join(f"    {line}" for line in lines)


def networks(*patterns: str) -> str:
    """A table of the networks whose names match."""
    rows = [
        (
            f"`{name}`",
            of_shape(summary(name).image_shape),
            f"{create_model(name).num_classes:,}",
            f"{summary(name).parameters:,}",
            f"{summary(name).multiply_adds / 1e6:,.1f}",
        )
        for pattern in patterns
        for name in list_models(pattern)
    ]
    heads = ("network", "images", "classes", "parameters", "million multiply-adds")
    return table(heads, rows)


def charts() -> str:
    """Accuracy against multiply-adds, and ILSVRC's errors by year."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        commands.main(["complexity", f"--folder={folder}"], Output(quiet=True))
        pictures = {
            words: base64.b64encode((Path(folder) / f"{name}.svg").read_bytes()).decode()
            for name, words in {
                "complexity": "Accuracy on ImageNet against multiply-adds, by network",
                "ilsvrc": "Top-5 error of ILSVRC by year",
            }.items()
        }
    return "\n\n".join(
        f'<p><img alt="{words}" src="data:image/svg+xml;base64,{picture}"></p>'
        for words, picture in pictures.items()
    )


def published(*patterns: str) -> str:
    """The published error rates of the networks whose names match, each with its protocol."""
    names = [n for pattern in patterns for n in list_models(pattern)]
    rows = []
    for row in PUBLISHED:
        if not set(row.networks) <= set(names):
            continue
        alone = len(set(row.networks)) == 1 and len(row.networks) > 1
        who = f"{len(row.networks)} × `{row.networks[0]}`" if alone else _named(row.networks)
        trained = "" if row.trained is None else _range(row.trained)
        errors = ["" if e is None else f"{e:.2f}" for e in (row.top1, row.top5)]
        scales = ", ".join(map(str, row.scales))
        rows.append((who, f"`{row.protocol}`", trained, scales, *errors, row.source))
    heads = ("network", "protocol", "trained at S", "tested at Q", "top-1, %", "top-5, %", "source")
    return table(heads, rows)


def _named(networks: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in networks)


def _range(scale: tuple[int, int]) -> str:
    return str(scale[0]) if scale[0] == scale[1] else f"[{scale[0]}; {scale[1]}]"


def digits(*recipes: str) -> str:
    """What recipes gave on the digits, of the committed results."""
    result = json.loads((RESULTS / "digits.json").read_text())
    chosen = {
        name: of for name, of in result["presets"].items() if name.partition("/")[0] in recipes
    }
    return digits_table.markdown({"presets": chosen})


def study(name: str) -> str:
    """The errors of a study, of the committed results."""
    return studies.errors_table(json.loads((RESULTS / f"{name}.json").read_text()))


def faults() -> str:
    """What runs that were killed, stopped, damaged and moved came to, of the committed results."""
    return lines_of(json.loads((RESULTS / "faults.json").read_text())["faults"])


def recipe(name: str) -> str:
    """What stands at the head of a recipe's file, folded: its source, commands and results."""
    text = _recipe(name).description.rstrip()
    lines = [f'??? abstract "`experiments.{name}`, in its own words"', "", "    ```text"]
    return "\n".join([*lines, *(f"    {line}".rstrip() for line in text.splitlines()), "    ```"])


def presets(name: str) -> str:
    """The presets of a recipe and what each does."""
    one = _recipe(name)
    rows = []
    for preset, summary in one.summaries.items():
        config = one.presets[preset]
        rows.append(
            (
                f"`{preset}`",
                summary,
                f"`{config.optimizer.name}`",
                f"{config.optimizer.learning_rate:g}",
                f"{config.train.batch_size:,}",
                f"{config.train.epochs}",
            )
        )
    return table(("preset", "what it is", "optimizer", "rate", "batch", "epochs"), rows)


def _recipe(name: str) -> Any:
    return next(r for r in digits_table.recipes() if r.name == name)


def api(place: str) -> str:
    """The reference of a room of the package, or of the files that stand beside the rooms."""
    folder = ROOT / "jaxcnn"
    files = sorted((folder / place).glob("*.py") if place else folder.glob("*.py"))
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if not file.stem.startswith("_")
    ]
    return "\n\n".join(f"::: {module}" for module in modules)


MAKERS: dict[str, Callable[..., str]] = {
    maker.__name__: maker
    for maker in (
        architecture,
        layers,
        networks,
        charts,
        published,
        digits,
        study,
        faults,
        recipe,
        presets,
        api,
    )
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs with the text of each page."""

    def made(asked: re.Match[str]) -> str:
        return MAKERS[asked[1]](*ast.literal_eval(f"({asked[2]},)" if asked[2] else "()"))

    return ASKED.sub(made, markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Called by mkdocs at the end: nothing that a page loads may come from elsewhere."""
    loads = re.compile(
        r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'\s>]*"""
        r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*\bhref=["']?(?:https?:)?//[^"'\s>]*"""
        r"""|url\(["']?(?:https?:)?//[^)]*|@import\s+["'](?:https?:)?//[^"']*"""
    )
    for file in sorted(Path(config.site_dir).rglob("*")):
        if file.suffix in (".html", ".css") and (found := loads.search(file.read_text())):
            raise RuntimeError(f"{file} loads from elsewhere: {html.escape(found[0])}")
