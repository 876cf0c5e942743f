"""The README: every code block runs, and every figure stands in a committed file.

Of the page on many machines every command is understood, and the manifest is one.
"""

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from documentation import (
    ROOT,
    VARIABLE,
    code_blocks,
    commands_of,
    commands_of_a_script,
    run,
    run_command,
    run_python,
    understand,
)

from experiments import benchmark, commandline, comparison, input_benchmark, results, study
from experiments import digits as digits_table
from experiments.faults.command import FaultsConfig, lines_of
from jaxcnn import list_models
from jaxcnn.models import create_model

README = (ROOT / "README.md").read_text()
MANY_MACHINES = (ROOT / "docs" / "many_machines.md").read_text()

BLOCKS = code_blocks(README)
COMMANDS = commands_of(README)
RESULTS = ROOT / "docs" / "results"

# What `.ci/run` does itself around these tests, and so cannot be done within them.
AROUND = {"pip install -e .", "pip install -e '.[test]'", "python -m pytest"}
# Without ImageNet, the user's folders and the other process a command ends with its sentence.
WITHOUT_DATA = {
    "--manual_dir=FOLDER/OF/THE/TARS": "FOLDER/OF/THE/TARS",
    "--config=d": "experiments.prepare imagenet2012",
    "--config.data.source=PATH/TO/FOLDERS": "PATH/TO/FOLDERS",
    "--weights=FILE": "imagenet2012 is not in",
    "--raw": "imagenet2012",
}
FIRST = "python -m experiments.vgg_imagenet --config=digits"
ON_THE_FIRST = [c for c in COMMANDS if re.search("runs/vgg_imagenet/digits|=reader", c)]
ONE_EPOCH = "--config.train.epochs=1 --config.schedule.warmup_epochs=0"
# The quick suite only parses these; the tests of each command run it in its smallest form.
LONG = re.compile(
    r"experiments\.(benchmark|faults|largest_batch|traffic)|jaxcnn complexity|runs/short"
)
# What would take minutes, and what is done in its place: of all faults a single one.
NONE_OF_THE_OTHERS = [
    f"--{name}=0"
    for name, count in dataclasses.asdict(FaultsConfig()).items()
    if isinstance(count, int) and name not in ("seed", "kills", "moves")
]
SHORTER = {
    "benchmark --model=vgg16": "benchmark --model=vgg16 --image_size=32 --batch_size=1 --rounds=1 "
    "--steps=1",
    "--compare=flax,keras,torch,torch-channels-last,torch-compile": "--compare=flax",
    "--kills=100": " ".join(["--kills=1", "--moves=False", *NONE_OF_THE_OTHERS]),
}


def containers_of(manifest):
    (job,) = manifest["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    return [*pod["initContainers"], *pod["containers"]]


def commands_of_a_manifest(text):
    """The same of every container."""
    for container in containers_of(yaml.safe_load(text)):
        python, option, module, *words = container["command"]
        assert (python, option) == ("python", "-m")
        words = [VARIABLE.sub("1", word) for word in [*words, *container["args"]]]
        yield [module.removeprefix("experiments."), *words]


READERS = {"bash": commands_of_a_script, "yaml": commands_of_a_manifest}
ON_MANY_MACHINES = [
    words for language, block in code_blocks(MANY_MACHINES) for words in READERS[language](block)
]


def test_ci_runs_what_cannot_be_run_within_a_test():
    script = (ROOT / ".ci" / "run").read_text()
    assert "pip install --quiet -e '.[test,docs]'" in script
    assert "python -m mkdocs build --strict" in script
    assert "python -m pytest" in script
    assert set(COMMANDS) >= AROUND


@pytest.mark.full
def test_the_first_command_reaches_what_the_readme_says(tmp_path):
    process = run(FIRST, tmp_path)
    assert process.returncode == 0, process.stderr
    assert "Result: top-1 accuracy" in process.stdout
    result = json.loads((tmp_path / "runs/vgg_imagenet/digits/result.json").read_text())
    assert result["accuracy"] >= 0.98


@pytest.fixture(scope="module")
def after_the_first(tmp_path_factory):
    """The folder in which the README's first command was given, for one epoch, and what it did."""
    folder = tmp_path_factory.mktemp("first")
    return folder, run(f"{FIRST} {ONE_EPOCH}", folder)


def test_the_first_command_trains_and_states_its_result(after_the_first):
    folder, process = after_the_first
    assert process.returncode == 0, process.stderr
    assert "Result: top-1 accuracy" in process.stdout
    result = json.loads((folder / "runs/vgg_imagenet/digits/result.json").read_text())
    assert result["epochs"] == 1


@pytest.mark.usefixtures("compile_quickly")
def test_the_commands_on_what_the_first_one_left_work(after_the_first, monkeypatch, capsys):
    folder, _ = after_the_first
    monkeypatch.chdir(folder)
    assert len(ON_THE_FIRST) == 7
    for command in ON_THE_FIRST:
        assert run_command(command) == 0, command
        assert capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=[pytest.mark.full] if LONG.search(c) else [])
        for c in COMMANDS
        if c not in {*AROUND, FIRST, *ON_THE_FIRST} and "parallel.coordinator" not in c
    ],
)
def test_a_command(command, tmp_path):
    for words, fewer in SHORTER.items():
        command = command.replace(words, fewer)
    process = run(command, tmp_path)
    sentence = next((s for word, s in WITHOUT_DATA.items() if word in command.split()), None)
    if sentence is not None:
        assert process.returncode == 2
        assert sentence in process.stderr
        return
    assert process.returncode == 0, process.stderr
    assert process.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if LONG.search(c)])
def test_every_option_of_a_long_command_is_known(command):
    understand(command)


def test_the_command_of_several_processes_is_understood(tmp_path):
    """Every field of it is known: what is refused is a number of processes that cannot be."""
    (command,) = (c for c in COMMANDS if "parallel.coordinator" in c)
    command = command.replace("HOST:PORT", "127.0.0.1:1234")
    process = run(command.replace("processes=2", "processes=0"), tmp_path)
    assert process.returncode == 2
    assert "parallel.process" in process.stderr


@pytest.mark.parametrize("words", ON_MANY_MACHINES, ids=" ".join)
def test_a_command_on_many_machines_is_understood(words):
    module, *options = words[1:] if words[0] == "preflight" else words
    recipe = {recipe.name: recipe for recipe in digits_table.recipes()}[module]
    config, preset = commandline.parse(
        options, presets=recipe.presets, default=recipe.default, program="", description=""
    )
    config.check()
    assert preset == "d"
    assert config.workdir == "/shared/runs/d"
    launched = config.parallel.detect != (config.parallel.coordinator is not None)
    assert launched or config.checkpoint.bucket or len(options) == 2


def test_every_launcher_has_its_command():
    assert len(ON_MANY_MACHINES) == MANY_MACHINES.count("-m experiments.") + MANY_MACHINES.count(
        "-m, experiments."
    )
    for launcher in ("srun", "mpirun", "JobSet", "gcloud"):
        assert launcher in MANY_MACHINES


@pytest.mark.parametrize("block", [b for kind, b in code_blocks(MANY_MACHINES) if kind == "bash"])
def test_a_script_is_one(block):
    for shell in ("bash", "sh"):
        subprocess.run([shell, "-n"], input=block, text=True, check=True)


def test_the_manifest_fits_together():
    (text,) = (b for kind, b in code_blocks(MANY_MACHINES) if kind == "yaml")
    manifest = yaml.safe_load(text)
    (job,) = manifest["spec"]["replicatedJobs"]
    name, spec = manifest["metadata"]["name"], job["template"]["spec"]
    pod = spec["template"]["spec"]
    # JobSet calls pod 0 of job 0 so.
    coordinator = f"{name}-{job['name']}-0-0.{name}"
    assert spec["completions"] == spec["parallelism"]
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [1, 2]
    assert (spec["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in containers_of(manifest):
        assert f"--config.parallel.coordinator={coordinator}:1234" in container["args"]
        assert f"--config.parallel.processes={spec['completions']}" in container["args"]
        assert "--config.parallel.process=$(JOB_COMPLETION_INDEX)" in container["args"]
        (mount,) = container["volumeMounts"]
        assert mount["name"] in volumes
        assert any(f"={mount['mountPath']}/" in argument for argument in container["args"])


@pytest.mark.parametrize("block", [b for kind, b in BLOCKS if kind == "python"])
def test_a_piece_of_python(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python(block, {"__name__": "readme"}, page="README.md")


def test_the_table_of_networks_is_whole_and_right():
    import jax
    import jax.numpy as jnp

    rows = re.findall(
        r"^\| (`[^|]*) \| [^|]* \| ([\d ×]+) \| ([\d,]+) \| ([\d,; ]+) \|$", README, re.MULTILINE
    )
    published = []
    for names, size, classes, counts in rows:
        shape = tuple(int(n) for n in size.split(" × "))
        named = re.findall(r"`(\w+)`", names)
        for name, count in zip(named, counts.split("; "), strict=True):
            model = create_model(name, num_classes=int(classes.replace(",", "")))
            shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
            total = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
            assert f"{total:,}" == count, name
            published.append(name)
    assert sorted(published) == list_models()


def test_the_figures_are_those_of_the_committed_files():
    digits = json.loads((RESULTS / "vgg_imagenet_digits.json").read_text())
    assert digits["command"] in COMMANDS
    text = results.text(digits["result"], Path("runs/vgg_imagenet/digits"))
    assert f"```text\n{text}\n```" in README
    speed = json.loads((RESULTS / "benchmark_vgg16_cpu.json").read_text())
    assert speed["command"] in COMMANDS
    assert f"```text\n{benchmark.text(speed)}\n```" in README
    rows = [
        f"{n}_{m}"
        for n in ("vgg16", "resnet50", "alexnet", "googlenet")
        for m in ("train", "inference")
    ]
    for folder, names in (
        ("speed_cpu", [*rows, "vgg16_train_others", "vgg16_inference_others"]),
        ("speed_cpu_large_pages", [row for row in rows if row.endswith("train")]),
    ):
        compared = [json.loads((RESULTS / folder / f"{n}.json").read_text()) for n in names]
        assert comparison.summary(compared) in README
    read = json.loads((RESULTS / "input_benchmark.json").read_text())
    assert f"```text\n{input_benchmark.table(read['results'])}\n```" in README
    recipes = json.loads((RESULTS / "digits.json").read_text())
    assert recipes["command"] in README
    assert digits_table.markdown(recipes) in README
    survived = json.loads((RESULTS / "faults.json").read_text())
    assert survived["command"] in COMMANDS
    assert lines_of(survived["faults"]) in README
    traffic = (RESULTS / "traffic.txt").read_text()
    (command,) = (c for c in COMMANDS if "experiments.traffic" in c)
    assert f"$ {command}\n" in traffic
    for model, sent in (("alexnet", ("406.99", "30.56")), ("vgg16", ("923.64", "126.78"))):
        (row,) = re.findall(
            rf"^{model}, batch 128, .*?^  sent in a step +(.*?)$", traffic, re.MULTILINE | re.DOTALL
        )
        assert (row.split()[0], row.split()[-1]) == sent  # rounded in the text
    for name in ("depth_study", "degradation", "ablations"):
        assert study.errors_table(json.loads((RESULTS / f"{name}.json").read_text())) in README
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / link).exists(), link
