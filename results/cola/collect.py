"""Add the finished runs of a sweep to runs.csv: .venv/bin/python results/cola/collect.py runs/base_mean

The folder's name is the batch. Rows of that batch which are there are replaced.
"""

import json
import re
import sys
from pathlib import Path

import pandas as pd

TABLE = Path(__file__).with_name("runs.csv")
PARAMETERS = ["SEED", "MAX_LEN", "PADDING", "LEARNING_RATE", "WARMUP_FRACTION", "EPOCHS"]


def row(folder):
    """What runs.csv says of a run, by its metrics.json and run.json."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    records = json.loads((folder / "run.json").read_text(encoding="utf-8"))["notebooks"]
    trained, test = records["04_train"], metrics["test"]
    own = {
        "batch": folder.parent.name,
        "device": re.sub(r".*\((.*)\)", r"\1", trained["device"]),
        "model": Path(metrics["model"]).name,
        **{name.lower(): metrics["parameters"][name] for name in PARAMETERS},
        **{name: trained[name] for name in ["learning_rate", "precision", "pooling", "best_epoch", "train_seconds"]},
    }
    own["precision"] = own["precision"].replace("no", "fp32")  # Accelerate's word
    own |= {f"{split}_mcc": metrics[split]["mcc"] for split in ["validation", "in_domain_dev", "test"]}
    own |= dict(zip(["test_low", "test_high"], test["mcc_interval"])) | {"test_accuracy": test["accuracy"]}
    return {
        name: round(value, 5 if name == "learning_rate" else 4) if isinstance(value, float) else value
        for name, value in own.items()
    }


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (done := sorted(Path(sys.argv[1]).glob("[!.]*/metrics.json"))):
        sys.exit(f"{sys.argv[1:]}: expected the folder of a sweep with finished runs, such as runs/base_mean")
    sweep, table = Path(sys.argv[1]), pd.read_csv(TABLE, dtype=str)
    new = pd.DataFrame([row(path.parent) for path in done]).sort_values("seed")
    assert set(new.columns) == set(table.columns), set(new.columns) ^ set(table.columns)
    table = pd.concat([table[table["batch"] != sweep.name], new[table.columns].astype(str)])
    table.to_csv(TABLE, index=False)
    print(new.to_string())
