"""Where things lie: the project, its notebooks, the run folders."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
RUNS = Path(os.environ.get("BERT_RUNS", ROOT / "runs")).resolve()
