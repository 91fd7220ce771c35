#!/usr/bin/env bash
# Tables 2 and 3 on MNIST over five seeds, as docs/results.md shows them: mean and standard deviation of every
# metric for autoencoders without the neuron embedding loss and with two weights of it.
#
#     tests/reference/sae_seeds.sh target/release/polysema path/to/mnist /tmp/seeds.store
set -euo pipefail
polysema="$1" mnist="$2" store="$3"
summary=""
for seed in 0 1 2 3 4; do
    {
        echo "SELECT * FROM train_mlp('mlp$seed', '$mnist', {hidden: [64], epochs: 3, learning_rate: 0.0003, seed: $seed});"
        echo "SELECT * FROM ingest('r$seed', 'mlp$seed', '$mnist', {split: 'train'});"
        echo "SET polysema.run = 'r$seed';"
        for weight in 0 0.003 0.01; do
            name="sae_${seed}_${weight/./_}"
            echo "SELECT * FROM train_sae('$name', 0, {preset: 'foote_mnist', l1: 0.00015, ne_loss: $weight, seed: $seed});"
        done
    } | "$polysema" --store "$store" -f /dev/stdin >/dev/null
    for weight in 0 0.003 0.01; do
        name="sae_${seed}_${weight/./_}"
        summary+="${summary:+ UNION ALL }SELECT $weight AS ne_loss, metric, value FROM sae_metrics('$name')"
    done
done
"$polysema" --store "$store" --format markdown -c \
    "SELECT metric, ne_loss, round(avg(value), 3) AS mean, round(stddev(value), 3) AS sd FROM ($summary)
     WHERE value IS NOT NULL GROUP BY metric, ne_loss ORDER BY metric, ne_loss"
