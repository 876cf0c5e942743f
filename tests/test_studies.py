"""Studies: what they make of several seeds, how they go on when stopped, what they refuse."""

import contextlib
import dataclasses
import io
import json
import re
import statistics

import pytest

from experiments import ablations, degradation, depth_study, digits, repetition
from experiments.commandline import fields_of, from_dict, to_dict, undocumented
from experiments.config import Experiment
from experiments.outcomes import Outcome, Spread, summary, table
from experiments.repetition import chosen
from experiments.run import AGAIN, Recipe, run
from experiments.study import Study, StudyConfig, _varied, errors_table, main
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError

STUDIES = [module.STUDY for module in (ablations, degradation, depth_study)]
VARIED = [
    (study, preset, name)
    for study in STUDIES
    for preset in study.presets
    for name in study.variations
]
# One epoch of four steps.
TINY = (
    "--config.model.width=4",
    "--config.model.hidden=8",
    "--config.train.epochs=1",
    "--config.train.batch_size=112",
    "--config.data.train_split=train[:448]",
    "--config.parallel.devices=1",
    "--config.data.threads=1",
)


def outcome(seed=0, error=0.02, training=(0.5, 0.1), seconds=10.0):
    epochs = tuple(float(i + 1) for i in range(len(training)))
    return Outcome(seed, error, 100, training, training, epochs, seconds, "cpu")


@dataclasses.dataclass
class Ran:
    status: int
    output: str
    errors: str


def call(command, *arguments):
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = command(arguments)
    return Ran(status, output.getvalue(), errors.getvalue())


def depth(*arguments):
    return call(lambda words: main(depth_study.STUDY, words), "--config=digits", *TINY, *arguments)


# ---- arithmetic


def test_mean_and_sample_deviation_by_hand():
    """1, 2 and 6 %: a mean of 3, squares 4 + 1 + 9, and 14 / 2 = 7."""
    spread = Spread.of([0.01, 0.02, 0.06])
    assert spread.mean == pytest.approx(0.03, abs=1e-15)
    assert spread.deviation == pytest.approx(7**0.5 / 100, abs=1e-15)
    assert spread.percent() == "3.00 ± 2.65"


def test_a_single_seed_has_no_spread():
    assert Spread.of([0.0125]) == Spread(0.0125, None)
    assert Spread.of([0.0125]).percent() == "1.25"


def test_the_summary_of_three_runs():
    runs = [
        outcome(seed=3, error=0.01, training=(0.9, 0.2)),
        outcome(seed=4, error=0.02, training=(0.9, 0.3), seconds=None),  # stopped and continued
        outcome(seed=5, error=0.06, training=(0.9, 0.7), seconds=20.0),
    ]
    assert summary(runs) == {
        "seeds": [3, 4, 5],
        "examples": 100,
        "errors": [0.01, 0.02, 0.06],
        "error": {"mean": pytest.approx(0.03), "deviation": pytest.approx(7**0.5 / 100)},
        "training_errors": [0.2, 0.3, 0.7],
        "training_error": {"mean": pytest.approx(0.4), "deviation": pytest.approx(0.07**0.5)},
        "seconds": 15.0,
    }
    assert summary([outcome(seconds=None)])["seconds"] is None


def test_a_table_is_markdown_with_its_columns_in_line():
    assert table(("name", "error"), [("a", "1.00 ± 0.50"), ("a_lrn", "2.00")]) == (
        "| name  | error       |\n"
        "|-------|-------------|\n"
        "| a     | 1.00 ± 0.50 |\n"
        "| a_lrn | 2.00        |"
    )


def test_the_errors_of_a_study_as_a_table():
    runs = {"a": [outcome(0, 0.01), outcome(1, 0.03)], "b": [outcome(0, 0.05)]}
    result = {"variations": {name: summary(of) for name, of in runs.items()}}
    *_, first, second = errors_table(result).splitlines()
    assert [cell.strip() for cell in first.split("|")[1:-1]] == [
        "a", "2.00 ± 1.41", "10.00 ± 0.00", "2",
    ]  # fmt: skip
    assert [cell.strip() for cell in second.split("|")[1:-1]] == ["b", "5.00", "10.00", "1"]


# ---- the studies as they are


@pytest.mark.parametrize(
    ("study", "preset", "name"), VARIED, ids=[f"{s.name}-{p}-{n}" for s, p, n in VARIED]
)
def test_every_run_of_a_study_is_valid(study: Study, preset, name):
    config = study.presets[preset]
    varied = _varied(config, study.variations[name], config)
    varied.check()
    assert from_dict(Experiment, to_dict(varied)) == varied
    # What a variation sets, and nothing else, differs from what all share.
    shared = {f.name: f.default for f in fields_of(config.experiment())}
    differing = {f.name for f in fields_of(varied) if f.default != shared[f.name]}
    assert differing <= set(study.variations[name])


@pytest.mark.parametrize("study", STUDIES, ids=lambda s: s.name)
def test_a_study_draws_all_it_trains_and_names_itself(study: Study):
    drawn = {name for panel in study.panels.values() for name in panel.values()}
    assert drawn == set(study.variations)
    assert study.default == "digits"
    assert study.presets.keys() == study.summaries.keys()
    assert f"python -m experiments.{study.name}" in study.description
    for config in study.presets.values():
        config.check_runs()
        assert chosen(study.variations, config.only)
        assert from_dict(StudyConfig, to_dict(config)) == config


def test_variations_differ_from_each_other():
    for study in STUDIES:
        config = study.presets["digits"]
        varied = [_varied(config, changes, config) for changes in study.variations.values()]
        assert len(varied) == len({json.dumps(to_dict(v)) for v in varied})


def test_every_field_of_a_study_says_what_it_means():
    assert undocumented(StudyConfig) == []
    assert undocumented(digits.DigitsConfig) == []


# ---- a study from its command to its files


@pytest.fixture(scope="module")
def studied(tmp_path_factory, compile_quickly):
    """A and A-LRN from two seeds; stopped in the third run, and continued."""
    place = tmp_path_factory.mktemp("study")
    arguments = ("--config.only=a*", "--config.seeds=0,7", f"--config.workdir={place / 'study'}")
    ran = []

    def run_two(config, recipe, preset):
        ran.append(preset)
        return AGAIN if len(ran) == 3 else run(config, recipe, preset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repetition, "run", run_two)
        first = depth(*arguments)
    assert first.status == AGAIN, first.errors
    before = {
        path.parent.relative_to(place): path.stat().st_mtime_ns
        for path in place.rglob("result.json")
    }
    second = depth(*arguments)
    assert second.status == 0, second.errors
    return place, first, before, second, arguments


def test_a_stopped_study_goes_on_by_the_same_command(studied):
    place, first, before, second, _ = studied
    assert first.output.splitlines()[-1] == (
        "Stopped in run 3 of 4; the same command goes on from there."
    )
    assert {str(path) for path in before} == {"study/a/seed_0", "study/a/seed_7"}
    assert re.findall(r"^\[(\d) of 4\] (\w+), seed (\d)", second.output, re.MULTILINE) == [
        ("1", "a", "0"), ("2", "a", "7"), ("3", "a_lrn", "0"), ("4", "a_lrn", "7"),
    ]  # fmt: skip
    for path, written in before.items():  # finished runs are not made again
        assert (place / path / "result.json").stat().st_mtime_ns == written


def test_a_study_writes_what_its_runs_found(studied):
    place, _, _, second, _ = studied
    result = json.loads((place / "study" / "study.json").read_text())
    assert result["study"] == "depth_study"
    assert result["variations"].keys() == {"a", "a_lrn"}
    for name, of in result["variations"].items():
        runs = [place / "study" / name / f"seed_{seed}" for seed in (0, 7)]
        accuracies = [json.loads((r / "result.json").read_text())["accuracy"] for r in runs]
        assert of["errors"] == [1 - accuracy for accuracy in accuracies]
        assert of["error"]["mean"] == statistics.fmean(of["errors"])
        lines = [json.loads(x) for x in (runs[0] / "metrics.jsonl").read_text().splitlines()]
        (epoch,) = (line for line in lines if line["kind"] == "epoch")
        assert of["training_errors"][0] == 1 - epoch["accuracy"]
        config = json.loads((runs[1] / "config.json").read_text())
        assert (config["seed"], config["model"]["width"]) == (7, 4)
        assert config["model"]["name"] == {"a": "vgg11", "a_lrn": "vgg11_lrn"}[name]
    assert len({tuple(of["errors"]) for of in result["variations"].values()}) == 2
    lines = (place / "study" / "table.md").read_text().strip()
    assert lines == errors_table(result)
    assert lines in second.output
    assert "Result: the lowest mean error is that of " in second.output
    assert second.output.endswith("study.png, and a folder of each run.\n")


def test_the_picture_of_a_study_shows_both_errors(studied):
    import cv2

    from jaxcnn.inspection import pictures

    picture = cv2.imread(str(studied[0] / "study" / "study.png"))
    for color in (pictures.TRAINING, pictures.EVALUATION):
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        assert (picture == (blue, green, red)).all(axis=-1).sum() > 100


def test_a_finished_study_says_the_same_again_and_a_restart_sets_it_aside(studied):
    place, _, _, second, arguments = studied
    table_before = (place / "study" / "table.md").read_bytes()
    again = depth(*arguments)
    assert again.status == 0
    assert again.output.splitlines()[-1] == second.output.splitlines()[-1]
    assert (place / "study" / "table.md").read_bytes() == table_before
    other = depth(*arguments, "--config.train.log_every=5", "--config.optimizer.learning_rate=0.1")
    assert other.status == 2
    assert "optimizer.learning_rate" in other.errors
    assert "--config.restart=True" in other.errors
    anew = depth("--config.only=a", "--config.seeds=7", "--config.restart=True", arguments[-1])
    assert anew.status == 0, anew.errors
    assert [p.name for p in (place / "study").iterdir() if p.is_dir()] == ["a"]
    (aside,) = place.glob("study.*")
    assert (aside / "table.md").read_bytes() == table_before
    # The same seed gives the same numbers.
    ours, theirs = ((p / "a/seed_7/metrics.jsonl").read_bytes() for p in (place / "study", aside))
    assert ours == theirs


# ---- mistakes


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--config.only=f", "there is no variation 'f'"),
        ("--config.only=a_lr", "did you mean 'a_lrn'?"),
        ("--config.seeds=1,1", "seeds=1,1 must be one or more, each once"),
        ("--config.seeds=()", "seeds=() must be one or more"),
        ("--config.seeds=-1", "seed=-1 must be at least 0"),
        ("--config.seed=3", "seed=3 is for one run; give seeds"),
        ("--config.model.name=vgg13", "model.name is what this study varies"),
        ("--config.train.batch_size=0", "a: train.batch_size=0 must be 1 or more"),
        ("--config.parallel.detect=True", "one run after another in one process"),
        ("--config.depth=3", "there is no field 'depth'"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_trained(words, sentence, tmp_path):
    arguments = [word for word in TINY if not words.startswith(word.partition("=")[0] + "=")]
    workdir = f"--config.workdir={tmp_path / 'study'}"
    ran = call(lambda w: main(depth_study.STUDY, w), "--config=digits", *arguments, workdir, words)
    assert ran.status == 2
    assert sentence in ran.errors
    assert ran.errors.count("\n") == 1
    assert ran.output == ""
    assert not list(tmp_path.iterdir())


def test_a_result_that_cannot_be_read_is_named(tmp_path):
    from experiments.outcomes import read_outcome

    (tmp_path / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result\.json cannot be read"):
        read_outcome(tmp_path, 0)


# ---- all recipes on the digits


def test_presets_on_the_digits_that_need_no_other_run_are_found():
    found = digits.digits_presets(digits.recipes())
    assert {"vgg_imagenet/digits", "vgg_imagenet/e_digits", "vgg_stl10/bn_digits"} <= found.keys()
    assert not any(name.startswith("finetune") for name in found)
    assert all(config.data.source == "digits" for config in found.values())


def test_the_digits_of_a_recipe_from_its_command_to_the_table(tmp_path, compile_quickly):
    small = digits.recipes()
    config = dataclasses.replace(
        next(recipe for recipe in small if recipe.name == "vgg_small").presets["digits"],
    )
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, width=4),
        data=dataclasses.replace(config.data, train_split="train[:224]"),
        train=dataclasses.replace(config.train, epochs=1, batch_size=112),
        parallel=dataclasses.replace(config.parallel, devices=1),
    )
    given = digits.DigitsConfig(
        seeds=(0, 1), workdir=str(tmp_path / "all"), output=str(tmp_path / "digits.json")
    )
    ran = call(lambda _: digits.measure(given, {"vgg_small/digits": config}, Output()))
    assert ran.status == 0
    result = json.loads((tmp_path / "digits.json").read_text())
    assert result == json.loads((tmp_path / "all" / "digits.json").read_text())
    lines = digits.markdown(result)
    assert lines in ran.output
    assert lines == (tmp_path / "all" / "table.md").read_text().strip()
    cells = [cell.strip() for cell in lines.splitlines()[-1].split("|")[1:-1]]
    of = result["presets"]["vgg_small/digits"]
    accuracies = [1 - error for error in of["errors"]]
    assert cells == [
        "`vgg_small`",
        "`digits`",
        "`vgg_small`",
        f"{100 * statistics.fmean(accuracies):.2f} ± {100 * statistics.stdev(accuracies):.2f}",
        f"{of['seconds']:.0f}",
    ]


def test_presets_that_start_from_another_run_are_left_out():
    config = Experiment()
    started = dataclasses.replace(
        config, model=dataclasses.replace(config.model, initialize_from="runs/vgg_imagenet/digits")
    )
    presets = {"digits": config, "digits_wide": config, "a_digits": started, "paper": config}
    recipe = Recipe("x", "", presets, {}, "digits")
    assert list(digits.digits_presets([recipe])) == ["x/digits", "x/digits_wide"]
