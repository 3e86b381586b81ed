"""Small changes to a sentence, and what a verdict should do: stay, or turn (CheckList, Ribeiro et al. 2020) (08_error_analysis)."""

import re

import pandas as pd
from scipy.stats import binomtest

# first names by the pronoun that goes with them: what says herself must go on to do so
NAMES = {
    "she": "Mary Sue Jane Sarah Alice Clara Fiona Rosa Hannah Paula Linda Joan Diana Sylvia Susan Nancy Emma Laura Julia Helen",
    "he": "John Bill Fred Tom Adam Brian Marcus Edgar David Albert Peter Henry Gordon Frank Arthur Oscar Martin George Victor Eric",
}
OTHER = {"she": "Anna", "he": "Paul"}
SHORT = {"is not": "isn't", "are not": "aren't", "was not": "wasn't", "were not": "weren't", "do not": "don't"}
SHORT |= {"does not": "doesn't", "did not": "didn't", "has not": "hasn't", "have not": "haven't", "cannot": "can't"}
SHORT |= {"will not": "won't", "would not": "wouldn't", "could not": "couldn't", "should not": "shouldn't"}
SMALL_CLAUSE = r"(see|saw|hear|watch|find|found|think|thought|consider|believ|imagin|keep|kept|want|prefer|call|prov|ma[kd]e|let|ha[vd]|wi(?:th|sh))"
BEHIND_BE = r" (a|an|the|in|on|at|under|behind|from|very|too|not|\w{2,}ing)\b"
MAY_DOUBLE = {"that", "had", "very", "is", "her", "who", "long", "far", "really", "so"}  # "that that" can be English


def full_stop(sentence):
    """Without its final full stop."""
    return sentence[:-1] if re.search(r"\w\.$", sentence) else None


def contraction(sentence):
    """is not → isn't, and the like, at the first place."""
    found = re.search(rf"\b({'|'.join(SHORT)})\b", sentence)
    return found and sentence[: found.start()] + SHORT[found[0]] + sentence[found.end() :]


def another_name(sentence):
    """Another first name that goes with the same pronoun, everywhere in the sentence."""
    for pronoun, names in NAMES.items():
        found = re.search(rf"\b({'|'.join(names.split())})\b", sentence)
        if found and not re.search(rf"\b{OTHER[pronoun]}\b", sentence):
            return re.sub(rf"\b{found[0]}\b", OTHER[pronoun], sentence)
    return None


def doubled_word(sentence):
    """A word in the middle twice."""
    words = sentence.split()
    for i in range(len(words) // 2, len(words) - 1):
        if words[i].isalpha() and words[i].lower() not in MAY_DOUBLE:
            return " ".join([*words[: i + 1], *words[i:]])
    return None


def article_behind(sentence):
    """An article behind the next word: two words swapped that English does not swap."""
    found = re.search(r"(?<=\w )(the|a|an) (\w+)", sentence)
    return found and f"{sentence[: found.start()]}{found[2]} {found[1]}{sentence[found.end() :]}"


def dropped_verb(sentence):
    """The only is, are, was or were left out, before an article, a preposition, or a word in -ing.

    Not where the rest may be English: before a participle (was sold: sold), or behind a verb that takes a clause without a
    verb (we found that the book was on the table: we found the book on the table).
    """
    found = re.findall(r" (?:is|are|was|were)\b", sentence)
    before, _, after = sentence.partition(found[0]) if len(found) == 1 else (sentence, "", "")
    if re.match(BEHIND_BE, after) and not re.search(rf"\b{SMALL_CLAUSE}", before, re.I):
        return before + after
    return None


STAYS = {"no full stop": full_stop, "contraction": contraction, "another name": another_name}
TURNS = {"doubled word": doubled_word, "dropped verb": dropped_verb, "article behind the next word": article_behind}


def changed(sentences, stays=STAYS, turns=TURNS):
    """DataFrame with change, should (stay or turn), before, after (08_error_analysis).

    sentences: DataFrame with label and sentence; stays, turns: {change: function of a sentence, None where it does not apply}.
    What should turn a verdict is done to sentences of the last class only.
    """
    rows = []
    for should, changes in [("stay", stays), ("turn", turns)]:
        own = sentences if should == "stay" else sentences[sentences["label"] == sentences["label"].max()]
        for change, make in changes.items():
            rows += [(change, should, before, make(before)) for before in own["sentence"]]
    frame = pd.DataFrame(rows, columns=["change", "should", "before", "after"])
    return frame[frame["after"].notna()].reset_index(drop=True)


def verdicts(changes, judge):
    """`changes` with was, now: the verdicts (True: the last class), and as_it_should (08_error_analysis).

    What should turn counts only where the verdict was acceptable before: else there is nothing to turn.
    """
    if changes.empty:
        return changes.assign(was=False, now=False, as_it_should=False)
    given = [judge(changes[text].tolist()) for text in ("before", "after")]
    was, now = ((each.argmax(dim=1) == each.shape[1] - 1).numpy() for each in given)
    frame = changes.assign(was=was, now=now)
    frame = frame[(frame["should"] == "stay") | frame["was"]]
    return frame.assign(as_it_should=(frame["was"] == frame["now"]) == (frame["should"] == "stay"))


def table(answers):
    """DataFrame by change: should, n, how many did, share with its Wilson interval low, high (08_error_analysis)."""
    rows = answers.groupby(["change", "should"], sort=False)["as_it_should"]
    frame = rows.agg(n="size", did="sum", share="mean")
    frame[["low", "high"]] = [
        tuple(binomtest(int(own.sum()), len(own)).proportion_ci(method="wilson")) for _, own in rows
    ]
    return frame.reset_index("should")
