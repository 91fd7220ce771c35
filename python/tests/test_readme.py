"""The README's statements, on the demo's model and corpus."""

import doctest
import shutil
from pathlib import Path

from conftest import DEMO

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_says_what_happens(tmp_path, monkeypatch):
    shutil.copytree(DEMO / "model", tmp_path / "path" / "to" / "model")
    shutil.copy(DEMO / "corpus.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0 and tried > 20
