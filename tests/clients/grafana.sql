-- What Grafana's PostgreSQL data source asks: its test, its editor of queries, a panel.

-- The test of a connection.
--= rows 1
SELECT 1;

--= rows 1
--= some version=1700
SELECT current_setting('server_version_num')::int/100 AS version;

--= rows 0
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';

-- Schemas.
--= some name=demo
--= some name=public
SELECT schema_name AS "name" FROM information_schema.schemata
WHERE schema_name NOT IN ('information_schema', 'pg_catalog', 'pg_toast') ORDER BY schema_name;

-- Tables: bare names of those in the search path, the others with their schemas.
--= some table=neurons
--= some table=info.functions
SELECT CASE WHEN quote_ident(table_schema) IN (
        SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
        FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
            array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
            string_to_array(current_setting('search_path'), ',') s)
    THEN quote_ident(table_name) ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog')
ORDER BY CASE WHEN quote_ident(table_schema) IN (
        SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
        FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
            array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
            string_to_array(current_setting('search_path'), ',') s)
    THEN 0 ELSE 1 END, 1;

-- The columns of a table by its bare name.
--= rows 5..
--= columns column, type
--= some column=layer, type=integer
--= some column=max_activation, type=real
--= some column=w_in, type=ARRAY
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
WHERE CASE WHEN array_length(parse_ident('neurons'), 1) = 2
    THEN quote_ident(table_schema) = (parse_ident('neurons'))[1] AND quote_ident(table_name) = (parse_ident('neurons'))[2]
    ELSE quote_ident(table_name) = 'neurons' AND quote_ident(table_schema) IN (
        SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
        FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
            array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
            string_to_array(current_setting('search_path'), ',') s)
    END;

-- The columns of a table of a schema.
--= rows 5..
--= some column=layer, type=integer
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
WHERE CASE WHEN array_length(parse_ident('demo.neurons'), 1) = 2
    THEN quote_ident(table_schema) = (parse_ident('demo.neurons'))[1] AND quote_ident(table_name) = (parse_ident('demo.neurons'))[2]
    ELSE false END;

-- The same with parameters, and what its newer editor asks.
--= with 'demo'
--= some table_name=neurons
SELECT table_name FROM information_schema.tables
WHERE table_schema = $1 AND table_type IN ('BASE TABLE', 'VIEW') ORDER BY table_name;

--= with 'demo' 'neurons'
--= columns column_name, data_type, udt_name, numeric_precision, numeric_scale
--= some column_name=layer, udt_name=int4, numeric_precision=32, numeric_scale=0
--= some column_name=max_activation, data_type=real, udt_name=float4
SELECT column_name, data_type, udt_name, numeric_precision, numeric_scale FROM information_schema.columns
WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position;

-- Values of columns, to choose from.
--= some name=layer, value=0
SELECT 'layer' AS name, "layer"::text AS value FROM (SELECT DISTINCT "layer" FROM "demo"."neurons" WHERE "layer" IS NOT NULL ORDER BY "layer" LIMIT 100) one
UNION ALL SELECT 'neuron' AS name, "neuron"::text AS value FROM (SELECT DISTINCT "neuron" FROM "demo"."neurons" WHERE "neuron" IS NOT NULL ORDER BY "neuron" LIMIT 100) other;

-- A panel: a time, a label and a number.
--= rows 1..
--= types timestamp text float8
SELECT to_timestamp(1700000000) AS "time", 'layer ' || layer AS metric, avg(max_activation) AS value
FROM demo.neurons WHERE layer IN ('0', '1') GROUP BY layer ORDER BY 1, 2;
