"""Whether the tests catch planted faults.

    python -m tests.planted_faults --json=FILE
    python -m tests.planted_faults --only=momentum-sign,bgr-mirrors --tree=OTHER_CHECKOUT

Each fault of `planted_faults.toml` is applied to a copy of the tree, and the test files that import
the faulted module are run, nearest first, until one fails. That test must then fail again, and pass
on a copy without the fault; if not, it is left out and the others go on. The JSON file is written
after every fault, and a fault that it already has for the same commit is not run again.

The exit status is 0 when all faults were caught, else 1.
"""

import argparse
import ast
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import deque
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAULTS = Path(__file__).with_suffix(".toml")
PACKAGES = ("jaxcnn", "experiments", "tests")
_FIRST_GROUP = 2  # test files that run together at first; each next group is twice as large

# Writes what failed as it happens, so that a run that is killed has told it too.
_PLUGIN = """
import json, os

def _write(kind, where):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        with open(os.environ["PLANTED_FAULTS_OUTCOMES"], "a") as file:
            file.write(json.dumps([kind, where]) + "\\n")

def pytest_runtest_logreport(report):
    if report.failed:
        _write("failed" if report.when == "call" else "error", report.nodeid)
    elif report.passed and report.when == "call":
        _write("passed", report.nodeid)

def pytest_collectreport(report):
    if report.failed:
        _write("error", report.nodeid)
"""


class Inapplicable(Exception):  # noqa: N818 - the fault is what is wrong, not the program
    """The text of a fault is not there, or more than once."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One replacement: `old`, which `file` has once, becomes `new`."""

    id: str
    file: str
    old: str
    new: str
    what: str

    @property
    def package(self):
        return Path(self.file).parent.as_posix()

    def apply(self, tree):
        path = tree / self.file
        text = path.read_text() if path.is_file() else ""
        if (count := text.count(self.old)) != 1:
            raise Inapplicable(f"{self.id}: {self.file} has the text {count} times, not once")
        path.write_text(text.replace(self.old, self.new))


def read_faults(path=FAULTS):
    with open(path, "rb") as file:
        return [Fault(**fields) for fields in tomllib.load(file)["fault"]]


# Which test files import a module, and how directly


def module_name(path):
    parts = Path(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(tree):
    """By module, the modules of the tree that it imports, wherever in its file."""
    files = {
        module_name(path.relative_to(tree)): path
        for package in PACKAGES
        for path in (tree / package).rglob("*.py")
    }
    return {name: _imported(name, path, files) for name, path in files.items()}


def _imported(name, path, known):
    named = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            named.add(node.value)  # a name for importlib, or for a process of its own
    # Importing a module imports the packages that it is in.
    named |= {each.rpartition(".")[0] for each in tuple(named)}
    return (named & known.keys()) - {name}


def importing_tests(tree, graph, fault):
    """The test files that import the faulted module, as paths in the tree, nearest first.

    The graph is that of the tree.
    """
    importers = {}
    for name, imported in graph.items():
        for other in imported:
            importers.setdefault(other, set()).add(name)
    distances, waiting = {module_name(fault.file): 0}, deque([module_name(fault.file)])
    while waiting:
        module = waiting.popleft()
        for importer in importers.get(module, ()):
            if importer not in distances:
                distances[importer] = distances[module] + 1
                waiting.append(importer)
    words = set("_".join(module_name(fault.file).split(".")[-2:]).split("_"))

    def place(path):
        of_name = path.stem.removeprefix("test_").split("_")
        alike = any(a[:4] == b[:4] for a in of_name for b in words)
        return distances[module_name(path.relative_to(tree))], not alike, path.stat().st_size

    found = (tree / "tests").glob("test_*.py")
    found = [path for path in found if module_name(path.relative_to(tree)) in distances]
    return [path.relative_to(tree).as_posix() for path in sorted(found, key=place)]


# Copies of a tree


def files_of(tree):
    """The tracked files of a tree; all of them where it is no checkout."""
    if not (tree / ".git").exists():
        return [p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()]
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=tree, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (tree / name).is_file()]


def commit_of(tree):
    if not (tree / ".git").exists():
        return None
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tree, capture_output=True, text=True, check=True
    ).stdout.strip()


def copy_tree(tree, to):
    for name in files_of(tree):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / name, to / name)


class Bench:
    """Runs tests of copies of a tree, in a folder that is removed at the end."""

    def __init__(self, tree, folder, *, workers=2):
        self.tree, self.folder, self.workers = tree, folder, workers
        self.plugins = folder / "plugins"
        self.plugins.mkdir()
        (self.plugins / "planted_faults_outcomes.py").write_text(_PLUGIN)
        self.graph = import_graph(tree)
        self.sound = folder / "sound"
        copy_tree(tree, self.sound)
        self.environment(self.sound, check=True)

    def environment(self, copy, *, check=False):
        """What lets tests, and the processes that they start anywhere, import the copy."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        cache = self.folder / f"{copy.name}.cache"
        if not cache.exists():
            # Of its own, for what a fault leaves there; compiled programs go by their content.
            compiled = Path(tempfile.gettempdir()) / "jaxcnn-test-cache" / "xla"
            compiled.mkdir(parents=True, exist_ok=True)
            cache.mkdir()
            (cache / "xla").symlink_to(compiled)
        kept |= {
            "PYTHONPATH": os.pathsep.join(map(str, (copy, self.plugins))),
            "JAXCNN_CACHE": str(cache),
        }
        if check:
            code = "import jaxcnn; print(jaxcnn.__file__)"
            command = [sys.executable, "-c", code]
            found = subprocess.run(
                command, env=kept, cwd="/", capture_output=True, text=True, check=True
            ).stdout.strip()
            if not Path(found).resolve().is_relative_to(copy.resolve()):
                raise SystemExit(f"planted_faults: {found} is imported in place of the copy.")
        return kept

    def pytest(self, copy, words, *, limit, workers):
        """Runs pytest in a copy; gives what it reported, its output, and whether it ended."""
        outcomes = self.folder / f"{copy.name}.outcomes"
        outcomes.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", str(workers)]
        command += ["-p", "planted_faults_outcomes", "-p", "no:cacheprovider", *words]
        with open(self.folder / f"{copy.name}.output", "w+") as output:
            process = subprocess.Popen(
                command,
                cwd=copy,
                env=self.environment(copy) | {"PLANTED_FAULTS_OUTCOMES": str(outcomes)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                process.wait(limit)
                ended = True
            except subprocess.TimeoutExpired:
                ended = False
            finally:  # what tests have started, too
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            text = output.read()
        lines = outcomes.read_text().splitlines() if outcomes.exists() else []
        return [tuple(json.loads(line)) for line in lines], text, ended

    def check_collection(self):
        """Ends the program where the tests of the tree cannot be collected."""
        reported, text, _ = self.pytest(self.sound, ["--collect-only"], limit=600, workers=0)
        if any(kind == "error" for kind, _ in reported):
            raise SystemExit(f"planted_faults: the tree without any fault fails:\n{text[-3000:]}")

    def passes(self, copy, test):
        """Whether a test passes on a copy; of a file, whether it is collected."""
        words = [test] if "::" in test else [test, "--collect-only"]
        reported, _, ended = self.pytest(copy, words, limit=600, workers=0)
        kinds = {kind for kind, _ in reported}
        return ended and not kinds & {"failed", "error"} and ("passed" in kinds or "::" not in test)

    def catches(self, copy, test):
        """Whether a test that failed fails again, and passes without the fault."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            sound, faulted = pool.map(lambda where: self.passes(where, test), (self.sound, copy))
        return sound and not faulted

    def try_fault(self, fault, *, limit):
        """Whether the tests catch a fault: a JSON-able dict."""
        copy = self.folder / "faulted"
        for place in (copy, self.folder / "faulted.cache"):
            shutil.rmtree(place, ignore_errors=True)
        copy_tree(self.tree, copy)
        fault.apply(copy)
        waiting = importing_tests(self.tree, self.graph, fault)
        size, left_out, ran, files, spent = _FIRST_GROUP, [], 0, len(waiting), 0.0
        while waiting and spent < limit:
            group, rest = waiting[:size], waiting[size:]
            words = group + [f"--deselect={test}" for test in left_out if "::" in test]
            began = time.monotonic()
            workers = min(self.workers, len(group)) if self.workers else 0
            reported, text, ended = self.pytest(
                copy, words, limit=max(limit - spent, 1), workers=workers
            )
            spent += time.monotonic() - began
            bad = [(kind, test) for kind, test in reported if kind in ("failed", "error")]
            for kind, test in bad:
                if self.catches(copy, test):
                    return {
                        "caught": True,
                        "by": test,
                        "kind": kind,
                        "seconds": round(spent, 1),
                        "files": files,
                        "left_out": left_out,
                    }
            if bad:  # that say nothing of the fault
                left_out += [test for _, test in bad]
                waiting = [file for file in waiting if file not in left_out]
                continue
            ran += len(group) if ended else 0
            waiting, size = rest, 2 * size
        return {
            "caught": False,
            "by": None,
            "kind": "limit" if ran < files else "all passed",
            "seconds": round(spent, 1),
            "files": files,
            "files_run": ran,
            "left_out": left_out,
            "output": re.sub(r"\s+\n", "\n", text)[-500:] if files else "",
        }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="ids, separated by commas (default: all)")
    parser.add_argument("--tree", type=Path, default=ROOT, help="a checkout (default: this one)")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    parser.add_argument("--limit", type=float, default=300, help="seconds of tests for a fault")
    parser.add_argument("--workers", type=int, default=2, help="processes that run tests")
    options = parser.parse_args(argv)
    faults = read_faults()
    only = [name for name in options.only.split(",") if name]
    if unknown := set(only) - {fault.id for fault in faults}:
        parser.error(f"no fault has the id {', '.join(sorted(unknown))}")
    commit = commit_of(options.tree)
    found = {}
    if options.json is not None and options.json.exists():
        found = json.loads(options.json.read_text())["faults"]
    chosen = [fault for fault in faults if not only or fault.id in only]
    todo = [fault for fault in chosen if found.get(fault.id, {}).get("commit", "") != commit]
    with tempfile.TemporaryDirectory(prefix="planted-faults-") as folder:
        if todo:
            bench = Bench(options.tree.resolve(), Path(folder).resolve(), workers=options.workers)
            bench.check_collection()
        for number, fault in enumerate(todo, 1):
            try:
                result = bench.try_fault(fault, limit=options.limit)
            except Inapplicable as error:
                result = {"caught": None, "by": None, "kind": str(error), "seconds": 0.0}
            found[fault.id] = {"file": fault.file, "commit": commit, **result}
            if options.json is not None:
                text = json.dumps({"tree": str(options.tree), "faults": found}, indent=1)
                options.json.write_text(text + "\n")
            words = {True: "caught by", False: "NOT CAUGHT:", None: "does not apply:"}
            print(
                f"[{number} of {len(todo)}] {fault.id}: {words[result['caught']]} "
                f"{result['by'] or result['kind']} ({result['seconds']:.0f} s)",
                flush=True,
            )
    results = [found[fault.id]["caught"] for fault in chosen]
    caught, missed = results.count(True), results.count(False)
    print(f"{caught} caught, {missed} not caught, {results.count(None)} do not apply.")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which removes the copies
    sys.exit(main())
