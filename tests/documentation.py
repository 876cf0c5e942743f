"""The code blocks of the README and of the pages in docs/: found, run and understood."""

import importlib
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path
from unittest import mock

from experiments import commandline
from experiments.evaluation_config import EvaluateConfig
from experiments.faults.command import FaultsConfig
from experiments.options import parse_options
from experiments.run import main as run_recipe
from jaxcnn.cli.commands import parser_of
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser

ROOT = Path(__file__).parents[1]

# What a shell or a launcher puts in the place of a variable.
VARIABLE = re.compile(r"\$\{?(\w+)\}?|\$\((\w+)\)")


BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"\n]*)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def titled_blocks(text):
    """The language, the title ('' without) and the content of each block of code."""
    return BLOCK.findall(text)


def code_blocks(text):
    """The language and the content of each."""
    return [(language, block) for language, _, block in titled_blocks(text)]


def commands_of(text):
    """The commands of all blocks of bash, each on one line."""
    return [
        command
        for language, block in code_blocks(text)
        if language == "bash"
        for command in commands_in(block)
    ]


def commands_in(block):
    """The commands of a block of bash, one for each of its lines and `&&`."""
    lines = block.replace("\\\n", " ").splitlines()
    return [command.strip() for line in lines for command in line.split("&&") if command.strip()]


def value(variable):
    return "2" if variable.endswith("_SIZE") else "1"


def commands_of_a_script(script):
    """The words after `python -m experiments.` of every command in it."""
    script = script.replace("\\\n", " ")
    own = dict(re.findall(r'^(\w+)="(.*)"$', script, re.MULTILINE))
    script = VARIABLE.sub(lambda found: own.get(found[1]) or value(found[1]), script)
    return [
        found.split()
        for found in re.findall(r"python -m experiments\.([^\n']*?)(?: \|\||['\n])", script)
    ]


def run(command, cwd):
    """Runs a `python ...` in a process of its own, without the tests' virtual devices."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "TFDS_DATA_DIR": str(cwd / "tfds"),
        "JAX_COMPILATION_CACHE_DIR": str(Path(os.environ["JAXCNN_CACHE"]) / "xla"),
        "XLA_FLAGS": "",
    }
    words = shlex.split(command)
    assert words[0] == "python"
    return subprocess.run(
        [sys.executable, *words[1:]],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def run_python(block, names, *, page):
    """Runs a block with what those before it have defined."""
    exec(compile(block, page, "exec"), names)


def run_file(title, block):
    """Takes a block for the file of its title: a module of that name, whose tests are run."""
    name = ".".join(Path(title).with_suffix("").parts)
    module = types.ModuleType(name)
    sys.modules[name] = module
    run_python(block, module.__dict__, page=title)
    for function in vars(module).copy():
        if function.startswith("test_"):
            getattr(module, function)()


def run_command(command):
    """Runs a `python -m ...` of ours in this process, on one device; returns its exit status."""
    name, words = _of_ours(command)
    module = importlib.import_module("jaxcnn.cli.commands" if name == "jaxcnn" else name)
    try:
        if hasattr(module, "RECIPE"):
            return run_recipe(module.RECIPE, [*words, "--config.parallel.devices=1"])
        return run_main(module.main, name, words)
    except SystemExit as exit:  # of --help
        return exit.code


def understand(command):
    """Has a command's own parser read its options and check what they say; nothing is run.

    Raises:
      UserError, SystemExit: an option is none, or its value cannot work.
    """
    name, words = _of_ours(command)
    if name == "jaxcnn":
        parser_of(words[0]).read(words[1:])
        return
    configurations = {"experiments.evaluate": EvaluateConfig, "experiments.faults": FaultsConfig}
    if name in configurations:
        parse_options(words, configurations[name](), program=name, description="").check()
        return
    if name == "experiments.largest_batch":  # which takes its own option out before it parses
        words = [word for word in words if not word.startswith("--memory=")]
    if name in ("experiments.preflight", "experiments.largest_batch"):
        name, words = f"experiments.{words[0]}", words[1:]
    module = importlib.import_module(name)
    if hasattr(module, "RECIPE"):
        config, _ = commandline.parse(
            words,
            presets=module.RECIPE.presets,
            default=module.RECIPE.default,
            program=name,
            description="",
        )
        config.check()
        return
    with mock.patch.object(Parser, "read", _read_and_stop):
        try:
            module.main(words, Output())
        except _Understood:
            return
    raise AssertionError(f"{name} has no parser")


class _Understood(Exception):  # noqa: N818 - it is no error
    """The words of a command line are options of it."""


def _read_and_stop(parser, words, read=Parser.read):
    read(parser, words)
    raise _Understood


def _of_ours(command):
    """The module and the words of `python -m MODULE WORDS`."""
    python, option, module, *words = shlex.split(command, comments=True)
    assert (python, option) == ("python", "-m")
    return module, words
