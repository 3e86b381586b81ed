"""The runs that come with 07, each with the interval of its test MCC over sentences and over CoLA's six publications.

.venv/bin/python results/cola/publications.py data/cola_public_1.1.zip
"""

import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lesson import corpora, intervals, sweeps

raw = zipfile.Path(sys.argv[1], "cola_public/raw/")
source = corpora.read_sentences(raw / corpora.COLA_FILES["test"])["source"]
shipped = sweeps.read(zipfile.Path(sweeps.SHIPPED), "shipped", "")
for run, answers in shipped.answers.items():
    test = shipped.metrics[run]["test"]
    low, high = intervals.over_sources(answers.assign(source=source), corpora.COLA_CLASSES)["mcc_interval"]
    print(
        f"{run:16} {test['mcc']:.3f}  sentences {test['mcc_interval'][0]:.2f} to {test['mcc_interval'][1]:.2f}  ",
        end="",
    )
    print(f"publications {low:.2f} to {high:.2f}")
