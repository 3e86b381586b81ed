"""The bundled practice corpus is what its script makes, and has the properties its README promises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "data" / "practice"
TRAIN, DEV, OUT = FILES = ("in_domain_train.tsv", "in_domain_dev.tsv", "out_of_domain_dev.tsv")

# Words of the closed classes, which no English sentence can do without: the two domains share them.
FUNCTION_WORDS = """
    the a all an another any anyone each every everybody everyone many more most much no nobody none one own
    several some somebody something such few little both half two three four five
    i me my mine myself you your yours yourself he him his himself she her hers herself it its itself
    we us our ours ourselves they them their themselves one's this that these those other
    am are be been being is was were isn't aren't do did does didn't has had have can can't cannot could
    may might must should will won't would let
    about around as at because before behind but by during for from if in into near not of off on onto or
    since so than then though to until when where which while who whom whose what why how with without and
    either neither nor also only once never ever there too very
"""


@pytest.fixture(scope="module")
def corpus():
    return {
        name: [line.split("\t") for line in (FOLDER / "raw" / name).read_text("utf-8").splitlines()] for name in FILES
    }


@pytest.fixture(scope="module")
def all_rows(corpus):
    return [row for rows in corpus.values() for row in rows]


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    """A folder the script has written into, and the table it has printed."""
    folder = tmp_path_factory.mktemp("practice")
    script = [sys.executable, str(FOLDER / "make_corpus.py"), str(folder)]
    return folder, subprocess.run(script, check=True, capture_output=True, encoding="utf-8").stdout


def content_words(rows):
    """Words outside FUNCTION_WORDS, without their endings, so that "finishes" meets "finished"."""
    words = {word for row in rows for word in re.findall("[a-z']+", row[3].lower())}
    words = {word.removesuffix("'s") for word in words} - set(FUNCTION_WORDS.split())
    return {re.sub("(?<=...)(e|s|es|d|ed|ing)$", "", word) for word in words}


@pytest.mark.parametrize("name", FILES)
def test_files_are_byte_for_byte_what_the_script_makes(name, rebuilt):
    assert (FOLDER / "raw" / name).read_bytes() == (rebuilt[0] / name).read_bytes()


def test_readme_holds_the_table_that_the_script_prints(rebuilt):
    assert rebuilt[1].strip() in (FOLDER / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name, least", [(TRAIN, 1200), (DEV, 200), (OUT, 200)])
def test_size_and_share_of_acceptable_sentences(corpus, name, least):
    labels = [int(row[1]) for row in corpus[name]]
    assert len(labels) >= least
    assert 0.68 <= sum(labels) / len(labels) <= 0.72


def test_colas_own_format(all_rows):
    for row in all_rows:
        code, label, mark, sentence = row
        assert re.fullmatch("[a-z]+", code), row
        assert (label, mark) in {("1", ""), ("0", "*")}, row
        assert re.fullmatch(r"[A-Z][A-Za-z0-9,' ]*[.?!]", sentence), row
        assert not re.search(" [ ,.?!]|[{}()|@]", sentence), row


def test_no_sentence_occurs_twice(all_rows):
    sentences = [" ".join(re.findall("[a-z0-9']+", row[3].lower())) for row in all_rows]
    assert len(sentences) == len(set(sentences))


def test_phenomena(corpus):
    codes = {name: {row[0] for row in rows} for name, rows in corpus.items()}
    assert len(codes[TRAIN]) >= 12 and len(codes[OUT]) >= 10
    assert codes[TRAIN] == codes[DEV]
    assert codes[TRAIN].isdisjoint(codes[OUT])


def test_every_phenomenon_but_plain_has_both_labels(corpus):
    for rows in corpus.values():
        labels = {}
        for code, label, *_ in rows:
            labels.setdefault(code, set()).add(label)
        assert labels.pop("plain", {"1"}) == {"1"}
        assert all(found == {"0", "1"} for found in labels.values())


def test_out_of_domain_content_words_are_new(corpus):
    assert content_words(corpus[OUT]) & content_words(corpus[TRAIN] + corpus[DEV]) == set()


def test_lengths_have_a_long_tail(corpus):
    lengths = sorted(len(row[3].split()) for row in corpus[TRAIN])
    assert lengths[0] <= 3 and lengths[len(lengths) // 2] <= 9 and lengths[-10] >= 20
