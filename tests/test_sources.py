"""Where corpus and model come from: files, folders, zips, downloads, the hub; bad input above all."""

import contextlib
import functools
import hashlib
import http.server
import shutil
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from test_helpers import raises

import helpers
from lesson import corpora, sources

# ---------------------------------------------------------------- reading sentences

LINE = b"src\t1\t\tBirds sing.\n"


@pytest.mark.parametrize(
    "content, words",
    [
        (LINE + b"src\t1\tBirds sing.\n", ["line 2", "3 tab-separated columns where 4 were expected"]),
        (LINE + b"src\t1\t\tBirds\tsing.\n", ["line 2", "5 tab-separated columns"]),
        (LINE * 2 + b"src\t2\t\tBirds sing.\n", ["line 3", "label '2'", "0 (unacceptable) or 1"]),
        (LINE + b"src\t\t\tBirds sing.\n", ["line 2", "label ''"]),
        (LINE + b"src\t0\t*\t \n", ["line 2", "empty sentence"]),
        (LINE + b"\n" + LINE, ["line 2", "1 tab-separated columns"]),
        (LINE + b"src\t1\t\tCaf\xe9s close.\n", ["line 2", "0xe9", "UTF-8"]),
        ((LINE * 2).decode().encode("utf-16"), ["UTF-16", "UTF-8"]),
        (LINE + b"src\t1\t\tBirds\rsing.\n", ["line 2", "carriage return"]),
        (LINE + b"src\t1\t\t" + b"a" * 200_000 + b"\n", ["line 2", "200,000 characters where 100,000"]),
        (b"", ["is empty"]),
        (b"\xef\xbb\xbf", ["is empty"]),
    ],
)
def test_a_bad_file_is_named_with_line_and_expectation(tmp_path, content, words):
    path = tmp_path / "own.tsv"
    path.write_bytes(content)
    with raises("own.tsv", *words):
        helpers.read_sentences(path)


@pytest.mark.parametrize(
    "content", [LINE * 2, b"\xef\xbb\xbf" + LINE * 2, (LINE * 2).replace(b"\n", b"\r\n"), (LINE * 2)[:-1]]
)
def test_bom_windows_line_ends_and_a_missing_last_newline_are_fine(tmp_path, content):
    path = tmp_path / "own.tsv"
    path.write_bytes(content)
    frame = helpers.read_sentences(path)
    assert frame["source"].tolist() == ["src", "src"]
    assert frame["label"].tolist() == [1, 1]
    assert frame["sentence"].tolist() == ["Birds sing."] * 2


def test_quotes_and_the_word_na_are_text(tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text('s\t1\t\t"Who" asked\ns\t0\t*\tNA\ns\t1\t\tHe said "no.\n', encoding="utf-8")
    assert helpers.read_sentences(path)["sentence"].tolist() == ['"Who" asked', "NA", 'He said "no.']


# ---------------------------------------------------------------- finding and fetching corpora


def make_corpus(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in helpers.COLA_FILES.values():
        (folder / name).write_bytes(LINE)
    return folder


def zip_corpus(path):
    with zipfile.ZipFile(path, "w") as file:
        for name in helpers.COLA_FILES.values():
            file.writestr(f"cola_public/raw/{name}", LINE)
            file.writestr(f"cola_public/tokenized/{name}", b"not this one")
    return path


def test_own_corpus_from_a_folder_or_a_zip(tmp_path):
    make_corpus(tmp_path / "mine" / "raw")
    zip_corpus(tmp_path / "mine.zip")
    for own in [tmp_path / "mine", tmp_path / "mine.zip"]:
        name, files, why = sources.find_corpus(str(own))
        assert name == "mine" and own.name in why
        for path in files.values():
            assert helpers.read_sentences(path)["sentence"].tolist() == ["Birds sing."]


def test_bad_corpus_names_and_folders(tmp_path):
    with raises("'colla'", "'auto', 'cola', 'practice'"):
        sources.find_corpus("colla")
    make_corpus(tmp_path / "half")
    (tmp_path / "half" / "in_domain_dev.tsv").unlink()
    with raises("half has no in_domain_dev.tsv", "expected"):
        sources.find_corpus(str(tmp_path / "half"))
    (tmp_path / "text.txt").write_text("hello")
    with raises("text.txt is neither a folder nor a whole zip"):
        sources.find_corpus(str(tmp_path / "text.txt"))


def test_practice_is_never_replaced_and_auto_falls_back_to_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "OFFLINE", True)
    monkeypatch.setattr(sources, "DATA", tmp_path)
    assert sources.find_corpus("practice")[0] == "practice"
    name, _, why = sources.find_corpus("auto")
    assert name == "practice" and "CoLA" in why
    with raises("no network was tried", "Put cola_public_1.1.zip", "CORPUS = 'practice'"):
        sources.find_corpus("cola")


@pytest.fixture
def server(tmp_path):
    """A web server on loopback. Yields (address, folder that it serves, list of the paths asked for)."""
    folder, asked = tmp_path / "www", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path == "/cut.zip":  # says 1000 bytes, sends 10, hangs up
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"0123456789")
            elif self.path == "/endless.zip":
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while not stop.wait(0.01):
                        self.wfile.write(b"0" * 100_000)
            elif self.path == "/slow.zip":
                stop.wait(20)
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    stop = threading.Event()
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", folder, asked
    stop.set()
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def served_zip(server, monkeypatch):
    """The server with a corpus whose SHA-256 helpers expects; the network is on."""
    address, folder, asked = server
    zip_corpus(folder / "cola.zip")
    monkeypatch.setattr(sources, "COLA_SHA256", helpers.sha256(folder / "cola.zip"))
    monkeypatch.setattr(sources, "OFFLINE", False)
    (folder / "login.html").write_text("<html>Welcome to the hotel</html>")
    return address, folder, asked


def test_download_then_no_network(served_zip, tmp_path):
    address, _, asked = served_zip
    data = tmp_path / "data"
    path = sources.fetch_cola([f"{address}/cola.zip"], data)
    assert helpers.sha256(path) == sources.COLA_SHA256 and asked == ["/cola.zip"]
    assert sources.fetch_cola([f"{address}/cola.zip"], data) == path
    assert asked == ["/cola.zip"], "a zip with the right hash is used as it is"


@pytest.mark.parametrize("first", ["missing.zip", "login.html", "cut.zip"])
def test_a_bad_first_address_leads_to_the_mirror(served_zip, tmp_path, first):
    address, _, asked = served_zip
    path = sources.fetch_cola([f"{address}/{first}", f"{address}/cola.zip"], tmp_path / "data")
    assert helpers.sha256(path) == sources.COLA_SHA256 and asked[-1] == "/cola.zip"


def test_wrong_bytes_everywhere_leave_nothing_behind(served_zip, tmp_path):
    address, _, _ = served_zip
    data = tmp_path / "data"
    with raises("login.html: SHA-256", "was expected", "missing.zip: ", "404", "Put cola_public_1.1.zip"):
        sources.fetch_cola([f"{address}/login.html", f"{address}/missing.zip"], data)
    assert not data.exists() or not list(data.iterdir())


def test_a_silent_server_is_given_up(served_zip, tmp_path):
    address, _, _ = served_zip
    with raises("slow.zip: no answer within 1 s"):
        sources.fetch_cola([f"{address}/slow.zip"], tmp_path / "data", seconds=1)


def test_an_interrupted_download_leaves_nothing_and_the_next_call_works(served_zip, tmp_path, monkeypatch):
    address, _, _ = served_zip
    data = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sources.fetch_cola([f"{address}/cola.zip"], data)
    assert not list(data.iterdir())
    assert sources.fetch_cola([f"{address}/cola.zip"], data).exists()


def test_other_bytes_in_data_are_replaced_by_the_right_ones(served_zip, tmp_path):
    address, _, _ = served_zip
    data = tmp_path / "data"
    data.mkdir()
    (data / "cola_public_1.1.zip").write_bytes(b"half a zip")
    path = sources.fetch_cola([f"{address}/cola.zip"], data)
    assert helpers.sha256(path) == sources.COLA_SHA256


def test_of_several_places_the_nearest_wins_and_a_choice_without_a_rule_is_refused(tmp_path):
    own = tmp_path / "tokenized" / "own"  # a folder above the corpus may be called anything
    make_corpus(own / "raw")
    make_corpus(own / "backup")
    (own / "backup" / "in_domain_train.tsv").write_bytes(LINE * 9)
    make_corpus(own / "tokenized")
    assert {path.parent for path in sources.find_corpus(str(own))[1].values()} == {own / "raw"}
    make_corpus(own)
    assert {path.parent for path in sources.find_corpus(str(own))[1].values()} == {own}
    shutil.rmtree(own)
    make_corpus(own / "a")
    make_corpus(own / "b")
    with raises("more than once", "a/, b/", "CORPUS"):
        sources.find_corpus(str(own))
    (own / "a" / "in_domain_dev.tsv").unlink()
    (own / "b" / "in_domain_train.tsv").unlink()
    with raises("different places"):
        sources.find_corpus(str(own))
    with zipfile.ZipFile(tmp_path / "top.zip", "w") as file:
        for name in helpers.COLA_FILES.values():
            file.writestr(f"tokenized/{name}", b"not this one")
            file.writestr(f"raw/{name}", LINE)
    for path in sources.find_corpus(str(tmp_path / "top.zip"))[1].values():
        assert path.read_bytes() == LINE


def test_a_folder_that_changes_while_it_is_looked_through_is_said(tmp_path, monkeypatch):
    make_corpus(tmp_path / "own")

    def vanished(*_):
        raise FileNotFoundError(2, "No such file or directory", "own/sub")

    monkeypatch.setattr("pathlib.Path.glob", vanished)
    with raises("cannot be looked through", "in_domain_train.tsv"):
        sources.find_corpus(str(tmp_path / "own"))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name in helpers.COLA_FILES.values():
            file.writestr(name, b"0" * 20_000_000)
    with raises("in_domain_train.tsv would unpack to 20,000,000 bytes", "100 times"):
        sources.find_corpus(str(tmp_path / "bomb.zip"))


def test_a_download_without_end_is_cut(served_zip, tmp_path):
    address, _, _ = served_zip
    with raises("endless.zip: sends more than 1,000,000 bytes"):
        sources.fetch_cola([f"{address}/endless.zip"], tmp_path / "data", seconds=20)


def test_a_file_that_goes_while_the_bytes_are_counted_is_no_fault(served_zip, tmp_path, monkeypatch):
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([*listed(path), path / "fetched.zip-renamed.tmp"]))
    address, _, _ = served_zip
    assert helpers.sha256(sources.fetch_cola([f"{address}/cola.zip"], tmp_path / "data")) == sources.COLA_SHA256


def test_a_folder_that_cannot_be_written_is_said_and_auto_takes_the_practice_corpus(served_zip, tmp_path, monkeypatch):
    address, _, _ = served_zip

    @contextlib.contextmanager
    def read_only(path):
        raise OSError(30, "Read-only file system")
        yield

    monkeypatch.setattr(sources, "replacing", read_only)
    with raises("cannot be kept", "Read-only file system", "BERT_DATA", "CORPUS = 'practice'"):
        sources.fetch_cola([f"{address}/cola.zip"], tmp_path / "data")
    monkeypatch.setattr(sources, "DATA", tmp_path / "data")
    monkeypatch.setattr(sources.fetch_cola, "__defaults__", ([f"{address}/cola.zip"], None, 60))
    name, _, why = sources.find_corpus("auto")
    assert name == "practice" and "cannot be written" in why


def test_sentences_that_a_program_quoted_are_noticed():
    import pandas as pd

    plain = pd.DataFrame({"sentence": ["Birds sing.", '"Yes", she said, "no".', '"No"']})
    assert corpora.quoting_note(plain) is None
    plain.loc[3] = '"She said ""no"", and left."'
    assert "line 4" in corpora.quoting_note(plain) and "without quoting" in corpora.quoting_note(plain)


# ---------------------------------------------------------------- models


def test_bad_model_names_are_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "OFFLINE", True)
    with raises("'minilmm'", "Did you mean 'minilm'?"):
        sources.find_model("minilmm")
    with raises("bert-large-uncased", "not in the local cache", "MODEL_NAME = 'minilm'"):
        sources.find_model("bert-large-uncased")
    with raises("no such folder"):
        sources.find_model("./nowhere/at/all")
    with raises("no config.json"):
        sources.find_model(str(tmp_path))


def test_auto_is_minilm_without_cuda_and_bert_with_it(monkeypatch):
    monkeypatch.setattr(helpers, "pick_device", lambda: torch.device("cpu"))
    assert sources.find_model("auto")[0] == "minilm"
    monkeypatch.setattr(helpers, "pick_device", lambda: torch.device("cuda"))
    name, model, why = sources.find_model("auto")
    assert name == "minilm" and "without a network" in why
    monkeypatch.setattr(sources, "hub_model", lambda name: name)
    assert sources.find_model("auto")[:2] == ("bert-base-uncased", "bert-base-uncased")


def test_a_cached_hub_model_is_loaded_from_its_folder_without_the_network(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: str(tmp_path / file))
    monkeypatch.setattr(huggingface_hub, "file_exists", lambda *_: pytest.fail("asked the network"))
    monkeypatch.setattr(sources, "OFFLINE", False)
    assert sources.find_model("someone/model")[:2] == ("someone/model", str(tmp_path))


def test_wrong_bundled_weights_are_refused(tmp_path, monkeypatch):
    (tmp_path / "other_package" / "model").mkdir(parents=True)
    (tmp_path / "other_package" / "__init__.py").touch()
    (tmp_path / "other_package" / "model" / "model.safetensors").write_bytes(b"not these")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sources, "MINILM_PACKAGE", "other_package")
    with raises("SHA-256 " + hashlib.sha256(b"not these").hexdigest()[:12], "--force-reinstall"):
        sources.minilm_folder.__wrapped__()


@pytest.mark.parametrize("name", ["a b", "ü/ü", "owner/", "-x"])
def test_what_cannot_be_a_name_on_the_hub_is_said(name, monkeypatch):
    monkeypatch.setattr(sources, "OFFLINE", True)
    with raises(f"MODEL_NAME is {name!r}", "'minilm'"):
        sources.find_model(name)


def test_a_hub_model_without_weights_is_said_before_anything_is_loaded(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(sources, "OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "file_exists", lambda name, file: file == "config.json")
    with raises("has no weights for it", "model.safetensors"):
        sources.find_model("someone/model")


@pytest.fixture
def folder(tmp_path):
    """A tiny BERT with a head of three classes, saved."""
    from transformers import BertConfig, BertForSequenceClassification

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertForSequenceClassification(BertConfig(vocab_size=1000, num_labels=3, **size)).save_pretrained(tmp_path / "three")
    return tmp_path / "three"


def test_a_head_of_another_size_is_made_anew(folder):
    model, info = helpers.load_model(folder, num_labels=2, output_loading_info=True)
    assert info["mismatched_keys"] == ["classifier.bias", "classifier.weight"]
    assert model.config.num_labels == 2 and model.classifier.weight.shape == (2, 32)
    assert helpers.load_model(folder).config.num_labels == 3


def cut_short(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def other_size(folder):
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"hidden_size": 32', '"hidden_size": 64'))


def more_layers(folder):
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))


def another_kind(folder):
    (folder / "config.json").write_text('{"model_type": "nonsense"}')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_short, ["cannot be loaded", "copy or download it again"]),
        (pointer, ["a pointer of git-lfs", "git lfs pull"]),
        (other_size, ["no weights that fit", "bert."]),
        (more_layers, ["no weights that fit 16 parts", "bert.encoder.layer.2"]),
        (another_kind, ["cannot be loaded", "MODEL_NAME"]),
        (shutil.rmtree, ["cannot be loaded (the folder is gone)"]),
    ],
)
def test_a_model_folder_that_does_not_suit_is_said_in_our_words(folder, damage, words):
    damage(folder)
    with raises(str(folder), *words):
        helpers.load_model(folder, num_labels=2)


def test_an_encoder_with_a_decoder_is_refused(tmp_path):
    from transformers import BartConfig, BartModel

    size = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    BartModel(BartConfig(vocab_size=1000, max_position_embeddings=64, **size, **heads)).save_pretrained(tmp_path)
    with raises("an encoder with a decoder"):
        helpers.load_model(tmp_path, num_labels=2)
