"""What the commands `python -m jaxcnn` have in common: how they are chosen, asked and answer."""

import json
import subprocess
import sys

import pytest

from jaxcnn import list_models
from jaxcnn.cli.commands import COMMANDS, main, overview, parser_of
from jaxcnn.cli.exit_status import run_main


def run(*words):
    return run_main(main, "jaxcnn", list(words))


def test_without_a_command_it_says_which_there_are(capsys):
    for words in ([], ["--help"]):
        assert run(*words) == 0
        assert capsys.readouterr().out == f"{overview()}\n"
    assert all(f"  {name} " in overview() for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    parser = parser_of(name)
    assert f"python -m jaxcnn {name}" in parser.format_help()
    for action in parser._actions:
        assert action.help, f"{name}: {action.dest} has no help"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lsit"], "there is no command 'lsit'; did you mean 'list'?"),
        (["list", "--jsno"], "there is no option '--jsno'; did you mean '--json'?"),
        (["list", "a", "b"], "'b' is out of place; python -m jaxcnn list --help says what is not."),
        (["list", "vgg17*"], "no network's name matches 'vgg17*'; list shows all names."),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence, capsys):
    assert run(*words) == 2
    assert capsys.readouterr() == ("", f"jaxcnn: {sentence}\n")


def test_list_prints_names_and_json(capsys):
    assert run("list", "vgg1?_bn") == 0
    assert capsys.readouterr().out.split() == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert run("list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == list_models()


def test_it_is_a_program():
    ended = subprocess.run(
        [sys.executable, "-m", "jaxcnn", "list", "lenet5"], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "lenet5\n", "")
