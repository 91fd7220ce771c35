"""A store in a bucket answers Python as the folder does that was uploaded: bucket.py PROGRAM BUCKET..."""

import subprocess
import sys
import tempfile
from pathlib import Path

import polysema

QUESTIONS = (
    "SELECT layer, neuron, example, cluster FROM demo.feature_clusters() ORDER BY layer, neuron, example",
    "SELECT count(*), sum(pos), max(activation) FROM demo.examples",
    "SELECT * FROM demo.similar_features(0, 1, 0)",
)


def answers(store):
    with polysema.connect(store, run="demo") as db:
        return [db.sql(question).rows() for question in QUESTIONS]


program, *buckets = sys.argv[1:]
assert buckets, "buckets are required"
with tempfile.TemporaryDirectory() as folder:
    store = Path(folder) / "polysema.store"
    subprocess.run([program, "--store", store, "demo"], check=True, capture_output=True)
    here = answers(store)
    assert len(here[0]) > 1000, len(here[0])
    for bucket in buckets:
        address = f"{bucket}/python/polysema.store"
        subprocess.run([program, "--store", store, "upload", "--to", address], check=True)
        assert answers(address) == here, bucket
        try:
            polysema.connect(address).sql("CREATE TABLE notes.t AS SELECT 1 AS n").rows()
        except polysema.Error as error:
            print(f"{address}: {len(here[0])} rows of clusters equal; a change is refused: {error}")
        else:
            raise AssertionError("a store elsewhere was changed")
