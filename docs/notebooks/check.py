"""Executes the notebooks beside it and compares what they give with what is stored; UPDATE_PAGES=1 stores it.

Text is compared: numbers with a fraction to two hundredths, since vector units add in different orders and a training carries that on, everything
else exactly. Pictures are stored and not compared.
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


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What each cell of code prints and gives."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = [[output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs] for cell in cells]
    return ["\n".join(parts) for parts in said]


def same(stored: str, came: str) -> bool:
    """Whether two texts differ in the last digits at most. Columns are as wide as their numbers."""
    words, others = (" ".join(FRACTION.sub("#", text).split()) for text in (stored, came))
    pairs = zip(FRACTION.findall(stored), FRACTION.findall(came))
    return words == others and all(abs(float(a) - float(b)) <= 0.02 * max(1.0, abs(float(a))) for a, b in pairs)


def main() -> int:
    """The number of notebooks that are not as they are stored."""
    wrong = 0
    for path in sorted(HERE.glob("*.ipynb")):
        stored = nbformat.read(path, as_version=4)
        came = executed(stored)
        cells = zip(texts(stored), texts(came), strict=True)
        differing = [(a, b) for a, b in cells if not same(a, b)]
        if os.environ.get("UPDATE_PAGES") == "1":
            nbformat.write(came, path)
        elif differing:
            wrong += 1
            for a, b in differing:
                print(f"{path.name}: stored\n{a}\ncame\n{b}\n(UPDATE_PAGES=1 stores what came)", file=sys.stderr)
        print(f"{path.name}: {len(texts(came))} cells of code executed")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
