-- Which of two sparse autoencoders has the more monosemantic latents, by their neuron embeddings? (Table 3 of Foote 2024)
-- Inputs: :a and :b, names of autoencoders of this store. Output: one row per metric with its value for each; distances
-- are cosine distances in [0, 2] between the embeddings of a latent's first 100 active rows, medians over latents with
-- two such rows or more; size is the median number of active rows. Measured as in table2. Limits: a latent that is
-- active on many alike rows has small distances whatever it does on the rest.
-- var a=standard
-- var b=ne
-- var corpus=
WITH measured AS (
    SELECT * FROM sae_metrics(:'a', {corpus: :'corpus'})
    UNION ALL
    SELECT * FROM sae_metrics(:'b', {corpus: :'corpus'})
)
SELECT metric,
       max(value) FILTER (WHERE sae = :'a') AS a,
       max(value) FILTER (WHERE sae = :'b') AS b,
       max(definition) AS definition
FROM measured
WHERE metric IN ('max_distance', 'mean_distance', 'size', 'frac_alive')
GROUP BY metric
ORDER BY metric
