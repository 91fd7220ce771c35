-- How near do sub-cluster components come to average linkage?
-- Input: the current run. Output: one row: neurons of at least two examples, their adjusted Rand index between the two
-- methods' clusters (1 is the same partition, 0 is chance), mean number of clusters of each, share of equal numbers.
-- Means are of decimals, whose sum is the same in any order. Limits: one threshold, polysema.threshold; zero vectors are
-- left out.
WITH agreement AS (
  SELECT h.layer, h.neuron,
         adjusted_rand_index(h.cluster, s.cluster) AS rand_index,
         count(DISTINCT h.cluster) AS n_hac,
         count(DISTINCT s.cluster) AS n_scc
  FROM feature_clusters({method: 'hac'}) h
  JOIN feature_clusters({method: 'scc'}) s ON s.layer = h.layer AND s.neuron = h.neuron AND s.example = h.example
  WHERE h.cluster IS NOT NULL
  GROUP BY h.layer, h.neuron
  HAVING count(*) >= 2
)
SELECT count(*) AS n_neurons,
       CAST(avg(CAST(rand_index AS DECIMAL(38, 18))) AS DOUBLE) AS mean_rand_index,
       median(rand_index) AS median_rand_index,
       avg(CASE WHEN rand_index > 1 - 1e-9 THEN 1.0 ELSE 0.0 END) AS share_equal,
       avg(n_hac) AS mean_clusters_hac,
       avg(n_scc) AS mean_clusters_scc,
       avg(CASE WHEN n_hac = n_scc THEN 1.0 ELSE 0.0 END) AS share_equal_numbers
FROM agreement
