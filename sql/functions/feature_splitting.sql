-- The query of feature_splitting: which latents of a small autoencoder fall into latents of a larger one?
-- Inputs in braces: the layer of the small one's latents, options of its clusters, the large one's name, and the
-- least size and coverage. The word cluster is quoted: after a comma it would begin a clause. Outputs: see the function.
-- Means are of decimals, whose sum is the same in any order. Limits: examples are the first of the corpus, not all.
WITH members AS (
    SELECT c.neuron AS latent, c."cluster", c.example, e.pre_mlp
    FROM feature_clusters({layer}{threshold}) c
    JOIN examples e ON e.layer = {layer} AND e.neuron = c.neuron AND e.example = c.example
    WHERE c."cluster" IS NOT NULL
),
sizes AS (
    SELECT latent, "cluster", size, sum(size) OVER (PARTITION BY latent) AS latent_size
    FROM (SELECT latent, "cluster", count(*) AS size FROM members GROUP BY latent, "cluster")
    WHERE size >= {min_size}
),
codes AS (
    SELECT latent, "cluster", unnest(sae_encode('{large}', pre_mlp)) AS code
    FROM members
),
active AS (
    SELECT latent, "cluster", code['latent'] AS large_latent, count(*) AS n,
           CAST(avg(CAST(code['activation'] AS DECIMAL(38, 18))) AS DOUBLE) AS mean_activation
    FROM codes
    GROUP BY latent, "cluster", code['latent']
),
shares AS (
    SELECT a.latent, a."cluster", s.size, a.large_latent, a.mean_activation,
           CAST(a.n AS DOUBLE) / s.size AS coverage,
           CASE WHEN s.latent_size > s.size
                THEN CAST(sum(a.n) OVER (PARTITION BY a.latent, a.large_latent) - a.n AS DOUBLE)
                     / (s.latent_size - s.size)
           END AS other_coverage
    FROM active a
    JOIN sizes s ON s.latent = a.latent AND s."cluster" = a."cluster"
),
ranked AS (
    SELECT *,
           row_number() OVER (
               PARTITION BY latent, "cluster"
               ORDER BY coverage - coalesce(other_coverage, 0) DESC, mean_activation DESC, large_latent
           ) AS place
    FROM shares
    WHERE coverage >= {min_coverage} AND coverage > coalesce(other_coverage, 0)
),
chosen AS (
    SELECT latent, "cluster", size, large_latent, coverage, other_coverage, mean_activation
    FROM ranked
    WHERE place = 1
),
split AS (
    SELECT latent
    FROM chosen
    GROUP BY latent
    HAVING count(DISTINCT large_latent) >= 2
)
SELECT c.latent, c."cluster", c.size, c.large_latent, c.coverage, c.other_coverage, c.mean_activation
FROM chosen c
JOIN split s ON s.latent = c.latent
ORDER BY c.latent, c."cluster"
