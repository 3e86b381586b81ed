"""How often a fault was tried and what came of it: what benchmarks/reliability.py makes its table of."""

import collections
import contextlib
import json
import os

TIMES = float(os.environ.get("RELIABILITY_TIMES", 1))  # as often as the tests alone try, times this
TALLY = os.environ.get("RELIABILITY_TALLY")  # file that gets a line of JSON for each fault


def tries(few):
    return round(few * TIMES)


@contextlib.contextmanager
def tally(fault, promised):
    """Yield a function that counts what came of a try, in words. What breaks the promise is counted, and raised."""
    counts = collections.Counter()
    try:
        yield lambda happened: counts.update([happened])
    except Exception as error:
        counts[f"promise broken: {type(error).__name__}"] += 1
        raise
    finally:
        if TALLY:
            with open(TALLY, "a", encoding="utf-8") as file:
                print(json.dumps({"fault": fault, "promised": promised, "happened": counts}), file=file)
