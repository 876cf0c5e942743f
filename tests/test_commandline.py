"""The command line over typed dataclasses: what it reads, what it refuses and how, its help."""

import dataclasses
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.commandline import (
    fields_of,
    from_dict,
    parse,
    to_dict,
    undocumented,
)
from experiments.values import kind_of, shown
from jaxcnn.cli.exit_status import run_main
from jaxcnn.errors import UserError
from jaxcnn.version import __version__

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters move.

    Attributes:
      name: the rule
        of the update.
      learning_rate: of the first step: 100 % of it.
      weight_decay: the coefficient; None for no decay.
    """

    name: Literal["momentum", "adam"] = "momentum"
    learning_rate: float = 0.01
    weight_decay: float | None = None


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """The devices.

    Attributes:
      mode: how ``steps`` are `compiled`.
      devices: how many; None for all.

    Not an attribute: this paragraph.
    """

    shorthand: ClassVar = "mode"

    mode: Literal["jit", "pmap"] = "jit"
    devices: int | None = None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A run.

    Attributes:
      optimizer: the optimizer.
      parallel: the devices.
      seed: of all random numbers.
      workdir: the folder.
      restart: begin anew.
      hidden: units of the hidden layers.
      names: words.
    """

    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    parallel: ParallelConfig = dataclasses.field(default_factory=ParallelConfig)
    seed: int = 0
    workdir: str | None = None
    restart: bool = False
    hidden: tuple[int, ...] = (4096, 4096)
    names: tuple[str, ...] = ()


PRESETS = {
    "a": Experiment(),
    "d": Experiment(seed=4, optimizer=OptimizerConfig(learning_rate=0.25)),
    "digits": Experiment(hidden=()),
}


def run(*argv: str) -> Experiment:
    config, _ = parse(
        argv, presets=PRESETS, default="a", program="prog", description="Trains a network."
    )
    return config


def value(argv: str) -> Any:
    """The value of the field that a command line sets, with everything else as in the preset."""
    config = run(*argv.split())
    changed = [
        new.default
        for new, old in zip(fields_of(config), fields_of(PRESETS["a"]), strict=True)
        if new.default != old.default
    ]
    return changed[0] if len(changed) == 1 else changed


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("--config.seed=1_000", 1000),
        ("--config.seed=1e3", 1000),
        ("--config.seed -3", -3),
        ("--config.seed=9007199254740993", 9007199254740993),
        ("--config.optimizer.learning_rate=1e-3", 0.001),
        ("--config.optimizer.learning_rate 5", 5.0),
        ("--config.optimizer.weight_decay=5e-4", 5e-4),
        ("--config.optimizer.weight_decay=none", []),
        ("--config.optimizer.name=adam", "adam"),
        ("--config.restart", True),
        ("--config.restart=1", True),
        ("--config.restart true", True),
        ("--config.restart=False", []),
        ("--config.workdir=a=b", "a=b"),
        ("--config.workdir=", ""),
        ("--config.workdir None", []),
        ("--config.hidden=4096,512", (4096, 512)),
        ("--config.hidden=7", (7,)),
        ("--config.hidden=", ()),
        ("--config.hidden=()", ()),
        ("--config.names=x,y", ("x", "y")),
        ("--config.names=(x|y)=2,z=0.5", ("(x|y)=2", "z=0.5")),
        ("--config.parallel=pmap", "pmap"),
        ("--config.parallel.mode=pmap", "pmap"),
        ("--config.parallel=pmap --config.parallel.mode=pmap", "pmap"),
        ("--config.seed=3 --config.seed 3", 3),
    ],
)
def test_reads_values(argv, expected):
    assert value(argv) == expected
    assert type(value(argv)) is type(expected)


def test_reads_tuples_as_python_writes_them():
    assert run("--config.hidden=(4096, 512)").hidden == (4096, 512)
    assert run("--config.hidden=(4096,)").hidden == (4096,)
    assert run("--config.names=('x', 'y')").names == ("x", "y")


def test_preset_then_fields_in_any_order():
    expected = dataclasses.replace(PRESETS["d"], restart=True, seed=7)
    assert run("--config.seed=7", "--config", "d", "--config.restart") == expected
    assert run("--config.restart", "--config.seed", "7", "--config=d") == expected
    assert run() == PRESETS["a"]


def test_tells_the_name_of_the_preset_or_file(tmp_path):
    source = f"from {__name__} import Experiment\nconfig = Experiment(seed=1)\n"
    (tmp_path / "mine.py").write_text(source)
    more = {"presets": PRESETS, "default": "a", "program": "prog", "description": ""}
    assert parse([], **more) == (PRESETS["a"], "a")
    assert parse(["--config=d"], **more) == (PRESETS["d"], "d")
    assert parse([f"--config={tmp_path / 'mine.py'}"], **more) == (Experiment(seed=1), "mine")


@given(st.integers())
def test_any_whole_number_is_read_as_shown(number):
    assert kind_of(int).read(shown(number)) == number


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple))
def test_any_numbers_are_read_as_shown(numbers):
    assert kind_of(tuple[float, ...]).read(shown(numbers)) == numbers


WRONG = {
    "--config=dd": "there is no preset 'dd'; did you mean 'd'?",
    "--config=digit": "did you mean 'digits'?",
    "--config=": "--config is empty",
    "--config": "--config needs a value, such as --config=a.",
    "--config --config.seed=1": "--config needs a value",
    "--config=no/such.py": "--config=no/such.py: there is no such file.",
    "--config=no/such": "a configuration file is Python and ends in .py",
    "--config=a --config=d": "--config is given twice, as a and as d; keep one of them.",
    "--config.sede=1": "there is no field 'sede'; did you mean 'seed'?",
    "--config.optimizer.learning_rat=1": "did you mean 'optimizer.learning_rate'?",
    "--config.optimizer.lr=1": "'optimizer' has name, learning_rate, weight_decay.",
    "--config.optimiser.learning_rate=1": "did you mean 'optimizer.learning_rate'?",
    "--config.optimiser.learning_rat=1": "did you mean 'optimizer.learning_rate'?",
    "--config.learning_rate=1": "did you mean 'optimizer.learning_rate'?",
    "--config.paralel=pmap": "there is no field 'paralel'; did you mean 'parallel'?",
    "--config.=1": "there is no field ''",
    "--config.seed.x=1": "there is no field 'seed.x'",
    "--config.optimizer=adam": "is a group of fields; set one of them, such as --config.optimizer.",
    "--config.optimizer": "--config.optimizer is a group of fields",
    "--confg=d": "there is no option '--confg'; did you mean '--config'?",
    "--confg.seed=1": "did you mean '--config.seed'?",
    "--optimizer.learning_rate=1": "did you mean '--config.optimizer.learning_rate'?",
    "-config=d": "did you mean '--config'?",
    "--": "there is no option '--'",
    "d": "'d' is out of place",
    "--config.restart maybe": "'maybe' is out of place",
    "--config.optimizer.learning_rate=fast": (
        "--config.optimizer.learning_rate=fast: a number is needed, such as 0.01."
    ),
    "--config.optimizer.learning_rate=nan": "a number is needed, such as 0.01.",
    "--config.optimizer.learning_rate=inf": "a number is needed, such as 0.01.",
    "--config.optimizer.learning_rate=None": "a number is needed, such as 0.01.",
    "--config.optimizer.weight_decay=x": "a number or None is needed, such as 0.01.",
    "--config.seed=1.5": "--config.seed=1.5: a whole number is needed, such as 100.",
    "--config.seed=1e400": "a whole number is needed",
    "--config.seed": "--config.seed needs a value, such as --config.seed=0.",
    "--config.seed --config.restart": "--config.seed needs a value",
    "--config.restart=maybe": "--config.restart=maybe: choose one of True, False.",
    "--config.optimizer.name=sgd": "choose one of momentum, adam.",
    "--config.parallel=pmp": "--config.parallel=pmp: choose one of jit, pmap.",
    "--config.hidden=1,b": "a list of whole numbers is needed, such as 100,100.",
    "--config.hidden=1,,2": "a list of whole numbers is needed",
    "--config.seed=1 --config.seed=2": "--config.seed is given twice, as 1 and as 2",
    "--config.parallel=jit --config.parallel.mode=pmap": "--config.parallel.mode is given twice",
}


@pytest.mark.parametrize("argv", WRONG)
def test_a_mistake_is_one_sentence_and_status_2(argv, capsys):
    assert run_main(lambda words, output: run(*words) and 0, "prog", argv.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("prog: ")
    assert WRONG[argv] in said.err
    assert one_sentence(said.err)


def one_sentence(text: str) -> bool:
    """One line with an end, and no second sentence in it."""
    return re.fullmatch(r"[^\n]+[.?]\n", text) is not None and not re.search(r"\. [A-Z]", text)


FILES = {
    "x = 1\nconfig = (\n": "mine.py, line 2: SyntaxError: '(' was never closed.",
    "def f():\n    return nothing\n\nconfig = f()\n": "mine.py, line 2: NameError: name 'nothing'",
    "import no_such_module\n": "mine.py, line 1: ModuleNotFoundError: No module named",
    "raise ValueError('two\\nlines.')": "mine.py, line 1: ValueError: two lines.",
    "x = 1\n": "mine.py defines no 'config'; add config = Experiment(...).",
    "config = {}\n": "mine.py: 'config' is of type dict; make it Experiment(...).",
    "from tests_config import *\nconfig = Experiment(seed='a')\n": (
        "mine.py: seed: a whole number is needed, such as 100; it is 'a'."
    ),
    "from tests_config import *\nconfig = Experiment(optimizer='adam')\n": (
        "mine.py: optimizer: a group of fields is needed, not 'adam'."
    ),
    "from tests_config import *\nconfig = Experiment(optimizer=OptimizerConfig('sgd'))\n": (
        "mine.py: optimizer.name: choose one of momentum, adam; it is 'sgd'."
    ),
    "from tests_config import *\nconfig = Experiment(sede=1)\n": (
        "mine.py, line 2: TypeError: Experiment.__init__() got an unexpected keyword argument"
    ),
}


@pytest.mark.parametrize("source", FILES)
def test_a_mistake_in_a_configuration_file(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tests_config", sys.modules[__name__])
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(source)
    assert run_main(lambda words, output: run(*words) and 0, "prog", ["--config=mine.py"]) == 2
    said = capsys.readouterr().err
    assert FILES[source] in said
    assert one_sentence(said)


def test_a_configuration_file_is_checked_and_overridden(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tests_config", sys.modules[__name__])
    file = tmp_path / "mine.py"
    file.write_text(
        "from tests_config import *\n"
        "config = Experiment(optimizer=OptimizerConfig(learning_rate=1), hidden=[3])\n"
    )
    config = run("--config.seed=5", f"--config={file}")
    assert config == Experiment(seed=5, optimizer=OptimizerConfig(learning_rate=1.0), hidden=(3,))
    assert type(config.optimizer.learning_rate) is float


def help_text(capsys, *argv: str, summaries: dict[str, str] | None = None) -> str:
    with pytest.raises(SystemExit) as left:
        parse(
            argv,
            presets=PRESETS,
            default="a",
            program="python -m prog",
            description="Trains a\nnetwork.\n\n    prog --config=a\n    prog\n",
            summaries=summaries,
        )
    assert left.value.code == 0
    return capsys.readouterr().out


def test_help_lists_everything(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = help_text(capsys, "--help", summaries={"a": "VGG A", "d": "VGG D, 100 %"})
    assert max(map(len, text.splitlines())) <= 80
    assert "\n\nTrains a network.\n\n    prog --config=a\n    prog\n\n" in text
    flat = " ".join(text.split())
    for field in fields_of(Experiment):
        assert f"--config.{field.name} " in flat
    for part in (
        "a VGG A (default)",
        "d VGG D, 100 %",
        "The defaults are those of --config=a.",
        "the rule of the update. [one of momentum, adam; default momentum]",
        "of the first step: 100 % of it. [a number; default 0.01]",
        "[a number or None; default None]",
        "[a list of whole numbers; default 4096,4096]",
        "parallel: the devices. --config.parallel.mode how steps",
        "begin anew. [one of True, False; default False]",
    ):
        assert part in flat, part


PROGRAMS = {
    f"experiments.{path.stem}": path
    for path in sorted((ROOT / "experiments").glob("*.py"))
    if "__main__" in path.read_text() and path.stem != "input_contestant"
} | {
    f"experiments.{name}": ROOT / "experiments" / name / "__main__.py"
    for name in ("faults", "preflight")
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_explains_every_option(program, capsys, monkeypatch):
    """With what all have in common: --help, --quiet and --json."""
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(PROGRAMS[program]), run_name="__main__")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m {program}" in text
    if "RECIPE" in text:  # has the options of the recipe
        return
    assert {"--help", "--quiet", "--json"} <= set(re.findall(r"^  (?:-h, )?(--\w+)", text, re.M))
    options = re.split(r"\n(?=  --?\w[\w.]*(?:[\n, ]|$))", text)[1:]
    for option in options:
        name, *words = option.split()
        assert [w for w in words if not w.startswith(("-", "{")) and not w.isupper()], name


def test_help_shows_the_defaults_of_the_preset(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = help_text(capsys, "-h", "--config=d")
    assert "[a number; default 0.25]" in text
    assert "[a whole number; default 4]" in text
    assert "The defaults are those of --config=d." in text


def test_version(capsys):
    with pytest.raises(SystemExit) as left:
        run("--version")
    assert left.value.code == 0
    assert capsys.readouterr().out == f"jaxcnn {__version__}\n"


def test_fields_are_described_by_their_docstrings():
    described = {field.name: field for field in fields_of(Experiment)}
    assert list(described)[:3] == [
        "optimizer.name",
        "optimizer.learning_rate",
        "optimizer.weight_decay",
    ]
    assert described["optimizer.name"].help == "the rule of the update."
    assert described["optimizer.name"].choices == ("momentum", "adam")
    assert described["parallel.devices"].help == "how many; None for all."
    assert described["parallel.devices"].type == int | None
    assert described["hidden"].default == (4096, 4096)
    assert undocumented(Experiment) == []


def test_fields_without_description_are_found():
    @dataclasses.dataclass(frozen=True)
    class Group:
        """No section."""

        x: int = 0

    @dataclasses.dataclass(frozen=True)
    class Tree:
        """Some.

        Attributes:
          group: described.
        """

        group: Group = dataclasses.field(default_factory=Group)
        y: float = 0.0

    assert undocumented(Tree) == ["group.x", "y"]


def test_a_type_that_no_command_line_can_give_is_a_bug():
    @dataclasses.dataclass(frozen=True)
    class Bad:
        """A dict."""

        table: dict[str, int] = dataclasses.field(default_factory=dict)

    with pytest.raises(TypeError, match="dict"):
        fields_of(Bad)


def test_dicts_go_through_json_and_back():
    config = dataclasses.replace(PRESETS["d"], names=("x",), workdir="w", hidden=())
    data = to_dict(config)
    assert data["optimizer"]["learning_rate"] == 0.25
    assert from_dict(Experiment, json.loads(json.dumps(data))) == config
    del data["optimizer"]["learning_rate"]
    assert from_dict(Experiment, data).optimizer.learning_rate == 0.01


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"sede": 1}, "there is no field 'sede'; did you mean 'seed'?"),
        ({"optimizer": {"learning_rat": 1}}, "did you mean 'optimizer.learning_rate'?"),
        ({"seed": True}, "seed: a whole number is needed, such as 100; it is True."),
        ({"seed": 1.0}, "seed: a whole number is needed"),
        ({"restart": 1}, "restart: choose one of True, False; it is 1."),
        ({"optimizer": 3}, "optimizer: a group of fields is needed, not 3."),
        ({"optimizer": {"learning_rate": float("inf")}}, "optimizer.learning_rate: a number"),
        ({"hidden": [1, "x"]}, "hidden: a list of whole numbers is needed"),
        ({"workdir": 3}, "workdir: a text or None is needed"),
        ([], "configuration: a group of fields is needed, not []."),
    ],
)
def test_dicts_that_are_no_configuration(data, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)) as error:
        from_dict(Experiment, data)
    assert one_sentence(f"{error.value}\n")


def test_other_errors_are_tracebacks_and_an_interrupt_is_quiet(capsys):
    def interrupted(words, output):
        raise KeyboardInterrupt

    assert run_main(lambda words, output: 75, "prog", []) == 75
    assert run_main(interrupted, "prog", []) == 130
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ZeroDivisionError):
        run_main(lambda words, output: 1 // 0, "prog", [])


@pytest.mark.parametrize("reader", ["closed", "open"])
def test_a_broken_pipe_is_quiet_only_where_nobody_reads(reader):
    """``--help | head`` ends silently; a pipe to a worker that breaks is a traceback."""
    body = "print('x' * 100_000) or 0" if reader == "closed" else "(_ for _ in ()).throw(error)"
    code = (
        "import sys; from jaxcnn.cli.exit_status import run_main\n"
        "error = BrokenPipeError('of a worker')\n"
        f"sys.exit(run_main(lambda words, output: {body}, 'prog', []))"
    )
    read, write = os.pipe()
    if reader == "closed":
        os.close(read)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        timeout=60,
    )
    os.close(write)
    if reader == "closed":
        assert (ended.returncode, ended.stderr) == (141, "")
    else:
        os.close(read)
        assert ended.returncode == 1
        assert ended.stderr.endswith("BrokenPipeError: of a worker\n")
