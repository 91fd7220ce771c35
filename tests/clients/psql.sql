\set ON_ERROR_STOP on
\dt
\dv
\d demo.neurons
\d+ demo.neurons
\df feature_clusters
\dn
\l
\du
\conninfo
SELECT layer, neuron, cluster, token FROM feature_clusters(3, 417) ORDER BY example LIMIT 2;
\copy (SELECT layer, neuron FROM demo.neurons ORDER BY 1, 2 LIMIT 2) to pstdout csv header
\set FETCH_COUNT 2
SELECT layer FROM demo.layers ORDER BY 1 LIMIT 3;
\unset FETCH_COUNT
BEGIN;
\set ON_ERROR_STOP off
SELECT nothing FROM nowhere;
SELECT 1;
\set ON_ERROR_STOP on
ROLLBACK;
SET statement_timeout = '100ms';
\set ON_ERROR_STOP off
SELECT count(*) FROM demo.tokens a, demo.tokens b, demo.tokens c WHERE a.token < b.token OR c.token > a.token;
\echo :SQLSTATE
