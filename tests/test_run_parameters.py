"""What run.py is asked for: parameters of the right kind and range, options that go together, or an error at once."""

import json
import re

import pytest
from toy import forget

from bookkeeping import SeriesError
from bookkeeping.parameters import DECLARED
from bookkeeping.runs import check_parameters
from runner import paths
from runner.notebooks import read_notebooks
from runner.parameters import absolute, read_grid, values_of

NOTEBOOKS = paths.NOTEBOOKS  # the real ones


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SEED", "7", 7),
        ("SAMPLES", "-1", -1),
        ("LEARNING_RATE", "3e-5", 3e-5),
        ("LEARNING_RATE", "1e-4", 1e-4),
        ("LEARNING_RATE", "5", 5.0),
        ("LEARNING_RATE", "none", None),
        ("LEARNING_RATE", "null", None),
        ("NAP", "1", 1.0),
        ("EXACT", "true", True),
        ("EXACT", "off", False),
        ("CORPUS", "no", "no"),
        ("CORPUS", "none", "none"),
        ("CORPUS", "12", "12"),
        ("CORPUS", "google/model", "google/model"),
        ("COMPARE", "~", None),
    ],
)
def test_values_have_the_type_that_the_notebook_declares(run, name, text, value):
    (converted,) = values_of({name: [text]}, read_notebooks())[name]
    assert converted == value and type(converted) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("SEED", "1.5", "a whole number"),
        ("SEED", "none", "a whole number"),
        ("NAP", "none", "a number"),
        ("NAP", "nan", "a number"),
        ("NAP", "1e999", "a number"),
        ("SEED", "9" * 400, "a whole number"),
        ("SEED", "9" * 5000, "a whole number"),
        ("CORPUS", "", "a name or a path"),
        ("CORPUS", "~", "a name or a path"),
        ("CORPUS", "null", "a name or a path"),
        ("CORPUS", "~no-such-user/corpus", "a name or a path"),
        ("LEARNING_RATE", "fast", "a number or none"),
        ("EXACT", "2", "true or false"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_right_one(run, capsys, name, text, wanted):
    assert run.main(["-p", name, text]) == 2
    message = capsys.readouterr().err
    assert f"{name} is {repr(text)[:77]}" in message and f"expected {wanted}" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "SEEDS", "1"], "Did you mean SEED?"),
        (["-p", "learning_rate", "1"], "Did you mean LEARNING_RATE?"),
        (["-p", "COLOUR", "1"], "CORPUS, EXACT, LEARNING_RATE"),
        (["-p", "SEED"], "-p SEED needs a value"),
        (["-p", "SEED", "1", "-p", "SEED", "2"], "-p SEED VALUE VALUE"),
        (["-p", "RUN", "../elsewhere"], "plain name"),
        (["-p", "RUN", "/elsewhere"], "plain name"),
        (["-p", "RUN", ".locks"], "plain name"),
        (["--sweep", ".calls"], "plain name"),
        (["-p", "SEED", "1", "2", "-p", "RUN", "mine"], "--sweep NAME"),
        (["-p", "SEED", "1", "--until", "03"], "leaves out"),
        (["--until", "09"], "There are: 01_setup, 02_load"),
        (["-p", "SEED", "1", "2", "--index", "2"], "from 0 to 1"),
        (["-p", "SEED", "1", "-p", "COMPARE", "SEED", "NAP"], "COMPARE takes one value"),
        (["-p", "MAX_LEN", "8", "9", "-p", "COMPARE", "SEED", "--until", "03"], "COMPARE belongs to a notebook"),
        (["-p", "SEED", "1", "2", "--scheduler", "tcp://host:8786"], "--backend dask"),
        (["-p", "SEED", "1", "2", "--backend", "dask"], "--scheduler ADDRESS"),
        (["-p", "SEED", "1", "--backend", "dask", "--scheduler", "tcp://host:8786"], "for sweeps"),
        (["-p", "SEED", "1", "--jobs", "2"], "for sweeps"),
        (["-p", "SEED", "1", "2", "--index", "0", "--jobs", "2"], "not with --backend dask or --index"),
        (
            ["-p", "SEED", "1", "2", "--jobs", "2", "--backend", "dask", "--scheduler", "tcp://host:8786"],
            "not with --backend dask",
        ),
        (["-p", "SEED", "1", "2", "--sweep", "a b"], "plain name"),
        (["--sweep", ""], "SWEEP is ''"),
        (["--file", "missing.yaml"], "cannot read missing.yaml"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(run, toy, capsys, arguments, message):
    assert run.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (toy / "executed.txt").exists()


@pytest.mark.parametrize("option", [["--jobs", "-1"], ["--jobs", "0"], ["--processes", "0"], ["--processes", "two"]])
def test_a_number_of_processes_is_one_or_more(run, capsys, option):
    with pytest.raises(SystemExit) as end:
        run.main(["-p", "SEED", "1", "2", *option])
    assert end.value.code == 2 and f"argument {option[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["SEED=3"], ["--epochs", "3"]])
def test_a_parameter_without_p_is_told_how_it_goes(run, capsys, arguments):
    with pytest.raises(SystemExit) as end:
        run.main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2 and f"{arguments[0]!r} is no option: a parameter is given as -p SEED 3" in said


def test_help_lists_the_parameters_as_the_notebooks_declare_them(run, capsys):
    with pytest.raises(SystemExit) as end:
        run.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert re.search(r"04_train\n.*RUN.*\n +SEED +42 +of everything\n", text)
    assert re.search(
        r"of everything\n +0 or more, and at most 4,294,967,295\n +LEARNING_RATE +None +None: the recipe", text
    )


def test_a_file_keeps_numbers_numbers_and_words_words(run, toy, capsys):
    grid = toy / "grid.yaml"
    grid.write_text("LEARNING_RATE: [3e-5, 1e-4, null]\nCORPUS: no\nMAX_LEN: 64\nEXACT: yes\nSEED: [1, 2]\n")
    values = values_of(read_grid(grid), read_notebooks())
    assert values.pop("LEARNING_RATE") == [3e-5, 1e-4, None]
    assert values == {"CORPUS": ["no"], "MAX_LEN": [64], "EXACT": [True], "SEED": [1, 2]}
    assert run.main(["--file", str(grid), "-p", "LEARNING_RATE", "5e-5", "--count"]) == 0
    assert capsys.readouterr().out == "2\n"  # -p overrides the file
    grid.write_text("SEED: [1, 2]\nNAP: 0\n", encoding="utf-8-sig")
    assert read_grid(grid) == {"SEED": ["1", "2"], "NAP": ["0"]}, "the byte order mark of Windows is passed over"
    for wrong in ("- SEED", "SEED: {a: 1}", "SEED: []", "SEED: [[1]]", "SEED: [1", "[SEED]: 1", "CORPUS: ~", "CORPUS:"):
        grid.write_text(wrong)
        assert run.main(["--file", str(grid), "--count"]) == 2
    capsys.readouterr()
    grid.write_text("SEED: 1\nNAP: 0\nSEED: 2\n")
    assert run.main(["--file", str(grid), "--count"]) == 2
    assert "gives SEED twice" in capsys.readouterr().err


OUT_OF_RANGE = {
    "RUN": ["../elsewhere", ".locks", "a b", "x" * 201],
    "MAX_LEN": [2, -5],
    "VALIDATION_FRACTION": [0, 1, 1.5],
    "SPLIT_SEED": [-1, 2**32],
    "SEED": [-1, 2**32],
    "EPOCHS": [0, 10_001],
    "BATCH_SIZE": [0, 100_001],
    "LEARNING_RATE": [0, -1e-5],
    "WEIGHT_DECAY": [-0.1],
    "WARMUP_FRACTION": [-0.1, 1],
    "POOLING": ["max"],
    "PADDING": ["short"],
    "PRECISION": ["fp8"],
    "TRACK": ["all"],
    "BOOTSTRAP_SAMPLES": [0, 10_000_001],
    "SWEEP": ["../elsewhere", ".calls"],
    "RESAMPLES": [99, 1_000_001],
    "BLIMP_PAIRS": [-1, 1001],
}


def test_what_is_out_of_range_is_known_of_every_parameter_that_has_one():
    assert OUT_OF_RANGE.keys() == {name for name, own in DECLARED.items() if own.fits}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_before_anything_is_touched(quick, monkeypatch, tmp_path, capsys, name):
    """In the words of the notebook, and whatever way the value comes."""
    monkeypatch.setattr(paths, "NOTEBOOKS", NOTEBOOKS)
    forget()
    assert quick.main(["-p", "RUN", "mine"]) == 0 and quick.main(["--sweep", "b"]) == 0

    def files():
        everything = [path for path in paths.RUNS.rglob("*") if path.is_file()]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in everything}

    before, executed, file = files(), len(quick.executed), tmp_path / "grid.yaml"
    fits = {name: str(p.default) for own in read_notebooks().values() for name, p in own.items()}
    assert {"state.json", "metrics.json"} <= {path.name for path in before}
    capsys.readouterr()
    for value in OUT_OF_RANGE[name]:
        file.write_text(f"{name}: {json.dumps(value)}\n")
        calls = [["-p", name, str(value)], ["--file", str(file)], ["-p", name, fits[name], str(value)]]
        if name == "SWEEP":
            calls = [["--sweep", value]]
        elif name != "RUN":
            calls += [[*call, *where] for call in calls for where in (["-p", "RUN", "mine"], ["--sweep", "b"])]
        with pytest.raises(SeriesError) as in_the_notebook:
            check_parameters({name: value})
        for call in calls:
            assert quick.main(call) == 2, call
            assert capsys.readouterr().err == f"run.py: {in_the_notebook.value}\n"
    assert len(quick.executed) == executed and files() == before


def test_a_tracker_is_handed_on_and_makes_no_finished_run_train_again(quick, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", NOTEBOOKS)
    forget()
    track, shared = ["-p", "TRACK", "tensorboard"], ["--sweep", "b", "-p", "BOOTSTRAP_SAMPLES", "100", "200"]
    calls = [
        ["-p", "RUN", "mine"],
        ["--sweep", "a", "-p", "SEED", "1", "2"],
        ["--sweep", "one", "-p", "SEED", "1"],
        shared,
    ]
    for arguments in calls:
        assert quick.main(arguments) == 0
    executed = len(quick.executed)
    for arguments in calls:
        assert quick.main([*arguments, *track]) == 0
    assert [text for text in quick.executed[executed:] if "07" not in text] == [] and executed > 20
    assert quick.main([*shared[:-1], "300", *track]) == 0, "04 of the sweep is shared, whoever watched it"
    assert [text[-2:] for text in quick.executed[executed:] if "07" not in text] == ["05"]
    quick.given.clear()
    assert quick.main(["-p", "RUN", "new", *track]) == 0
    assert [given.get("TRACK") for given in quick.given] == [None, None, None, "tensorboard", None, None]
    capsys.readouterr()
    assert quick.main(["-p", "TRACK", "tensorboard", "wandb"]) == 2
    assert "TRACK takes one value" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted((paths.ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_fits_the_notebooks(recipe):
    values = values_of(read_grid(recipe), read_notebooks())
    assert values["CORPUS"] == ["cola"] and all(len(own) == 1 for own in values.values())
    assert values["LEARNING_RATE"][0] < 1e-3 and not {"SEED", "RUN"} & values.keys()


@pytest.mark.parametrize("text", ["data/own.csv", "data\\own.csv", "./own.csv", ".\\own.csv", "..\\own.csv", "own.csv"])
def test_a_path_is_meant_from_here_with_either_slash(text, tmp_path, monkeypatch):
    """The notebooks run in another folder. Windows writes a backslash, which elsewhere may stand in a name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / text).parent.mkdir(exist_ok=True)
    (tmp_path / text).touch()
    assert absolute(text) == str((tmp_path / text).resolve())
    (tmp_path / "cola").touch()
    assert all(absolute(text) == text for text in ("other.csv", "owner/name", "cola"))
