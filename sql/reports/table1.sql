-- Are neuron embeddings clustered more densely than the vectors the neurons receive? (Table 1 of Foote 2024)
-- Inputs: the current run, polysema.threshold, and :n_clusters, the number of clusters both are cut into for a
-- comparison that does not depend on their counts. Output: per cut and metric, the median and mean over neurons for the
-- neuron embedding and for the pre-MLP vector; distances are cosine distances in [0, 2], means those of decimals, whose sum
-- is the same in any order. Limits: at a threshold, the embedding that is cut into more clusters has denser ones for that
-- reason alone.
-- var n_clusters=5
WITH measured AS (
    SELECT 'threshold' AS cut, 'neuron' AS embedding, *
    FROM neuron_polysemanticity({embedding: 'neuron'})
    UNION ALL
    SELECT 'threshold', 'pre_mlp', * FROM neuron_polysemanticity({embedding: 'pre_mlp'})
    UNION ALL
    SELECT concat(:n_clusters, ' clusters'), 'neuron', *
    FROM neuron_polysemanticity({embedding: 'neuron', n_clusters: :n_clusters})
    UNION ALL
    SELECT concat(:n_clusters, ' clusters'), 'pre_mlp', *
    FROM neuron_polysemanticity({embedding: 'pre_mlp', n_clusters: :n_clusters})
),
metrics AS (
    SELECT cut, embedding, 1 AS place, 'n_clusters' AS metric, CAST(n_clusters AS DOUBLE) AS value FROM measured
    UNION ALL SELECT cut, embedding, 2, 'max_distance', max_distance FROM measured
    UNION ALL SELECT cut, embedding, 3, 'mean_distance', mean_distance FROM measured
    UNION ALL SELECT cut, embedding, 4, 'intra_cluster_distance', intra_cluster_distance FROM measured
    UNION ALL SELECT cut, embedding, 5, 'inter_cluster_distance', inter_cluster_distance FROM measured
)
SELECT cut, metric,
       median(value) FILTER (WHERE embedding = 'neuron') AS neuron_median,
       median(value) FILTER (WHERE embedding = 'pre_mlp') AS pre_mlp_median,
       CAST(avg(decimal) FILTER (WHERE embedding = 'neuron') AS DOUBLE) AS neuron_mean,
       CAST(avg(decimal) FILTER (WHERE embedding = 'pre_mlp') AS DOUBLE) AS pre_mlp_mean
FROM (SELECT *, CAST(value AS DECIMAL(38, 18)) AS decimal FROM metrics)
GROUP BY cut, place, metric
ORDER BY cut DESC, place
