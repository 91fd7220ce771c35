"""A store with the demo's run."""

import signal
from pathlib import Path

import pytest

import polysema

# Whoever starts the tests in the background has Ctrl-C ignored, and Python leaves that as it is.
signal.signal(signal.SIGINT, signal.default_int_handler)

DEMO = Path(__file__).parents[2] / "tests" / "data" / "demo"


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("store") / "polysema.store"
    with polysema.connect(place) as db:
        progress = db.ingest("demo", DEMO / "model", DEMO / "corpus.jsonl", window_vectors=True)
        assert progress.rows()[-1][0] == "done"
        assert db.run == "demo"
    return place


@pytest.fixture
def db(store):
    with polysema.connect(store, run="demo") as db:
        yield db
