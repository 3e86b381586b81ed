"""Colab without Colab: its sessions service on loopback, and GitHub as folders that git takes for github.com."""

import contextlib
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.parse


def from_github(home, branch, notebook="04_train.ipynb"):
    """`path` of Colab's first session, as it says where a notebook was opened from."""
    return "fileId=" + urllib.parse.quote(f"https://github.com/{home}/blob/{branch}/notebooks/{notebook}")


class _Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answer
        if answer == "silence":
            return time.sleep(20)
        self.send_response(self.server.status)
        self.end_headers()
        for byte in answer.encode():
            self.wfile.write(bytes([byte]))
            time.sleep(self.server.seconds_a_byte)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(answer, status=200, seconds_a_byte=0):
    """A web server that answers everything with `answer`. Yields it; .asked are the paths asked for, .url its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Service) as server:
        server.daemon_threads, server.block_on_close, server.handle_error = True, False, lambda *_: None
        server.answer, server.status, server.seconds_a_byte, server.asked = answer, status, seconds_a_byte, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.environment = {"COLAB_JUPYTER_IP": "127.0.0.1", "KMP_TARGET_PORT": str(server.server_port)}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def sessions(path, **options):
    """Colab's sessions service, which says `path` of the one notebook that is open."""
    session = {"id": "1", "path": path, "name": path.rpartition("/")[2], "type": "notebook", "kernel": {"id": "2"}}
    return serving(json.dumps([session]), **options)


def environment(content, github, **more):
    """What a kernel in the empty folder `content` sees: nothing of the caller's project, and https://github.com is `github`."""
    alone = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GIT_", "BERT_", "COLAB_"))
    }
    rewrite = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{github}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }
    folders = {"HOME": str(content), "IPYTHONDIR": str(content / ".ipython"), "no_proxy": "127.0.0.1"}
    return alone | rewrite | folders | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"} | more


def publish(folder, github, home, branch, tag=None):
    """Commit the files of `folder` to `branch` of the repository github/home, and tag it; returns the commit."""
    repository = github / home
    repository.mkdir(parents=True, exist_ok=True)

    def git(*arguments):
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
        call = ["git", *who, f"--git-dir={repository}/.git", f"--work-tree={folder}", *arguments]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "unrelated") if not (repository / ".git").exists() else None
    git("checkout", "-q", "--orphan", branch)
    git("add", "-A")
    git("commit", "-q", "-m", branch)
    git("tag", tag) if tag else None
    return git("rev-parse", "HEAD")
