-- The query of importance_map: which pixels of its examples matter to a neuron of a classifier?
-- Inputs in braces: layer and neuron, pixels of a line, the examples that are meant, and what a pixel of 0 and the range of
-- pixels are to the classifier. Outputs: see the function. Means are of bytes, whose sum is the same in any order.
WITH members AS (
    {members}
),
bytes AS (
    SELECT unnest(d.pixels) AS byte, unnest(range(0, cardinality(d.pixels))) AS pixel
    FROM members m
    JOIN documents d ON d.doc_id = m.doc_id
),
means AS (
    SELECT pixel, avg(CAST(byte AS DOUBLE)) AS byte
    FROM bytes
    GROUP BY pixel
),
map AS (
    SELECT y, x, activation, y * {width} + x AS pixel
    FROM activation_map({layer}, {neuron}, {{width: {width}}})
),
raised AS (
    SELECT y, x, activation, pixel,
           greatest(CAST(activation AS DOUBLE) - first_value(CAST(activation AS DOUBLE)) OVER (ORDER BY pixel), 0) AS above
    FROM map
),
placed AS (
    SELECT r.y, r.x, r.activation, r.above, n.byte,
           min(r.above) OVER () AS least_above, max(r.above) OVER () AS most_above,
           min(n.byte) OVER () AS least_byte, max(n.byte) OVER () AS most_byte
    FROM raised r
    LEFT JOIN means n ON n.pixel = r.pixel
)
SELECT y, x, activation,
       {black} + byte / 255 * {range} AS mean_pixel,
       CASE WHEN byte IS NULL THEN NULL
            WHEN most_above > least_above AND most_byte > least_byte
            THEN (above - least_above) / (most_above - least_above) * (byte - least_byte) / (most_byte - least_byte)
            ELSE 0.0
       END AS importance
FROM placed
ORDER BY y, x
