-- How polysemantic is each layer?
-- Inputs: the current run and the settings polysema.*. Output: one row per layer, in their order: its neurons, how many of them are
-- without examples, of one and of several feature clusters, and the metrics' averages over its neurons, of decimals, whose
-- sum is the same in any order. Limits: none.
CREATE VIEW layer_summary AS
SELECT p.layer, l.name, count(*) AS n_neurons,
       count(*) FILTER (WHERE p.n_examples = 0) AS n_without_examples,
       count(*) FILTER (WHERE p.n_clusters = 1) AS n_monosemantic,
       count(*) FILTER (WHERE p.n_clusters >= 2) AS n_polysemantic,
       avg(p.n_clusters) AS mean_n_clusters,
       CAST(avg(CAST(p.mean_distance AS DECIMAL(38, 18))) AS DOUBLE) AS mean_distance,
       CAST(avg(CAST(p.intra_cluster_distance AS DECIMAL(38, 18))) AS DOUBLE) AS intra_cluster_distance,
       CAST(avg(CAST(p.inter_cluster_distance AS DECIMAL(38, 18))) AS DOUBLE) AS inter_cluster_distance
FROM neuron_polysemanticity() p
JOIN layers l ON l.layer = p.layer
GROUP BY p.layer, l.name
ORDER BY p.layer
