-- Which neurons fire for one reason only?
-- Inputs: the current run and the settings polysema.*. Output: one row per neuron whose examples, two at least, form
-- one feature cluster, by layer and neuron; distances as in polysemantic_neurons. Limits: few examples make one cluster easily.
CREATE VIEW monosemantic_neurons AS
SELECT layer, neuron, n_examples, max_distance, mean_distance, sign
FROM neuron_polysemanticity()
WHERE n_clusters = 1 AND n_examples >= 2
ORDER BY layer, neuron
