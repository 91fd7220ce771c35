select layer, neuron, n_examples, n_clusters, mean_distance
from neuron_polysemanticity(3)
where n_clusters >= 2
order by neuron
