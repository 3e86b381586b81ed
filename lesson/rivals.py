"""Simple rivals of the model, trained in seconds on the same sentences: what a score has to beat (05_evaluate)."""

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

MOST = 10_000  # training sentences that the rivals read; of more, about so many at random, of each class its share
FEATURES = {  # any run of characters between blanks is a word, so that no sentence is without
    "bag of words": {"token_pattern": r"\S+", "ngram_range": (1, 2)},
    "bag of characters": {"analyzer": "char_wb", "ngram_range": (1, 4)},
}


def answers(train, sentences, classes):
    """{rival: probabilities float [sentences, classes]} (05_evaluate).

    train: DataFrame with sentence and label. The majority always says the most frequent class; the others are logistic regressions
    on which words and pairs of words, or runs of up to four letters, a sentence has (tf-idf), with scikit-learn's defaults.
    """
    given = {"majority": np.tile(np.eye(len(classes))[train["label"].mode()[0]], (len(sentences), 1))}
    if len(train) > MOST:
        shares = [(of, max(round(MOST * len(of) / len(train)), 1)) for _, of in train.groupby("label")]
        train = pd.concat([of.sample(share, random_state=0) for of, share in shares])
    for name, features in FEATURES.items():
        rival = make_pipeline(TfidfVectorizer(**features), LogisticRegression(max_iter=1000))
        rival.fit(train["sentence"], train["label"])
        given[name] = np.zeros((len(sentences), len(classes)))
        given[name][:, rival.classes_] = rival.predict_proba(sentences)  # a class that train lacks gets 0
    return given
