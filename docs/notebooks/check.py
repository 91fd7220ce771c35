"""Executes the notebooks beside it and compares what they give with what is stored; UPDATE_PAGES=1 stores it.

Text is compared: numbers with a fraction to two hundredths, since processors add in different orders, everything else exactly. A training
carries such differences on, so that even which latents are closest differs: in cells of the tag "trained" the number of lines is
compared, the first of them, which names the columns, and to a tenth numbers with a fraction. Pictures are stored and not compared.
"""

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
FRACTION = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
#: Progress bars of a notebook that runs.
LIVE = "application/vnd.jupyter.widget-view+json"


def executed(stored: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with the outputs of a new kernel, without what only a running one can show."""
    notebook = nbformat.from_dict(stored)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(HERE)}}).execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if LIVE not in output.get("data", {})]
    return notebook


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cells: list[nbformat.NotebookNode]) -> list[str]:
    """What each cell of code prints and gives."""
    said = [[output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs] for cell in cells]
    return ["\n".join(parts) for parts in said]


def same(stored: str, came: str, trained: bool) -> bool:
    """Whether two texts differ in the last digits at most, or as two trainings do. Columns are as wide as their numbers."""
    tolerance = 0.1 if trained else 0.02
    numbers, others = (list(map(float, FRACTION.findall(text))) for text in (stored, came))
    if len(numbers) != len(others) or any(abs(a - b) > tolerance * max(1.0, abs(a)) for a, b in zip(numbers, others)):
        return False
    lines = [[FRACTION.sub("#", line).split() for line in text.splitlines()] for text in (stored, came)]
    if trained:
        return len(lines[0]) == len(lines[1]) and lines[0][:1] == lines[1][:1]
    return sum(lines[0], []) == sum(lines[1], [])


def main() -> int:
    """The number of notebooks that are not as they are stored."""
    wrong = 0
    for path in sorted(HERE.glob("*.ipynb")):
        stored = nbformat.read(path, as_version=4)
        came = executed(stored)
        cells = code(stored)
        pairs = zip(cells, texts(cells), texts(code(came)), strict=True)
        differing = [(a, b) for cell, a, b in pairs if not same(a, b, "trained" in cell.metadata.get("tags", []))]
        if os.environ.get("UPDATE_PAGES") == "1":
            nbformat.write(came, path)
        elif differing:
            wrong += 1
            for a, b in differing:
                print(f"{path.name}: stored\n{a}\ncame\n{b}\n(UPDATE_PAGES=1 stores what came)", file=sys.stderr)
        print(f"{path.name}: {len(cells)} cells of code executed")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
