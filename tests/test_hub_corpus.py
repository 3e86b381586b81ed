"""CORPUS = hub:owner/name, from a loopback server that answers as much of the hub as datasets asks for, through notebook 02."""

import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import pytest

import helpers

NAME, COMMIT = "/datasets/owner/name", "1" * 40
CLASSES = ["refund", "delivery", "praise"]
SPLITS = {"train": 30, "validation": 9, "test": 6, "extra": 3}


class Hub(BaseHTTPRequestHandler):
    """One repository of Parquet files: what is in it, and the files themselves."""

    def __init__(self, *arguments, folder):
        self.folder = folder
        super().__init__(*arguments)

    def do_GET(self):
        path, files = urlparse(self.path).path, {file.name: file for file in self.folder.iterdir()}
        content, missing = None, "EntryNotFound" if NAME in path else "RepoNotFound"
        if path in (f"/api{NAME}", f"/api{NAME}/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in files]
            about = {"id": "owner/name", "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
            content = json.dumps(about | {"downloads": 0, "likes": 0}).encode()
        elif path == f"/api{NAME}/tree/{COMMIT}":
            entry = {"type": "file", "oid": "2" * 40}
            content = json.dumps([entry | {"path": n, "size": f.stat().st_size} for n, f in files.items()]).encode()
        elif path.startswith(f"{NAME}/resolve/") and (file := files.get(path.rpartition("/")[2])):
            content = file.read_bytes()
        self.send_response(404 if content is None else 200)
        etag = hashlib.sha256(content or b"").hexdigest()  # by which the cache knows a file
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Content-Length": str(len(content or b""))}
        for name, value in (headers | ({"X-Error-Code": missing} if content is None else {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


READER = """
import json, sys
sys.path[:0] = [{tests!r}, {root!r}]
from test_series import execute
import helpers
said = {{}}
for number, corpus in enumerate({corpora!r}):
    try:
        execute("02_load_cola", RUN=f"hub{{number}}", CORPUS=corpus)
    except helpers.SeriesError as error:
        said[corpus] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """({corpus: the SeriesError of 02}, folder of the runs, what was printed), in a process that knows the loopback hub only."""
    import datasets

    folder, work = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("work")
    kinds = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=CLASSES)})
    for split, size in SPLITS.items():
        rows = {"text": [f"{split} {i}\n“é” 🙂" for i in range(size)], "label": [i % 3 for i in range(size)]}
        datasets.Dataset.from_dict(rows, kinds).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {split}-*.parquet\n" for split in SPLITS)
        + "---\n"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, folder=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        corpora = ["hub:owner/name", "hub:owner/nothing", "hub:owner/name:other"]
        program = READER.format(tests=str(Path(__file__).parent), root=str(helpers.ROOT), corpora=corpora)
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
            "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(work / "home"), "BERT_RUNS": str(work / "runs"),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            cwd=helpers.ROOT / "notebooks",
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), work / "runs", done.stdout


def test_a_data_set_of_the_hub_arrives_whole_with_its_splits_and_the_names_of_its_classes(read):
    refused, runs, said = read
    assert "hub:owner/name" not in refused
    record = helpers.read_run(runs / "hub0")["notebooks"]["02_load_cola"]
    order = sorted(CLASSES)
    assert record["classes"] == order and record["parameters"]["CORPUS"] == "hub:owner/name"
    for split in ["train", "validation", "test"]:
        frame = helpers.read_split(runs / "hub0", split)
        assert frame["sentence"].tolist() == [f"{split} {i}\n“é” 🙂" for i in range(SPLITS[split])]
        assert [order[label] for label in frame["label"]] == [CLASSES[i % 3] for i in range(SPLITS[split])]
    assert "owner/name, train: 30 records, of the Hugging Face hub" in said
    assert "Left out: the split 'extra' of owner/name, 3 rows." in said


@pytest.mark.parametrize(
    ("corpus", "words"),
    [("hub:owner/nothing", "doesn't exist on the Hub"), ("hub:owner/name:other", "'other' not found")],
)
def test_a_wrong_name_on_the_hub_is_one_message(read, corpus, words):
    refused, runs, _ = read
    assert (
        refused[corpus].startswith(f"CORPUS is {corpus!r}: the data set cannot be loaded")
        and "\n" not in refused[corpus]
    )
    assert words in refused[corpus] and "Expected hub:owner/name" in refused[corpus]
    assert [path.parent.name for path in runs.glob("*/corpus")] == ["hub0"]
