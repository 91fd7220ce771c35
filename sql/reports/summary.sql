-- What is in this run?
-- Inputs: the current run and settings polysema.*. Output: its layers with their averages, how many neurons have how many
-- feature clusters, the neurons of several clusters whose examples lie farthest apart, those of one cluster whose examples lie
-- closest, and those that never fire. Limits: many neurons of few examples have one cluster for that reason.

-- part: Layers
-- bars name mean_n_clusters
SELECT layer, name, n_neurons, n_without_examples, n_monosemantic, n_polysemantic, mean_n_clusters, mean_distance,
       intra_cluster_distance, inter_cluster_distance
FROM layer_summary
ORDER BY layer;

-- part: Neurons by their number of clusters
-- bars clusters neurons
SELECT CASE WHEN n_clusters >= 10 THEN '10 or more' ELSE CAST(n_clusters AS VARCHAR) END AS clusters, count(*) AS neurons
FROM neuron_polysemanticity()
WHERE n_clusters IS NOT NULL
GROUP BY CASE WHEN n_clusters >= 10 THEN '10 or more' ELSE CAST(n_clusters AS VARCHAR) END
ORDER BY min(n_clusters);

-- part: Most polysemantic
-- bars layer, neuron mean_distance
SELECT layer, neuron, n_examples, n_clusters, mean_distance, intra_cluster_distance, inter_cluster_distance
FROM polysemantic_neurons
WHERE n_examples >= 30 AND n_clusters <= 5
ORDER BY mean_distance DESC, layer, neuron
LIMIT 10;

-- part: Most monosemantic
SELECT layer, neuron, n_examples, mean_distance, max_distance
FROM monosemantic_neurons
WHERE n_examples >= 30
ORDER BY mean_distance, layer, neuron
LIMIT 10;

-- part: Neurons that never fire
SELECT layer, count(*) AS neurons
FROM dead_neurons
GROUP BY layer
ORDER BY layer
