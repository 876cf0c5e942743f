import subprocess
import sys
from pathlib import Path

import pytest

from tests.planted_faults import (
    PACKAGES,
    ROOT,
    Bench,
    Fault,
    Inapplicable,
    import_graph,
    importing_tests,
    read_faults,
)

FAULTS = read_faults()


def packages():
    """The folders with code, but that of the tests."""
    return {
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        if package != "tests"
        for path in (ROOT / package).rglob("*.py")
    }


def test_there_are_sixty_and_some_in_every_package():
    assert len({fault.id for fault in FAULTS}) == len(FAULTS) >= 60
    assert packages() <= {fault.package for fault in FAULTS}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_every_fault_applies_once_and_leaves_a_program(fault):
    text = (ROOT / fault.file).read_text()
    assert text.count(fault.old) == 1
    compile(text.replace(fault.old, fault.new), fault.file, "exec")


def test_every_fault_has_tests():
    graph = import_graph(ROOT)
    without = [fault.id for fault in FAULTS if not importing_tests(ROOT, graph, fault)]
    assert not without


SUMS = "def total(numbers):\n    return sum(numbers, start=0)\n"
TESTS = {
    "jaxcnn/__init__.py": "",
    "jaxcnn/sums.py": SUMS,
    "jaxcnn/means.py": "from jaxcnn.sums import total\n\n\ndef mean(x):\n    return total(x) / 2\n",
    "tests/test_means.py": (
        "from jaxcnn.means import mean\n\n\ndef test_mean():\n    assert mean([1, 3]) == 2\n"
    ),
    "tests/test_sums.py": (
        "import subprocess\nimport sys\n\nfrom jaxcnn.sums import total\n\n\n"
        "def test_total():\n    assert total([1, 2]) == 3\n\n\n"
        "def test_elsewhere(tmp_path):\n"
        "    code = 'from jaxcnn.sums import total; print(total([1, 2]))'\n"
        "    command = [sys.executable, '-c', code]\n"
        "    assert subprocess.check_output(command, cwd=tmp_path) == b'3\\n'\n"
    ),
    "tests/test_broken.py": (
        "from jaxcnn.sums import total\n\n\ndef test_broken():\n    assert total([1]) == 2\n"
    ),
    "tests/test_nothing.py": "def test_nothing():\n    pass\n",
}


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "tree"
    for name, text in TESTS.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    return tree


@pytest.fixture
def bench(tree, tmp_path):
    (tmp_path / "bench").mkdir()
    return Bench(tree, tmp_path / "bench", workers=0)


def planted(old, new):
    return Fault("sums", "jaxcnn/sums.py", old, new, "")


def test_the_nearest_tests_come_first(tree):
    graph = import_graph(tree)
    assert importing_tests(tree, graph, planted("start=0", "start=1")) == [
        "tests/test_sums.py",  # whose name is that of the module
        "tests/test_broken.py",
        "tests/test_means.py",
    ]
    assert graph["tests.test_means"] == {"jaxcnn", "jaxcnn.means"}


def test_a_fault_is_caught(bench):
    found = bench.try_fault(planted("start=0", "start=1"), limit=60)
    assert found["caught"]
    assert found["by"] == "tests/test_sums.py::test_total"
    assert found["kind"] == "failed"


def test_a_test_that_fails_anyway_catches_nothing(bench):
    (bench.sound / "tests/test_sums.py").unlink()
    (bench.tree / "tests/test_sums.py").unlink()
    found = bench.try_fault(planted("start=0", "start=int()"), limit=60)
    assert not found["caught"]
    assert found["left_out"] == ["tests/test_broken.py::test_broken"]
    assert found["kind"] == "all passed"


def test_a_fault_whose_text_is_gone_is_named(bench):
    with pytest.raises(Inapplicable, match="has the text 0 times"):
        bench.try_fault(planted("start=2", "start=1"), limit=60)


def test_the_command_lists_what_it_takes():
    command = [sys.executable, "-m", "tests.planted_faults", "--only=no-such-fault"]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert run.returncode == 2
    assert "no fault has the id no-such-fault" in run.stderr
