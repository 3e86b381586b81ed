"""Write the practice corpus: acceptable and unacceptable English sentences in CoLA's file format.

    python data/practice/make_corpus.py [folder]     (folder: raw/ beside this script)

The linguistics is in grammar/*.txt, which reads like a handout: a section a phenomenon, a line an
example. This script knows how to fill in a line, and nothing about English but its spelling.

    the {teacher} near the {teacher2+s} [is|are] (very/rather) {happy}.

    {teacher}    a word of the list `teacher`; the same one wherever the slot is repeated
    {teacher2}   another word of that list
    {give+ed}    inflected: +s +ed +en +ing +er +est; a section `forms` has the irregular ones
    [is|are]     the one place where the acceptable and the unacceptable sentence differ
    (very/rather)  either, at random: it does not matter

A list with two names, `write letter`, is drawn as a whole, so that verb and object make sense
together. A line without [|] is acceptable. `frames` are put around sentences (@) here and there.
"""

import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
SEED = 1
FRAMED = 0.15  # share of the sentences that get a frame: the long tail of the lengths

# What each phenomenon gives to a file: so many minimal pairs, and so many acceptable sentences whose
# partners are left out, because 70 % are acceptable in CoLA. The last number is for `plain`, which has
# no pairs. Training was made this large because MiniLM learns nothing from 1,300 sentences in 4 epochs.
FILES = {
    "in_domain_train.tsv": ("in_domain.txt", 52, 52, 200),
    "in_domain_dev.tsv": ("in_domain.txt", 4, 4, 16),
    "out_of_domain_dev.tsv": ("out_of_domain.txt", 5, 7, 0),
}


class Dice(Random):
    """Only `random()` is promised to give the same numbers in every Python: all else is built on it."""

    def pick(self, items):
        return items[int(self.random() * len(items))]

    def shuffled(self, items):
        return sorted(items, key=lambda _: self.random())


def read_grammar(path):
    """Return word lists, irregular forms, frames and, by code, (description, templates)."""
    words, forms, phenomena, section = {}, {}, {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            section, _, description = line[2:].partition(": ")
            phenomena[section] = (description, [])
        elif not line or line.startswith("#"):
            continue
        elif section == "words":
            names, entries = line.split(": ")
            words[names] = entries.split(", ")
        elif section == "forms":
            forms.update(entry.split(" ") for entry in line.split(", "))
        else:
            phenomena[section][1].append(line)
    for names, entries in words.items():  # "=Mary" stands for all words of the list Mary
        words[names] = [word for entry in entries for word in (words[entry[1:]] if entry.startswith("=") else [entry])]
    frames = phenomena.pop("frames")[1]
    del phenomena["words"], phenomena["forms"]
    return words, forms, frames, phenomena


def inflect(word, ending, forms):
    """Inflect `word`, for example ("carry", "ed") -> "carried"."""
    if word + "+" + ending in forms:
        return forms[word + "+" + ending]
    if ending == "en":
        return inflect(word, "ed", forms)
    if ending == "s":
        if re.search("(s|x|z|ch|sh)$", word):
            return word + "es"
        return re.sub("([^aeiou])y$", r"\1ie", word) + "s"
    if ending == "ing":
        return re.sub("([^e])e$", r"\1", word) + "ing"
    return re.sub("([^aeiou])y$", r"\1i", word).removesuffix("e") + ending


def fill(template, words, forms, dice):
    """Put words in all slots of `template`, no word twice."""
    lists = {name: names for names in words for name in names.split()}
    drawn, used = {}, set()

    def slot(match):
        name, number, ending = match.groups()
        names = lists[name]
        if (names, number) not in drawn:
            entry = dice.pick([w for w in words[names] if used.isdisjoint(w.split())])
            used.update(entry.split())
            drawn[names, number] = dict(zip(names.split(), entry.split() if " " in names else [entry]))
        word = drawn[names, number][name]
        return inflect(word, ending, forms) if ending else word

    template = re.sub(r"\(([^()]*)\)", lambda match: dice.pick(match[1].split("/")), template)
    return re.sub(r"\{([A-Za-z]+)(\d?)\+?([a-z]*)\}", slot, template)


def spell(text):
    """Spaces, "a" or "an", a capital letter."""
    text = re.sub(" +", " ", text)
    text = re.sub(r" (?=[.,?!])", "", text)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return text[0].upper() + text[1:]


def minimal_pair(filled, dice):
    """Return the acceptable and the unacceptable sentence; they are equal in a line without [|]."""

    def member(which):
        return spell(re.sub(r"\[([^]]*)\]", lambda match: dice.pick(match[1].split("|")[which].split("/")), filled))

    return member(0), member(-1)


def sentences(grammar, code, pairs, singles, taken, dice):
    """Return rows (code, label, mark, sentence) of one phenomenon; `taken` grows, nothing repeats."""
    words, forms, frames, phenomena = grammar
    rows = []

    def draw(templates, both):
        while True:
            for template in dice.shuffled(templates):
                # A frame goes around a simple statement only.
                if dice.random() < FRAMED and template.endswith(".") and "," not in template:
                    template = dice.pick(frames).replace("@", template[:-1]) + "."
                good, bad = minimal_pair(fill(template, words, forms, dice), dice)
                new = [good, bad] if both else [good]
                if len({key(s) for s in new} - taken) == len(new):
                    taken.update(map(key, new))
                    yield [(code, 1, "", good)] + [(code, 0, "*", bad)] * both

    templates = phenomena[code][1]
    for source, count, both in (([t for t in templates if "[" in t], pairs, True), (templates, singles, False)):
        source = draw(source, both)
        for _ in range(count):
            rows += next(source)
    return rows


def key(sentence):
    """The letters of a sentence: two sentences with the same key count as one."""
    return " ".join(re.findall("[a-z0-9']+", sentence.lower()))


def make_corpus():
    """Return {file name: rows}."""
    dice, taken, corpus = Dice(SEED), set(), {}
    for name, (grammar_file, pairs, singles, plain) in FILES.items():
        grammar = read_grammar(HERE / "grammar" / grammar_file)
        rows = []
        for code in grammar[-1]:
            rows += sentences(grammar, code, *((0, plain) if code == "plain" else (pairs, singles)), taken, dice)
        corpus[name] = rows
    return corpus


def phenomena_table(corpus):
    """Return the README's table, in Markdown."""
    lines = [
        "| code | rule | train | in-domain dev | out-of-domain dev | acceptable | unacceptable |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    counts = {name: Counter(row[0] for row in rows) for name, rows in corpus.items()}
    for grammar_file in ("in_domain.txt", "out_of_domain.txt"):
        for code, (rule, _) in read_grammar(HERE / "grammar" / grammar_file)[-1].items():
            rows = [row for file in corpus.values() for row in file if row[0] == code]
            pairs = [(good[3], bad[3]) for good, bad in pairwise(rows) if good[1] > bad[1]]
            pairs = sorted(pairs or [(row[3], "") for row in rows], key=lambda pair: len(pair[0]))
            example = pairs[len(pairs) // 2]  # one of middling length
            cells = [f"`{code}`", rule, *(str(count[code]) for count in counts.values()), *example]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    corpus = make_corpus()
    for name, rows in corpus.items():
        text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    print(phenomena_table(corpus))
