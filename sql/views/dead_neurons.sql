-- Which of the model's neurons never fire on this corpus?
-- Inputs: the current run. Output: one row per neuron whose largest activation is not above zero, so that it has no
-- dataset examples, by layer and neuron. Limits: another corpus may wake it.
CREATE VIEW dead_neurons AS
SELECT layer, neuron, max_activation, mean_activation
FROM neurons
WHERE max_activation <= 0 AND layer IN (SELECT layer FROM layers WHERE kind = 'mlp')
ORDER BY layer, neuron
