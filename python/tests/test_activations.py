"""A run of arrays is the run of the model that they are of."""

import numpy
import pandas
import pytest

import polysema
from conftest import DEMO


def test_arrays_of_a_model_make_its_run(db):
    layer = 2
    model, corpus = DEMO / "model", DEMO / "corpus.jsonl"
    received = {}
    for hook in ["ln2.normalized", "mlp.post"]:
        rows = db.activations(model, corpus, f"blocks.{layer}.{hook}").to_pandas().sort_values(["doc_id", "pos"])
        received[hook] = numpy.stack(rows["vector"])
    neurons = db.sql("SELECT w_in, b_in FROM neurons WHERE layer = $l ORDER BY neuron", l=layer)
    tokens = db.sql("SELECT token FROM tokens ORDER BY doc_id, pos").rows()
    db.import_activations(
        "recorded",
        h={0: received["ln2.normalized"]},
        w_in={0: neurons.to_numpy("w_in")},
        b_in={0: neurons.to_numpy("b_in")},
        activations={0: received["mlp.post"]},
        doc_id=rows["doc_id"].to_numpy(),
        pos=rows["pos"].to_numpy(),
        tokens=[token for (token,) in tokens],
        replace=True,
    )
    statement = 'SELECT neuron, example, token, "cluster" FROM {}.feature_clusters({}) ORDER BY neuron, example'
    ours = db.sql(statement.format("recorded", 0)).to_pandas()
    theirs = db.sql(statement.format("demo", layer)).to_pandas()
    assert len(ours) > 1000
    pandas.testing.assert_frame_equal(ours, theirs)
    db.drop_run("recorded")


def test_wrong_arrays_are_refused(db):
    h, w_in = numpy.ones((4, 3), numpy.float32), numpy.ones((2, 3), numpy.float32)
    with pytest.raises(TypeError, match="h: a mapping of a layer's number to its array is required, got ndarray"):
        db.import_activations("wrong", h=h, w_in={0: w_in}, activation_function="relu")
    with pytest.raises(TypeError, match="W_in"):
        db.import_activations("wrong", h={0: h}, w_in={0: w_in}, W_in={0: w_in}, activation_function="relu")
    with pytest.raises(polysema.Error, match="0.w_in is required"):
        db.import_activations("wrong", h={0: h}, activation_function="relu")
    assert "wrong" not in db.runs


def test_texts_and_frames_are_corpora(db):
    texts = pandas.read_json(DEMO / "corpus.jsonl", lines=True).head(40)
    db.ingest("frame", DEMO / "model", texts[["text"]])
    db.ingest("texts", DEMO / "model", (text for text in texts["text"]))
    counts = "SELECT count(*), sum(activation) FROM {}.examples"
    assert db.sql(counts.format("frame")).rows() == db.sql(counts.format("texts")).rows()
    db.drop_run("frame")
    db.drop_run("texts")
    db.use("demo")
