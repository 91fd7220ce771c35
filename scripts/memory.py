#!/usr/bin/env python3
"""What long work holds under memory limits: the most anonymous memory of its process, or the error that refuses it.

    python3 scripts/memory.py PROGRAM STORE MODEL CORPUS [--limits 256MiB,1GiB,4GiB] [--max-tokens N] [--only 'WORD;WORD']

The model is ingested under each limit, and what follows reads the run of the largest; what takes vectors, those of three layers in
the runs of the largest two. With GPT-2-small's shape and 250,000 tokens these are 1.8 million of 3 KB. PROGRAM is a built `polysema`.
"""

import argparse
import subprocess
import time
from pathlib import Path

INGEST = """SELECT * FROM ingest('{run}', '{model}', '{corpus}', {{max_tokens: {tokens}, activation_threshold: 0.3, replace: true,
    resume: false}}) WHERE phase = 'done'"""
EVERY = (
    "(SELECT pre_mlp, activation FROM base.examples WHERE layer < 3 "
    'UNION ALL SELECT pre_mlp, activation FROM "{other}".examples WHERE layer < 3)'
)
FEW = "base.examples WHERE layer < 2"
MODEL = "'{model}', '{corpus}'"
SOME = "{{max_tokens: 20000}}"


def trained(name, source, buffer=""):
    """An autoencoder of the vectors of a source."""
    options = f"{{{{d_sae: 1024, epochs: 1, batch_size: 1024, {buffer}resume: false, replace: true}}}}"
    return f"SELECT * FROM train_sae('{name}', (SELECT pre_mlp FROM {source}), {options}) WHERE phase = 'done'"


def in_order(source):
    """A sort of whole rows, which no limit can take the place of."""
    return f"SELECT max(vector_norm(pre_mlp)) FROM (SELECT pre_mlp, activation FROM {source} ORDER BY activation OFFSET 1)"


# Two sorters side by side take each other's memory before they spill, and the merges of both do not fit.
ONE_SORTER = "SET datafusion.execution.target_partitions = 1; "
MANY = "base.examples WHERE layer < 6"


# Columns that are computed, since a count of rows may leave them out.
QUESTIONS = {
    "train_sae": trained("sae", EVERY),
    "train_sae, small buffer": trained("low", FEW, "buffer: 8192, "),
    "train_sae, large buffer": trained("big", FEW, "buffer: 1000000, "),
    "train_sae of a place": "SELECT * FROM train_sae('place', 'blocks.2.mlp.out', {{run: 'small', d_sae: 512, epochs: 1, batch_size: 512, "
    "max_tokens: 20000, resume: false, replace: true}}) WHERE phase = 'done'",
    "train_mlp": "SELECT * FROM train_mlp('mlp', '{images}', {{epochs: 1, replace: true}})",
    "sae_metrics": f"SELECT * FROM sae_metrics('sae', (SELECT pre_mlp FROM {EVERY}))",
    "sae_metrics of a place": "SELECT * FROM sae_metrics('place', {{max_documents: 100}})",
    "sae_encode": "SELECT sum(cardinality(sae_encode('sae', pre_mlp))) FROM base.examples WHERE layer = 0",
    "sae_decode": "SELECT max(vector_norm(sae_decode('sae', sae_encode('sae', pre_mlp)))) FROM base.examples WHERE layer = 0",
    "sae_matches": "SELECT max(decoder_cosine), max(encoder_cosine) FROM sae_matches('sae', 'low')",
    "feature_density": "SELECT * FROM feature_density('sae')",
    "feature_clusters": "SELECT sum(cluster), max(length(context)) FROM base.feature_clusters()",
    "neuron_profile": "SELECT max(mean_distance), max(cardinality(merges)) FROM base.neuron_profile()",
    "neuron_polysemanticity": "SELECT avg(n_clusters) FROM base.neuron_polysemanticity()",
    "pairwise_distances": "SELECT avg(distance) FROM base.pairwise_distances(0)",
    "neuron_embeddings": "SELECT max(vector_norm(embedding)) FROM base.neuron_embeddings()",
    "similar_features": "SELECT * FROM base.similar_features(0, 0, 0)",
    "coactivation": "SELECT max(lift) FROM base.coactivation(0)",
    "project": "SELECT max(pc1) FROM project(base.examples, 'pre_mlp')",
    "nearest": "SELECT max(similarity) FROM nearest(base.examples, 'pre_mlp', (SELECT pre_mlp FROM base.examples LIMIT 1), 1000)",
    "logit_effects": "SELECT max(effect) FROM base.logit_effects(0)",
    "explain_text": "SELECT max(distance) FROM base.explain_text('The Senate met in the old house of stone.')",
    "token_activations": "SELECT max(activation) FROM base.token_activations(0, 0, 0)",
    "token_importance": "SELECT max(importance) FROM base.token_importance(0, 0, 0)",
    "activations": f"SELECT max(vector_norm(vector)) FROM activations({MODEL}, 'blocks.2.mlp.pre', {SOME})",
    "activations, sorted": f"SELECT max(vector_norm(vector)) FROM (SELECT vector FROM activations({MODEL}, 'blocks.2.mlp.pre', {SOME}) "
    "ORDER BY vector[1] OFFSET 1)",
    "token_losses": f"SELECT avg(loss) FROM token_losses({MODEL}, {SOME})",
    "a sort": ONE_SORTER + in_order(MANY),
    "a sort, a sorter a core": in_order(MANY),
    "two sorts": ONE_SORTER + in_order(EVERY),
    "groups": f"SELECT max(vector_norm(mean)) FROM (SELECT round(activation, 4) AS a, vector_mean(pre_mlp) AS mean FROM {EVERY} GROUP BY a)",
    "copy": f"{ONE_SORTER}COPY (SELECT pre_mlp, activation FROM {MANY} ORDER BY activation) TO '{{store}}/copy.parquet'",
    "create table": "CREATE OR REPLACE TABLE notes.rows AS SELECT * FROM base.examples WHERE layer < 3",
}


def anonymous(process):
    """Bytes of its own that a process has in memory, and that it has given to swap."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon", "RssShmem", "VmSwap")))


def measured(program, store, limit, statement):
    """The most memory, the seconds, and the end: done, refused or killed, with what was said."""
    command = [program, "--store", store, "--memory-limit", limit, "--format", "csv", "--quiet", "-c", statement]
    began, most = time.monotonic(), 0
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            most = max(most, anonymous(child.pid))
            time.sleep(0.01)
        said, error = child.stdout.read(), child.stderr.read()
    end = "done" if child.returncode == 0 else "refused" if child.returncode > 0 else f"KILLED by {-child.returncode}"
    words = (said if child.returncode == 0 else error).strip().splitlines()
    return most, time.monotonic() - began, end, words[0 if child.returncode else -1][:300] if words else ""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("program", "store", "model", "corpus"):
        arguments.add_argument(name)
    arguments.add_argument("--limits", default="256MiB,1GiB,4GiB")
    arguments.add_argument("--max-tokens", type=int, default=250_000)
    arguments.add_argument("--images", default="tests/data/mnist-tiny")
    arguments.add_argument("--only", default="", help="beginnings of what is measured, by semicolons")
    said = arguments.parse_args()
    limits = said.limits.split(",")
    if len(limits) < 2:
        arguments.error(f"two limits at least are required, got {said.limits}")
    runs = {limit: f"under_{limit}" for limit in limits[:-1]} | {limits[-1]: "base"}
    names = dict(model=said.model, corpus=said.corpus, store=said.store, images=said.images, other=runs[limits[-2]])
    asked = [("ingest", limit, INGEST.format(run=run, tokens=said.max_tokens, **names)) for limit, run in runs.items()]
    asked.append(("ingest of few", limits[-1], INGEST.format(run="small", tokens=20_000, **names)))
    asked += [(name, limit, sql.format(**names)) for name, sql in QUESTIONS.items() for limit in limits]
    for name, limit, sql in asked:
        if said.only and not name.startswith(tuple(said.only.split(";"))):
            continue
        most, seconds, end, words = measured(said.program, said.store, limit, sql)
        print(f"{name:24} {limit:7} {most >> 20:6} MiB {seconds:7.1f} s  {end}: {words}", flush=True)


if __name__ == "__main__":
    main()
