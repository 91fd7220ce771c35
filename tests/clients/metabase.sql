-- What Metabase asks when a database is added and synchronised, and a question of its editor.

-- The time zone of the database.
--= rows 1
--= columns TimeZone
--= some TimeZone=UTC
SHOW timezone;

SET SESSION TIMEZONE TO 'UTC';

-- Types that are enumerations.
--= rows 0
SELECT ns.nspname, ty.typname FROM pg_type ty JOIN pg_namespace ns ON ns.oid = ty.typnamespace
WHERE ty.oid IN (SELECT DISTINCT en.enumtypid FROM pg_enum en);

-- Tables and views of the schemas that it shows, with descriptions and counts of rows where there are any.
--= with 'demo' 'public'
--= columns schema, name, type, description, estimated_row_count
--= some schema=demo, name=neurons, type=TABLE
--= some schema=demo, name=cluster_sizes, type=VIEW
SELECT "ns"."nspname" AS "schema", "rel"."relname" AS "name",
    CASE "rel"."relkind" WHEN 'r' THEN 'TABLE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE NULL END AS "type",
    "des"."description" AS "description", "st"."n_live_tup" AS "estimated_row_count"
FROM "pg_catalog"."pg_class" AS "rel"
INNER JOIN "pg_catalog"."pg_namespace" AS "ns" ON "rel"."relnamespace" = "ns"."oid"
LEFT JOIN "pg_catalog"."pg_description" AS "des"
    ON ("rel"."oid" = "des"."objoid") AND ("des"."objsubid" = 0) AND ("des"."classoid" = 'pg_class'::regclass)
LEFT JOIN "pg_stat_user_tables" AS "st" ON ("ns"."nspname" = "st"."schemaname") AND ("rel"."relname" = "st"."relname")
WHERE ("ns"."nspname" !~ '^pg_') AND ("ns"."nspname" <> 'information_schema') AND rel.relkind IN ('r', 'v', 'm')
    AND ("ns"."nspname" IN ($1, $2))
ORDER BY "type" ASC, "schema" ASC, "name" ASC;

-- Columns with their types, comments and keys; those of materialised views besides.
--= with 'demo' 'demo'
--= rows 20..
--= columns name, database-type, database-position, table-schema, table-name, pk?, field-comment, database-required
--= some table-name=neurons, name=layer, database-type=int4, database-position=0, pk?=False, database-required=True
--= some table-name=neurons, name=w_in, database-type=_float4
--= some table-name=neurons, name=max_activation, field-comment=largest activation of all tokens
--= all table-schema=demo
SELECT "col"."column_name" AS "name",
    CASE WHEN "col"."udt_schema" IN ('public', 'pg_catalog') THEN FORMAT('%s', "col"."udt_name")
        ELSE FORMAT('"%s"."%s"', "col"."udt_schema", "col"."udt_name") END AS "database-type",
    "col"."ordinal_position" - 1 AS "database-position", "col"."table_schema" AS "table-schema", "col"."table_name" AS "table-name",
    "key"."column_name" IS NOT NULL AS "pk?",
    COL_DESCRIPTION(CAST(CAST(FORMAT('%I.%I', CAST("col"."table_schema" AS TEXT), CAST("col"."table_name" AS TEXT)) AS REGCLASS) AS OID),
        "col"."ordinal_position") AS "field-comment",
    (("column_default" IS NULL) OR (LOWER("column_default") = 'null')) AND ("is_nullable" = 'NO') AND NOT ("is_identity" <> 'NO')
        AS "database-required"
FROM "information_schema"."columns" AS "col"
LEFT JOIN (
    SELECT "con"."table_schema", "con"."table_name", "use"."column_name" FROM "information_schema"."table_constraints" AS "con"
    INNER JOIN "information_schema"."key_column_usage" AS "use" ON ("con"."constraint_name" = "use"."constraint_name")
        AND ("con"."table_schema" = "use"."table_schema") AND ("con"."table_name" = "use"."table_name")
    WHERE "con"."constraint_type" = 'PRIMARY KEY'
) AS "key" ON ("col"."table_schema" = "key"."table_schema") AND ("col"."table_name" = "key"."table_name")
    AND ("col"."column_name" = "key"."column_name")
WHERE col.table_schema !~ '^information_schema|pg_' AND ("col"."table_schema" IN ($1))
UNION ALL
SELECT "at"."attname", FORMAT('%s', "ty"."typname"), "at"."attnum" - 1, "ns"."nspname", "rel"."relname", FALSE, NULL, FALSE
FROM "pg_catalog"."pg_class" AS "rel" INNER JOIN "pg_catalog"."pg_namespace" AS "ns" ON "ns"."oid" = "rel"."relnamespace"
INNER JOIN "pg_catalog"."pg_attribute" AS "at" ON "at"."attrelid" = "rel"."oid"
INNER JOIN "pg_catalog"."pg_type" AS "ty" ON "ty"."oid" = "at"."atttypid"
WHERE ("rel"."relkind" = 'm') AND ("at"."attnum" >= 1) AND ("ns"."nspname" IN ($2))
ORDER BY "table-schema" ASC, "table-name" ASC, "database-position" ASC;

-- Foreign keys.
--= with 'demo'
--= rows 0
SELECT "ns"."nspname" AS "fk-table-schema", "tab"."relname" AS "fk-table-name", "col"."attname" AS "fk-column-name"
FROM "pg_constraint" AS "con" INNER JOIN "pg_class" AS "tab" ON "con"."conrelid" = "tab"."oid"
INNER JOIN "pg_namespace" AS "ns" ON "con"."connamespace" = "ns"."oid"
INNER JOIN "pg_attribute" AS "col" ON "con"."conrelid" = "col"."attrelid"
WHERE ns.nspname !~ '^information_schema|pg_' AND ("con"."contype" = 'f'::char) AND ("col"."attnum" = ANY(con.conkey))
    AND ("ns"."nspname" IN ($1));

-- The first column of each index.
--= with 'demo'
--= rows 0
SELECT "ix"."schema", "ix"."table", TRIM(BOTH '"' FROM PG_CATALOG.PG_GET_INDEXDEF("ix"."oid", "ix"."pos", FALSE)) AS "field"
FROM (
    SELECT "ns"."nspname" AS "schema", "tab"."relname" AS "table", "rel"."oid" AS "oid",
        (INFORMATION_SCHEMA._PG_EXPANDARRAY("ind"."indkey"))."n" AS "pos"
    FROM "pg_catalog"."pg_class" AS "tab" INNER JOIN "pg_catalog"."pg_namespace" AS "ns" ON "tab"."relnamespace" = "ns"."oid"
    INNER JOIN "pg_catalog"."pg_index" AS "ind" ON "tab"."oid" = "ind"."indrelid"
    INNER JOIN "pg_catalog"."pg_class" AS "rel" ON "rel"."oid" = "ind"."indexrelid"
    WHERE (PG_CATALOG.PG_GET_EXPR("ind"."indpred", "ind"."indrelid") IS NULL) AND ("ns"."nspname" IN ($1))
) AS "ix" WHERE "ix"."pos" = 1;

-- What the user may do with each table.
--= rows 10..
--= columns role, schema, table, update, select, insert, delete
--= some schema=demo, table=neurons, select=True, update=False, insert=False, delete=False
WITH privileges AS (
    SELECT NULL AS role, t.schemaname AS schema, t.objectname AS table,
        pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || t.objectname || '"', 'update') AS update,
        pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || t.objectname || '"', 'select') AS select,
        pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || t.objectname || '"', 'insert') AS insert,
        pg_catalog.has_table_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || t.objectname || '"', 'delete') AS delete
    FROM (
        SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables
        UNION SELECT schemaname, viewname AS objectname FROM pg_catalog.pg_views
        UNION SELECT schemaname, matviewname AS objectname FROM pg_catalog.pg_matviews
    ) t
    WHERE t.schemaname !~ '^pg_' AND t.schemaname <> 'information_schema'
        AND pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage')
)
SELECT t.* FROM privileges t;

-- Whether a table can be read at all.
--= rows 0
SELECT TRUE AS "_" FROM "demo"."neurons" WHERE 1 <> 1 LIMIT 0;

-- A question: counts and means by a column, binned.
--= rows 1..
--= columns layer, bin, count, avg
--= types int4 float8 int8 float8
SELECT "demo"."neurons"."layer" AS "layer",
    FLOOR((("demo"."neurons"."max_activation" - 0.0) / 2.5)) * 2.5 + 0.0 AS "bin", COUNT(*) AS "count",
    AVG("demo"."neurons"."max_activation") AS "avg"
FROM "demo"."neurons" WHERE ("demo"."neurons"."layer" >= 0)
GROUP BY "demo"."neurons"."layer", FLOOR((("demo"."neurons"."max_activation" - 0.0) / 2.5)) * 2.5 + 0.0
ORDER BY "demo"."neurons"."layer" ASC, "bin" ASC LIMIT 2000;
