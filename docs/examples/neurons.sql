-- Which neurons of a layer respond to several unrelated things?
-- Variables: layer. Output: a row per neuron of two feature clusters or more, the most of them first.
SELECT layer, neuron, n_examples, n_clusters, mean_distance
FROM polysemantic_neurons
WHERE layer = :layer
ORDER BY n_clusters DESC, mean_distance DESC, neuron;
