-- How near do sub-cluster components come to average linkage?
-- Input: the current run. Output: one row: neurons of at least two examples, their adjusted Rand index between the two
-- methods' clusters (1 is the same partition, 0 is chance), mean number of clusters of each, share of equal numbers.
-- Means are of decimals, whose sum is the same in any order. Limits: one threshold, polysema.threshold; zero vectors are
-- left out.
WITH cells AS (
  SELECT h.layer, h.neuron, h.cluster AS hac, s.cluster AS scc, count(*) AS n
  FROM feature_clusters({method: 'hac'}) h
  JOIN feature_clusters({method: 'scc'}) s ON s.layer = h.layer AND s.neuron = h.neuron AND s.example = h.example
  WHERE h.cluster IS NOT NULL
  GROUP BY h.layer, h.neuron, h.cluster, s.cluster
),
both AS (
  SELECT layer, neuron, sum(n) AS n, sum(n * (n - 1) / 2) AS pairs
  FROM cells
  GROUP BY layer, neuron
),
hac AS (
  SELECT layer, neuron, count(*) AS n_clusters, sum(n * (n - 1) / 2) AS pairs
  FROM (SELECT layer, neuron, hac, sum(n) AS n FROM cells GROUP BY layer, neuron, hac)
  GROUP BY layer, neuron
),
scc AS (
  SELECT layer, neuron, count(*) AS n_clusters, sum(n * (n - 1) / 2) AS pairs
  FROM (SELECT layer, neuron, scc, sum(n) AS n FROM cells GROUP BY layer, neuron, scc)
  GROUP BY layer, neuron
),
neurons AS (
  SELECT both.pairs AS found,
         2.0 * hac.pairs * scc.pairs / (both.n * (both.n - 1)) AS expected,
         (hac.pairs + scc.pairs) / 2.0 AS most,
         hac.n_clusters AS n_hac,
         scc.n_clusters AS n_scc
  FROM both
  JOIN hac ON hac.layer = both.layer AND hac.neuron = both.neuron
  JOIN scc ON scc.layer = both.layer AND scc.neuron = both.neuron
  WHERE both.n >= 2
),
agreement AS (
  SELECT n_hac, n_scc, CASE WHEN most = expected THEN 1.0 ELSE (found - expected) / (most - expected) END AS rand_index
  FROM neurons
)
SELECT count(*) AS n_neurons,
       CAST(avg(CAST(rand_index AS DECIMAL(38, 18))) AS DOUBLE) AS mean_rand_index,
       median(rand_index) AS median_rand_index,
       avg(CASE WHEN rand_index > 1 - 1e-9 THEN 1.0 ELSE 0.0 END) AS share_equal,
       avg(n_hac) AS mean_clusters_hac,
       avg(n_scc) AS mean_clusters_scc,
       avg(CASE WHEN n_hac = n_scc THEN 1.0 ELSE 0.0 END) AS share_equal_numbers
FROM agreement
