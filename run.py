#!/usr/bin/env python
"""Execute the notebooks: once, or over a grid of parameters.

  run.py                                         the series 01 to 06, into runs/default/
  run.py -p SEED 7 -p MAX_LEN 128                the same with other parameters
  run.py -p SEED 1 2 3 -p MAX_LEN 64 128         a sweep: one run for each combination, into runs/sweep/
  run.py --file grid.yaml --sweep night          the same, read from a file

What was stopped, however, goes on when the same command is called again; what is finished is not repeated (--again does).
"""

# This is the door; what it leads to is in runner/, which knows no machine learning: it knows run folders, notebooks and their
# parameters, and JSON files of which it prints a few fields.

import os
import signal
import sys

from bookkeeping import SeriesError
from runner.command_line import follow
from runner.locks import Stopped


def main(arguments):
    """Do what a call asks for; returns the exit code: 1 something failed, 2 it cannot be done, 130 it was stopped."""
    try:
        return follow(arguments, __doc__)
    except BrokenPipeError:  # such as that of run.py | head: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SeriesError, OSError) as refused:  # OSError: such as of a disk that is full, or cannot be written
        print(f"run.py: {refused}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Stopped):
        print(
            "\nStopped. The same command goes on where this one stood, a training after the last epoch that it finished."
        )
        return 130


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # on Windows a pipe or a file knows 200 characters, and an arrow is none
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
