-- Which parts of an image does this neuron of a classifier look at?
-- Inputs: :layer (a number, or a name in quotes) and :neuron of a run of images. Output: its metrics and feature clusters with
-- the classes of their images, and on a page the maps of its input weights (of a latent the largest activation that each
-- pixel alone can induce), of the pixels that matter on its examples, and of their mean. Limits: examples are the first of
-- the corpus, not all.
-- needs pixels
-- var layer
-- var neuron

-- part: Metrics
SELECT p.layer, p.neuron, p.n_examples, p.n_clusters, p.max_distance, p.mean_distance, n.max_activation, n.frac_active
FROM neuron_polysemanticity(:layer, :neuron) p
JOIN neurons n ON n.layer = p.layer AND n.neuron = p.neuron;

-- page: Activation map
SELECT y, x, activation FROM activation_map(:layer, :neuron) ORDER BY y, x;

-- page: Importance map
SELECT y, x, importance FROM importance_map(:layer, :neuron) ORDER BY y, x;

-- page: Mean of the examples
SELECT y, x, mean_pixel FROM importance_map(:layer, :neuron) ORDER BY y, x;

-- part: Feature clusters
SELECT "cluster", size, array_to_string(top_tokens, ' ') AS classes, mean_activation, mean_distance
FROM cluster_summary(:layer, :neuron)
ORDER BY "cluster";

-- page: Dendrogram
SELECT svg FROM dendrogram_svg(:layer, :neuron)
