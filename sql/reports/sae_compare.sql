-- Which of this store's sparse autoencoders has the most monosemantic latents, and at what price?
-- Inputs: every autoencoder whose latents are a layer of the current run, and polysema.threshold. Output: one row each,
-- the smallest median distance first: median over its latents with two dataset examples or more of the mean and largest
-- cosine distance of their neuron embeddings and of their number of feature clusters, beside the mean squared error over
-- the training rows, how many latents are active at once and how many are dead. Limits: all of it on the examples and
-- rows of the training; table2 and table3 measure on others.
WITH latents AS (
    -- Decimals have the same sum in any order.
    SELECT s.name, s.d_sae, s.variant, s.mse, n.layer, n.neuron, n.max_activation,
           CAST(n.frac_active AS DECIMAL(38, 18)) AS frac_active
    FROM polysema.info.saes s
    JOIN neurons n ON n.layer = s.layer
    JOIN layers l ON l.layer = s.layer AND l.name = s.name
),
measured AS (
    SELECT l.name, l.d_sae, l.variant, l.mse, l.frac_active, l.max_activation,
           p.n_examples, p.n_clusters, p.mean_distance, p.max_distance
    FROM latents l
    JOIN neuron_polysemanticity({kind: 'sae'}) p ON p.layer = l.layer AND p.neuron = l.neuron
)
SELECT name, variant, d_sae,
       median(mean_distance) FILTER (WHERE n_examples >= 2) AS mean_distance,
       median(max_distance) FILTER (WHERE n_examples >= 2) AS max_distance,
       median(CAST(n_clusters AS DOUBLE)) FILTER (WHERE n_examples >= 2) AS n_clusters,
       mse,
       CAST(sum(frac_active) AS DOUBLE) AS l0,
       100.0 * CAST(sum(frac_active) AS DOUBLE) / d_sae AS l0_percent,
       100.0 * count(*) FILTER (WHERE max_activation < 0.005) / d_sae AS dead_percent
FROM measured
GROUP BY name, variant, d_sae, mse
ORDER BY mean_distance, name
