"""The parameters that a call asks for: read, and held against what the notebooks declare."""

import difflib
import re
from pathlib import Path

import yaml

from bookkeeping import SeriesError
from bookkeeping.parameters import declared, typed


def parameters_help(notebooks):
    """The parameters by notebook, each with its default, its remark, and below that its range."""
    lines, told = ["parameters, with their defaults, by notebook:"], set()
    for notebook, own in notebooks.items():
        lines += ["", f"  {notebook}"]
        for name, kind, default, remark in own.values():
            lines += [f"    {name:<20} {default!r:<12} {remark}"]
            words = declared(name, default, kind).range
            if words and words not in remark and name not in told:  # RUN stands in all of them
                lines += [f"{'':<38}{words}"]
            told.add(name)
    return "\n".join(lines)


def given(parameters):
    """{name: [texts]} of the -p options."""
    asked = {}
    for name, *texts in parameters:
        if not texts:
            raise SeriesError(f"-p {name} needs a value: -p NAME VALUE [VALUE ...]")
        if name in asked:
            raise SeriesError(f"-p {name} is given twice; several values go behind one -p: -p {name} VALUE VALUE")
        asked[name] = [text.strip() for text in texts]
    return asked


def read_grid(path):
    """{name: [texts]} from a YAML file of `NAME: value` and `NAME: [values]`.

    All scalars are read as text, and typed later by the notebook: 3e-5 stays a number and `no` a word.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        node, content = yaml.compose(text, yaml.BaseLoader), yaml.load(text, yaml.BaseLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise SeriesError(f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise SeriesError(f"{path} must hold lines such as `SEED: [1, 2, 3]` or `MAX_LEN: 64`")
    names = [key.value for key, _ in node.value]
    if len(names) > len(content):  # of a name given twice, YAML would keep the last
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        raise SeriesError(f"{path} gives {twice} twice; several values go into one list, NAME: [values]")
    grid = {name: value if isinstance(value, list) else [value] for name, value in content.items()}
    for name, texts in grid.items():
        if not texts or not all(isinstance(text, str) for text in texts):
            raise SeriesError(f"{path}: {name} must be one value or a list of values")
    return grid


def values_of(asked, notebooks):
    """{name: [values]} with each name and value checked, each value of the kind its notebook declares."""
    known = {name: parameter for own in notebooks.values() for name, parameter in own.items()}
    values = {}
    for name, texts in asked.items():
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SeriesError(f"no notebook declares {name}.{hint} The parameters are: {', '.join(sorted(known))}")
        values[name] = list(dict.fromkeys(value_of(text, known[name]) for text in texts))
    return values


def value_of(text, parameter):
    value = typed(parameter.name, text, parameter.default, parameter.kind)
    if not isinstance(value, str) or parameter.name in {"RUN", "SWEEP"}:
        return value
    try:
        return absolute(value)
    except RuntimeError:
        raise SeriesError(
            f"{parameter.name} is {text!r}: expected a name or a path, and there is no such user."
        ) from None


def absolute(text):
    """A path that is meant from here, made absolute: the notebooks run in another folder."""
    path = Path(text).expanduser()
    known = re.match(r"~|\.\.?[/\\]", text)  # Windows writes a backslash
    meant = known or (re.search(r"[/\\]", text) and path.exists()) or (path.suffix and path.is_file())
    return str(path.resolve()) if meant else text


def check_place(values, notebooks, hint):
    """Refuse parameters of notebooks that are not executed: they would do nothing."""
    for name in values:
        if not any(name in own for own in notebooks.values()):
            raise SeriesError(f"{name} belongs to a notebook that this call leaves out: {hint}")
