-- What does this neuron respond to?
-- Inputs: :layer (a number, or a name in quotes) and :neuron of the current run, settings polysema.*, and :max_examples.
-- Output: the card of the neuron: its metrics, its feature clusters with their tokens, the first examples of each, and on a
-- page the dendrogram, the number of clusters at every threshold, the histogram of its activations and its examples as
-- points. Limits: examples are the first of the corpus, not all.
-- var layer
-- var neuron
-- var max_examples=5

-- part: Metrics
SELECT p.layer, p.neuron, p.sign, p.n_examples, p.n_clusters, p.max_distance, p.mean_distance,
       p.intra_cluster_distance, p.inter_cluster_distance, p.silhouette, n.max_activation, n.mean_activation, n.frac_active
FROM neuron_polysemanticity(:layer, :neuron) p
JOIN neurons n ON n.layer = p.layer AND n.neuron = p.neuron
ORDER BY p.sign DESC;

-- page: Dendrogram
SELECT svg FROM dendrogram_svg(:layer, :neuron) ORDER BY sign DESC;

-- part: Feature clusters
SELECT "cluster", size, array_to_string(top_tokens, ' ') AS top_tokens, mean_activation, mean_distance, sign
FROM cluster_summary(:layer, :neuron)
ORDER BY "cluster";

-- part: Examples
SELECT "cluster", example, is_central, activation, context
FROM (SELECT *, row_number() OVER (PARTITION BY "cluster" ORDER BY is_central DESC, example) AS place
      FROM feature_clusters(:layer, :neuron))
WHERE place <= :max_examples
ORDER BY "cluster" NULLS LAST, place;

-- page: Clusters at every threshold
SELECT l.dissimilarity AS threshold,
       count(*) OVER () - row_number() OVER (ORDER BY l.dissimilarity, l.step) + 1 AS n_clusters,
       CAST(s.value AS DOUBLE) AS cut
FROM linkage(:layer, :neuron) l
CROSS JOIN (SELECT value FROM information_schema.df_settings WHERE name = 'polysema.threshold') s
WHERE l.sign IS DISTINCT FROM 'negative'
ORDER BY l.dissimilarity, l.step;

-- page: Activations
SELECT h.lower, h.upper, h."count"
FROM histograms h
JOIN (SELECT DISTINCT layer, neuron FROM neuron_polysemanticity(:layer, :neuron)) p
  ON h.layer = p.layer AND h.neuron = p.neuron
ORDER BY h.lower;

-- page: Examples as points
SELECT pc1, pc2, "cluster", token
FROM project((SELECT e.embedding, c."cluster", c.token, c.example
              FROM neuron_embeddings(:layer, :neuron) e
              JOIN feature_clusters(:layer, :neuron) c ON c.example = e.example),
             'embedding', 2, {normalize: true})
ORDER BY example
