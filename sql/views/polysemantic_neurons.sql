-- Which neurons fire for more than one reason?
-- Inputs: the current run and the settings polysema.*. Output: one row per neuron of at least two feature clusters (of a gated
-- neuron one per sign of its examples), by layer and neuron; distances are cosine distances in [0, 2], means over pairs of
-- examples. Limits: two clusters may be two sides of one behaviour; feature_clusters(layer, neuron) shows them.
CREATE VIEW polysemantic_neurons AS
SELECT layer, neuron, n_examples, n_clusters, max_distance, mean_distance,
       intra_cluster_distance, inter_cluster_distance, sign
FROM neuron_polysemanticity()
WHERE n_clusters >= 2
ORDER BY layer, neuron
