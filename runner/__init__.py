"""What run.py does, a job a module; each imports only from those beside and below it.

  command_line               what a call may say, and whether it holds together
  series                     the series once
  sweep, comparison          a grid of runs; the notebooks that compare them
  ahead                      what the notebooks would refuse, said before the first begins
  places, cluster            where runs are executed: on this machine, on a Dask cluster
  progress                   the line that says where a run or a sweep stands
  resume                     a run folder from wherever it stands to its end
  execution                  one notebook, in a process of its own
  results, page, pictures    what a run gave: on the terminal, and as report.html
  grid, state, locks         which runs there are, what is done of them, who is at work
  devices, leftovers         cores and GPUs; what killed calls left behind
  parameters, notebooks      what was asked for; what the notebooks declare
  terminal, paths            how things are said; where they lie

kernel stands apart: it is that process, with papermill in it. Neither torch nor transformers is imported here.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # else jsonschema compiles a grammar of web addresses for 2 seconds
