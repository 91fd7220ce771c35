-- How well do two sparse autoencoders reconstruct, how sparsely, and what does it cost the model? (Table 2 of Foote 2024)
-- Inputs: :a and :b, names of autoencoders of this store. Output: one row per metric with its value for each and its
-- formula; accuracy of classifiers and cross-entropy in nats of language models, each NULL for the other kind. Measured
-- on the test images of the run's corpus, or on :corpus, a text file, where it is given. Limits: l1_per_batch depends
-- on the width of the batch, 128 as the paper's.
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
        (1, 'mse'), (2, 'explained_variance'), (3, 'l0_percent'), (4, 'l0'), (5, 'l1_per_batch'),
        (6, 'accuracy_percent'), (7, 'accuracy_with_sae_percent'), (8, 'accuracy_loss_percent'),
        (9, 'ce_loss'), (10, 'ce_loss_with_sae'), (11, 'ce_loss_zero_ablation'), (12, 'ce_loss_score'),
        (13, 'dead_percent')
    ) AS v(place, metric)
)
SELECT m.metric,
       max(m.value) FILTER (WHERE m.sae = :'a') AS a,
       max(m.value) FILTER (WHERE m.sae = :'b') AS b,
       max(m.definition) AS definition
FROM measured m
JOIN asked q ON q.metric = m.metric
GROUP BY q.place, m.metric
ORDER BY q.place
