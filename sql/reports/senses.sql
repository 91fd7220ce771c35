-- Do a neuron's feature clusters separate the senses of an ambiguous word?
-- Inputs: a run whose documents have the columns word and sense (the demo's), and :min_examples. A neuron counts for a
-- word when the word itself is the key token of at least :min_examples of its examples, in two senses or more. Output:
-- per layer and over all layers, how well clusters agree with senses on those examples: adjusted Rand index (1 is
-- agreement, 0 is chance), purity in (0, 1] (grows with the number of clusters), for clusters of the neuron embedding,
-- of the pre-MLP vector, and for the former dealt out at random; cut at polysema.threshold, and into :n_clusters
-- clusters a neuron, which looks below the threshold. Means are of decimals, whose sum is the same in any order. Limits:
-- few neurons of a small model know whole words.
-- needs word, sense
-- var min_examples=4
-- var n_clusters=20
WITH keyed AS (
    SELECT e.layer, e.neuron, e.example, d.word, d.sense
    FROM examples e
    JOIN documents d ON d.doc_id = e.doc_id
    WHERE lower(trim(e.token)) = d.word
),
chosen AS (
    SELECT layer, neuron, word
    FROM keyed
    GROUP BY layer, neuron, word
    HAVING count(*) >= :min_examples AND count(DISTINCT sense) >= 2
),
observed AS (
    SELECT k.* FROM keyed k JOIN chosen c USING (layer, neuron, word)
),
clustered AS (
    SELECT 'threshold' AS cut, 'neuron' AS labels, layer, neuron, example, cluster
    FROM feature_clusters({embedding: 'neuron'})
    UNION ALL
    SELECT 'threshold', 'pre_mlp', layer, neuron, example, cluster
    FROM feature_clusters({embedding: 'pre_mlp'})
    UNION ALL
    SELECT 'n_clusters', 'neuron', layer, neuron, example, cluster
    FROM feature_clusters({embedding: 'neuron', n_clusters: :n_clusters})
    UNION ALL
    SELECT 'n_clusters', 'pre_mlp', layer, neuron, example, cluster
    FROM feature_clusters({embedding: 'pre_mlp', n_clusters: :n_clusters})
),
true_labels AS (
    SELECT c.cut, c.labels, o.layer, o.neuron, o.word, o.example, o.sense, c.cluster
    FROM observed o
    JOIN clustered c ON c.layer = o.layer AND c.neuron = o.neuron AND c.example = o.example
),
places AS (
    SELECT cut, layer, neuron, word, example, sense, cluster,
           row_number() OVER (PARTITION BY cut, layer, neuron, word ORDER BY example) AS place,
           row_number() OVER (
               PARTITION BY cut, layer, neuron, word
               ORDER BY ((example + 1) * 48271 + neuron * 69621) % 1009, example
           ) AS dealt
    FROM true_labels
    WHERE labels = 'neuron'
),
labelled AS (
    SELECT cut, labels, layer, neuron, word, sense, cluster FROM true_labels
    UNION ALL
    SELECT p.cut, 'random', p.layer, p.neuron, p.word, p.sense, q.cluster
    FROM places p
    JOIN places q
      ON q.cut = p.cut AND q.layer = p.layer AND q.neuron = p.neuron AND q.word = p.word
     AND q.dealt = p.place
),
cells AS (
    SELECT cut, labels, layer, neuron, word, cluster, sense, CAST(count(*) AS DOUBLE) AS n
    FROM labelled
    GROUP BY cut, labels, layer, neuron, word, cluster, sense
),
by_cluster AS (
    SELECT cut, labels, layer, neuron, word, cluster, sum(n) AS n, max(n) AS most
    FROM cells
    GROUP BY cut, labels, layer, neuron, word, cluster
),
totals AS (
    SELECT cut, labels, layer, neuron, word, sum(n) AS n, count(*) AS n_clusters, sum(most) / sum(n) AS purity
    FROM by_cluster
    GROUP BY cut, labels, layer, neuron, word
),
-- In lists, since a list of NULL is not NULL: what is in no cluster counts as one of its own.
indices AS (
    SELECT cut, labels, layer, neuron, word, adjusted_rand_index([cluster], [sense]) AS ari
    FROM labelled
    GROUP BY cut, labels, layer, neuron, word
),
agreement AS (
    SELECT t.cut, t.labels, t.layer, t.n, t.n_clusters, t.purity, i.ari
    FROM totals t
    JOIN indices i
      ON i.cut = t.cut AND i.labels = t.labels AND i.layer = t.layer AND i.neuron = t.neuron AND i.word = t.word
)
SELECT cut, layer, labels, count(*) AS n_neurons, sum(n) AS n_examples, avg(n_clusters) AS n_clusters,
       CAST(avg(CAST(ari AS DECIMAL(38, 18))) AS DOUBLE) AS adjusted_rand_index,
       CAST(avg(CAST(purity AS DECIMAL(38, 18))) AS DOUBLE) AS purity
FROM (
    SELECT cut, CAST(layer AS VARCHAR) AS layer, labels, n, n_clusters, ari, purity FROM agreement
    UNION ALL
    SELECT cut, 'all', labels, n, n_clusters, ari, purity FROM agreement
)
GROUP BY cut, layer, labels
ORDER BY cut DESC, layer, labels
