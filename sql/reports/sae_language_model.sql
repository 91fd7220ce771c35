-- Does the neuron embedding loss make an autoencoder's latents of a language model more monosemantic?
-- Inputs: :a and :b, autoencoders of one place of a language model, trained without and with the loss, and :corpus, a
-- text file they were not trained on. Output: the rows of the paper's Tables 2 and 3 for both and their ratio;
-- cross-entropy in nats, distances in [0, 2]. Limits: one model, one place, one seed each.
-- var a=standard
-- var b=ne
-- var corpus=
WITH measured AS (
    SELECT * FROM sae_metrics(:'a', {corpus: :'corpus'})
    UNION ALL
    SELECT * FROM sae_metrics(:'b', {corpus: :'corpus'})
),
asked AS (
    SELECT * FROM (VALUES
        (1, 'mse'), (2, 'explained_variance'), (3, 'l0'), (4, 'l0_percent'), (5, 'l1_per_batch'), (6, 'ce_loss'),
        (7, 'ce_loss_with_sae'), (8, 'ce_loss_zero_ablation'), (9, 'ce_loss_score'), (10, 'dead_percent'),
        (11, 'max_distance'), (12, 'mean_distance'), (13, 'size')
    ) AS v(place, metric)
),
pairs AS (
    SELECT q.place, m.metric,
           max(m.value) FILTER (WHERE m.sae = :'a') AS a,
           max(m.value) FILTER (WHERE m.sae = :'b') AS b
    FROM measured m
    JOIN asked q ON q.metric = m.metric
    GROUP BY q.place, m.metric
)
SELECT metric, a, b, CASE WHEN a <> 0 THEN b / a END AS ratio
FROM pairs
ORDER BY place
