"""The libraries that each test process finds in memory when it is forked (side_by_side.py).

None of ours: the root's conftest.py decides what they find when they are imported.
"""

import contextlib
import gc
import importlib
import sys

# else jsonschema compiles a grammar of web addresses, for longer than most files' tests take
sys.modules["rfc3987_syntax"] = None
LIBRARIES = """
    pytest _hypothesis_pytestplugin hypothesis.internal.conjecture.engine nbval.plugin anyio.pytest_plugin xdist.plugin
    torch.utils.data transformers.models.bert.modeling_bert transformers.models.bert.tokenization_bert accelerate
    datasets pyarrow.parquet scipy.stats sklearn.metrics seaborn papermill nbconvert ipykernel.kernelapp
"""
for name in LIBRARIES.split():
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
gc.collect()
gc.freeze()  # no collection looks at them again
