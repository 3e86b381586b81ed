"""The pictures of executed notebooks: what each shows, in words, and which of them a page opens with."""

import re

KINDS = ("image/png", "image/jpeg", "image/svg+xml")


def describe(cells):
    """Give each picture an `alt` text: its own, its <title>, or else the heading and the first sentence above it."""
    heading = sentence = ""
    for cell in cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)", cell.source, re.MULTILINE) or [heading])[-1]
            sentence = first_sentence(cell.source) or sentence
        for output, kind in pictures_of(cell):
            own = output.metadata.setdefault(kind, {})
            titles = re.findall(r"<title>(.+?)</title>", output.data[kind]) if kind == "image/svg+xml" else []
            above = plain(f"{heading}{'' if heading.endswith(('?', '!')) else ':'} {sentence}").strip(": ")
            own["alt"] = own.get("alt") or "".join(titles[:1]) or above or "a picture without a description"


def opening(cells, tag, otherwise):
    """(base64, alt) of the last PNG of the cells with this tag, or of picture number `otherwise`; None without any."""
    tagged = [cell for cell in cells if tag in cell.metadata.get("tags", [])]
    for candidates, number in [(tagged, -1), (cells, otherwise)]:
        found = [output for cell in candidates for output, kind in pictures_of(cell) if kind == "image/png"]
        if found:
            return found[number].data["image/png"], found[number].metadata["image/png"]["alt"]


def pictures_of(cell):
    """(output, kind) of each output of a cell that shows a picture."""
    for output in cell.get("outputs", []):
        for kind in KINDS:
            if kind in output.get("data", {}):
                yield output, kind


def first_sentence(markdown):
    """The first sentence of the prose in a markdown cell; "" where there is none."""
    prose = [line for line in markdown.splitlines() if re.match(r"\*\*|[^\W\d]|[`$\"'“(]|\[(?!!)", line)]
    return re.match(r".*?(?:[.!?](?=\s+[A-Z*]|$)|$)", " ".join(prose))[0]


def plain(markdown):
    """A line of markdown as it reads, without its marks."""
    return re.sub(r"[*`$]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown))
