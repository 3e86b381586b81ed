"""The parameters: what the notebooks declare, what a call of run.py asks for, and whether the two fit together."""

import ast
import configparser
import difflib
import logging
import math
from pathlib import Path
from typing import NamedTuple

import papermill
import yaml

WORDS = configparser.ConfigParser.BOOLEAN_STATES  # true, yes, on, 1; false, no, off, 0
EMPTY = {"", "~", "null"}  # as YAML writes nothing
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name or a path"}


class Refused(Exception):
    """What the command line asks for cannot be done; the message says why and what can."""


class Parameter(NamedTuple):
    name: str
    kind: type
    default: object
    remark: str
    notebook: str


def read_notebooks(folder):
    """{notebook: {name: Parameter}}, in order, of the notebooks that declare RUN or BATCH."""
    logging.getLogger("papermill").setLevel(logging.WARNING)
    notebooks = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        declared = {}
        for name, seen in papermill.inspect_notebook(path).items():
            try:
                default = ast.literal_eval(seen["default"])
            except (SyntaxError, ValueError):
                raise Refused(f"{path.name}: the default of {name} is not a plain literal: {seen['default']}") from None
            kinds = {kind.__name__: kind for kind in KINDS}
            kind = kinds.get(seen["inferred_type_name"], str if default is None else type(default))
            declared[name] = Parameter(name, kind, default, seen["help"], path.stem)
        if "RUN" in declared or "BATCH" in declared:
            notebooks[path.stem] = declared
    return notebooks


def parameters_help(notebooks):
    lines = ["parameters, with their defaults, by notebook:"]
    for notebook, declared in notebooks.items():
        lines += ["", f"  {notebook}"]
        lines += [f"    {p.name:<20} {p.default!r:<12} {p.remark}" for p in declared.values()]
    return "\n".join(lines)


def given(parameters):
    """{name: [texts]} of the -p options."""
    asked = {}
    for name, *texts in parameters:
        if not texts:
            raise Refused(f"-p {name} needs a value: -p NAME VALUE [VALUE ...]")
        if name in asked:
            raise Refused(f"-p {name} is given twice; several values go behind one -p: -p {name} VALUE VALUE")
        asked[name] = texts
    return asked


def read_grid(path):
    """{name: [texts]} from a YAML file of `NAME: value` and `NAME: [values]`.

    All scalars are read as text, and typed later by the notebook: 3e-5 stays a number and `no` a word.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        node, content = yaml.compose(text, yaml.BaseLoader), yaml.load(text, yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise Refused(f"{path} must hold lines such as `SEED: [1, 2, 3]` or `MAX_LEN: 64`")
    names = [key.value for key, _ in node.value]
    if len(names) > len(content):  # of a name given twice, YAML would keep the last
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        raise Refused(f"{path} gives {twice} twice; several values go into one list, NAME: [values]")
    grid = {name: value if isinstance(value, list) else [value] for name, value in content.items()}
    for name, texts in grid.items():
        if not texts or not all(isinstance(text, str) for text in texts):
            raise Refused(f"{path}: {name} must be one value or a list of values")
    return grid


def typed(asked, notebooks):
    """{name: [values]} with each name checked and each value of the type its notebook declares."""
    declared = {name: p for own in notebooks.values() for name, p in own.items()}
    values = {}
    for name, texts in asked.items():
        if name not in declared:
            near = difflib.get_close_matches(name.upper(), declared, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise Refused(f"no notebook declares {name}.{hint} The parameters are: {', '.join(sorted(declared))}")
        values[name] = list(dict.fromkeys(convert(text, declared[name]) for text in texts))
    return values


def convert(text, parameter):
    """The value that `text` stands for, of the type that the notebook declares."""
    if parameter.default is None and text.lower() in EMPTY | {"none"}:
        return None
    try:
        if parameter.kind is bool:
            return WORDS[text.lower()]
        if parameter.kind is str:
            if text.lower() in EMPTY:
                raise ValueError
            return text if parameter.name == "RUN" else absolute(text)
        value = parameter.kind(text)
        if not math.isfinite(value):
            raise ValueError
        return value
    except (KeyError, ValueError, OverflowError, RuntimeError):  # the last two: 400 digits, ~no-such-user/folder
        none = " or none" if parameter.default is None else ""
        raise Refused(
            f"{parameter.name} must be {KINDS[parameter.kind]}{none}, not {text!r} "
            f"({parameter.notebook}: default {parameter.default!r}; {parameter.remark})"
        ) from None


def absolute(text):
    """A path that is meant from here, made absolute: the notebooks run in another folder."""
    path = Path(text).expanduser()
    meant = text.startswith(("./", "../", "~")) or ("/" in text and path.exists())
    return str(path.resolve()) if meant else text


def check_place(values, notebooks, hint):
    """Refuse parameters of notebooks that are not executed: they would do nothing."""
    for name in values:
        if not any(name in declared for declared in notebooks.values()):
            raise Refused(f"{name} belongs to a notebook that this call leaves out: {hint}")
