"""The notebooks: run from top to bottom, and shown as pages.

    python docs/notebook_pages.py            # runs all of them and keeps what they show
    python docs/notebook_pages.py NAME...

A page shows a notebook as it was last kept; a test runs each in a fresh kernel.
"""

import html
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "docs" / "notebooks"


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Called by mkdocs: adds a page for each notebook."""
    from mkdocs.structure.files import File

    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page(path)))
    return files


def page(path: Path) -> str:
    """A notebook as Markdown, with a link to itself."""
    first, *cells = json.loads(path.read_text())["cells"]
    title, _, rest = "".join(first["source"]).partition("\n")
    parts = [title, f"[This notebook]({path.name}), to run it yourself.", rest]
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts += [f"```python\n{source}\n```", *map(_shown, cell["outputs"])]
    return "\n\n".join(parts) + "\n"


def _shown(output: Mapping[str, Any]) -> str:
    """What a cell has printed or drawn."""
    if "text" in output:
        return f"```text\n{''.join(output['text'])}```"
    data = output["data"]
    if "image/png" not in data:
        return f"```text\n{''.join(data['text/plain'])}\n```"
    width = output["metadata"].get("image/png", {}).get("width", "")
    picture = "".join(data["image/png"].split())
    return (
        f'<p><img alt="What the cell above draws" width="{width}" '
        f'src="data:image/png;base64,{html.escape(picture)}"></p>'
    )


def run(path: Path) -> dict[str, Any]:
    """Runs a notebook in a kernel of its own.

    Returns:
      The notebook with its outputs, and without anything of the time and the machine.

    Raises:
      CellExecutionError: of nbclient, where a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient
    from traitlets.config import Config

    notebook = nbformat.read(path, as_version=4)
    # By files of the user's own, not by ports that others on the machine could read.
    config = Config(KernelManager={"transport": "ipc"})
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    environment.pop("MPLBACKEND", None)  # the kernel's own shows figures in the notebook
    NotebookClient(notebook, config=config, timeout=600, coalesce_streams=True).execute(
        env=environment
    )
    kept: dict[str, Any] = json.loads(nbformat.writes(notebook))
    kept["metadata"]["language_info"] = {"name": "python"}
    for cell in kept["cells"]:
        cell["metadata"] = {}
    return kept


def _main(names: list[str]) -> Iterator[Path]:
    for path in [NOTEBOOKS / f"{n}.ipynb" for n in names] or sorted(NOTEBOOKS.glob("*.ipynb")):
        text = json.dumps(run(path), indent=1, ensure_ascii=False)
        path.write_text(text + "\n")
        yield path


if __name__ == "__main__":
    for written in _main(sys.argv[1:]):
        print(written)
