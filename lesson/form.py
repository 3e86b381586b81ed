"""A field to type a sentence in, below a verdict that any program can print (06_save_and_load)."""

import contextlib
import os
import sys


def verdict(judge, sentence):
    """What a text-classification pipeline says of a sentence, in a line (06_save_and_load)."""
    answer = judge(sentence)[0]
    return f"{answer['label']} ({answer['score']:.2f}): {sentence}"


def ask(judge, sentence):
    """Print the verdict on `sentence`; where a person sits at the notebook, show a field for another (06_save_and_load)."""
    print(verdict(judge, sentence))
    if _a_person_is_there():
        with contextlib.suppress(ImportError):
            _show_field(judge, sentence)


def _a_person_is_there():
    """Jupyter's server and VS Code start kernels for people and say so; papermill, nbconvert and nbval do not."""
    return "JPY_SESSION_NAME" in os.environ or "VSCODE_PID" in os.environ or "google.colab" in sys.modules


def _show_field(judge, sentence):
    import ipywidgets
    from IPython.display import display

    field = ipywidgets.Text(sentence, description="Sentence:", continuous_update=False, layout={"width": "95%"})
    answer = ipywidgets.Label()
    field.observe(lambda change: setattr(answer, "value", verdict(judge, change["new"])), "value")
    display(ipywidgets.VBox([field, answer]))
