"""The house: which room may know which, and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = {
    "jaxcnn.errors",
    "jaxcnn.files",
    "jaxcnn.mean_image",
    "jaxcnn.progress",
    "jaxcnn.randomness",
    "jaxcnn.version",
}
# Each room, and what else of ours it may import.
MAY_IMPORT = {
    "jaxcnn/models": {"jaxcnn.errors", "jaxcnn.models"},
    "jaxcnn/data": {"jaxcnn.data", *GROUND},
    "jaxcnn/losses": {"jaxcnn.errors", "jaxcnn.losses"},
    "jaxcnn/training": {"jaxcnn.losses", "jaxcnn.training", *GROUND},
    "jaxcnn/inspection": {"jaxcnn.inspection", "jaxcnn.models", "jaxcnn.preprocessing", *GROUND},
    "jaxcnn/pretrained": {"jaxcnn.pretrained", "jaxcnn.models", "jaxcnn.preprocessing", *GROUND},
    "jaxcnn/exporting": {"jaxcnn.exporting", "jaxcnn.models", "jaxcnn.preprocessing", *GROUND},
    "jaxcnn/evaluation": {"jaxcnn.evaluation", "jaxcnn.models", "jaxcnn.preprocessing", *GROUND},
    # Commands for one network, without training: they meet all that is below but that.
    "jaxcnn/cli": {
        "jaxcnn.cli",
        *(
            f"jaxcnn.{room}"
            for room in (
                "models",
                "pretrained",
                "evaluation",
                "exporting",
                "inspection",
                "data",
            )
        ),
        "jaxcnn.preprocessing",
        *GROUND,
    },
    "jaxcnn/preprocessing.py": {"jaxcnn.preprocessing", *GROUND},
    "jaxcnn/colors.py": set(),
    "jaxcnn/mixing.py": {"jaxcnn.randomness"},
    "jaxcnn/mean_image.py": set(),
    "jaxcnn/errors.py": set(),
    "jaxcnn/files.py": {"jaxcnn.errors"},
    "jaxcnn/progress.py": set(),
    "jaxcnn/randomness.py": set(),
}


def imported(path):
    """The modules of ours that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_point_down(room):
    place = ROOT / room
    files = [place] if place.suffix else sorted(place.rglob("*.py"))
    assert files
    for file in files:
        for module in imported(file):
            if module.split(".")[0] not in ("jaxcnn", "experiments") or module == "jaxcnn":
                continue
            allowed = any(
                module == name or module.startswith(f"{name}.") for name in MAY_IMPORT[room]
            )
            assert allowed, f"{file.relative_to(ROOT)} imports {module}"


def test_every_room_is_described():
    rooms = {
        f"jaxcnn/{p.name}" for p in (ROOT / "jaxcnn").iterdir() if p.is_dir() and p.name[0] != "_"
    }
    assert rooms <= set(MAY_IMPORT)


def test_there_is_no_drawer_for_everything():
    names = {p.stem for folder in ("jaxcnn", "experiments") for p in (ROOT / folder).rglob("*")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}


def in_fresh_process(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


def test_importing_anything_starts_no_device_work():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("jaxcnn", "experiments")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.stem not in ("pytorch", "keras_on_jax")  # of the extra 'bench'
    ]
    code = (
        "import importlib, jax\n"
        f"for name in {modules!r}: importlib.import_module(name.removesuffix('.__init__'))\n"
        "from jax._src import xla_bridge\n"
        "print(xla_bridge.backends_are_initialized())"
    )
    assert in_fresh_process(code).strip() == "False"


def test_a_command_starts_without_what_it_may_not_need():
    """Each takes a good part of the time in which `--help` answers."""
    slow = {"matplotlib", "scipy", "sklearn", "tensorflow_datasets", "tensorflow"}
    code = (
        "import sys, experiments.vgg_imagenet\nprint(*{n.partition('.')[0] for n in sys.modules})"
    )
    assert not slow & set(in_fresh_process(code).split())
