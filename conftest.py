"""nbval settings: what a notebook under test sees, and what of its output is compared."""

import os
import tempfile

import pytest

# Before anything imports helpers: no network, no GPU, and folders that hold nothing of the reader's.
_work = tempfile.TemporaryDirectory()
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "ACCELERATE_USE_CPU": "yes",
    "CUDA_VISIBLE_DEVICES": "",
    "BERT_RUNS": f"{_work.name}/runs",
    "BERT_DATA": f"{_work.name}/data",
    "IPYTHONDIR": f"{_work.name}/ipython",
}


@pytest.hookimpl(hookwrapper=True)
def pytest_collect_file(file_path, parent):
    outcome = yield
    for collector in outcome.get_result() or []:
        if type(collector).__name__ == "IPyNbFile":
            collector.skip_compare += ("stderr", "image/svg+xml", "text/html", "text/latex")


def pytest_collection_modifyitems(items):
    for item in items:
        if type(item).__name__ == "IPyNbCell":
            item.output_timeout = 600  # seconds; nbval's own 5 are too few for a training epoch
