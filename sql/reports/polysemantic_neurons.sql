-- Which neurons respond to several unrelated things?
-- Input: the current run. Output: the five neurons of at least 30 examples in two to five clusters whose examples lie
-- farthest apart; distances are cosine distances in [0, 2]. Limits: a neuron of many small clusters is left out.
SELECT layer, neuron, n_examples, n_clusters,
       round(mean_distance, 3) AS mean_distance,
       round(intra_cluster_distance, 3) AS intra_cluster_distance,
       round(inter_cluster_distance, 3) AS inter_cluster_distance
FROM neuron_polysemanticity()
WHERE n_examples >= 30 AND n_clusters BETWEEN 2 AND 5
ORDER BY mean_distance DESC, layer, neuron
LIMIT 5
