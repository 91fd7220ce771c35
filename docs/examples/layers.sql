-- How polysemantic is each layer?
SELECT layer, n_neurons, n_monosemantic, n_polysemantic, mean_n_clusters, mean_distance
FROM layer_summary
ORDER BY layer;
