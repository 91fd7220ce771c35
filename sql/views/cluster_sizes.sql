-- How large is each behaviour of a neuron?
-- Inputs: the current run and the settings polysema.*. Output: one row per feature cluster with its share of the
-- neuron's clustered examples, in (0, 1], by layer, neuron and cluster. Limits: examples are the first of the corpus, not all.
CREATE VIEW cluster_sizes AS
SELECT layer, neuron, cluster, size,
       CAST(size AS DOUBLE) / sum(size) OVER (PARTITION BY layer, neuron) AS share
FROM cluster_summary()
ORDER BY layer, neuron, cluster
