-- What .NET's Npgsql asks when it connects, and Power BI over it.

--= rows 1
SELECT version();

-- The types it can read: an array is one whose function of receiving is array_recv, with the type that it is of.
--= rows 150..
--= columns nspname, oid, typname, typtype, typnotnull, elemtypoid
--= some typname=text, oid=25, typtype=b
--= some typname=_float4, oid=1021, typtype=a, elemtypoid=700
--= some typname=int4range, typtype=r, elemtypoid=23
--= some typname=int4multirange, typtype=m, elemtypoid=3904
SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid
FROM (
    -- What the elements are.
    SELECT one.oid, one.typnamespace, one.typname, one.typtype, one.typnotnull, one.relkind, el.oid AS elemtypoid,
        el.typname AS elemtypname, elcls.relkind AS elemrelkind,
        CASE WHEN elproc.proname = 'array_recv' THEN 'a' ELSE el.typtype END AS elemtyptype
    FROM (
        SELECT ty.oid, ty.typnamespace, ty.typname, ty.typnotnull, cls.relkind,
            CASE WHEN proc.proname = 'array_recv' THEN 'a' ELSE ty.typtype END AS typtype,
            CASE WHEN proc.proname = 'array_recv' THEN ty.typelem
                WHEN ty.typtype = 'r' THEN rngsubtype
                WHEN ty.typtype = 'm' THEN (SELECT rngtypid FROM pg_range WHERE rngmultitypid = ty.oid)
                WHEN ty.typtype = 'd' THEN ty.typbasetype
            END AS elemtypoid
        FROM pg_type AS ty
        LEFT JOIN pg_class AS cls ON (cls.oid = ty.typrelid)
        LEFT JOIN pg_proc AS proc ON proc.oid = ty.typreceive
        LEFT JOIN pg_range ON (pg_range.rngtypid = ty.oid)
    ) AS one
    LEFT JOIN pg_type AS el ON el.oid = one.elemtypoid
    LEFT JOIN pg_class AS elcls ON (elcls.oid = el.typrelid)
    LEFT JOIN pg_proc AS elproc ON elproc.oid = el.typreceive
) AS t
JOIN pg_namespace AS ns ON (ns.oid = typnamespace)
WHERE typtype IN ('b', 'r', 'm', 'e', 'd') OR (typtype = 'c' AND relkind = 'c')
    OR (typtype = 'p' AND typname IN ('record', 'void', 'unknown'))
    OR (typtype = 'a' AND (elemtyptype IN ('b', 'r', 'm', 'e', 'd') OR (elemtyptype = 'c' AND elemrelkind = 'c')))
ORDER BY CASE WHEN typtype IN ('b', 'e', 'p') THEN 0 WHEN typtype = 'c' THEN 1 WHEN typtype = 'r' THEN 2 WHEN typtype = 'm' THEN 3
    WHEN typtype = 'd' AND elemtyptype <> 'a' THEN 4 WHEN typtype = 'a' THEN 5 ELSE 6 END;

-- The same as older versions ask it, which Power BI brings.
--= rows 100..
--= some typname=_float4, type=a, elemoid=700, ord=3
SELECT ns.nspname, a.typname, a.oid, a.typbasetype,
    CASE WHEN pg_proc.proname = 'array_recv' THEN 'a' ELSE a.typtype END AS type,
    CASE WHEN pg_proc.proname = 'array_recv' THEN a.typelem WHEN a.typtype = 'r' THEN rngsubtype ELSE 0 END AS elemoid,
    CASE WHEN pg_proc.proname IN ('array_recv', 'oidvectorrecv') THEN 3 WHEN a.typtype = 'r' THEN 2 ELSE 0 END AS ord
FROM pg_type AS a
JOIN pg_namespace AS ns ON (ns.oid = a.typnamespace)
JOIN pg_proc ON pg_proc.oid = a.typreceive
LEFT OUTER JOIN pg_class AS cls ON (cls.oid = a.typrelid)
LEFT OUTER JOIN pg_type AS b ON (b.oid = a.typelem)
LEFT OUTER JOIN pg_range ON (pg_range.rngtypid = a.oid)
WHERE a.typtype IN ('b', 'r', 'e', 'd') OR (a.typtype = 'c' AND cls.relkind = 'c')
    OR (pg_proc.proname = 'array_recv' AND b.typtype IN ('b', 'r', 'e', 'd'))
ORDER BY ord;

-- Composite types and enumerations.
--= rows 0
SELECT ty.oid, att.attname, att.atttypid FROM pg_type AS ty JOIN pg_namespace AS ns ON (ns.oid = ty.typnamespace)
JOIN pg_class AS cls ON (cls.oid = ty.typrelid) JOIN pg_attribute AS att ON (att.attrelid = ty.typrelid)
WHERE (ty.typtype = 'c' AND cls.relkind = 'c') AND attnum > 0 AND NOT attisdropped ORDER BY ty.oid, att.attnum;

--= rows 0
SELECT ty.oid, enumlabel FROM pg_enum JOIN pg_type AS ty ON ty.oid = enumtypid ORDER BY oid, enumsortorder;

-- Power BI: the encoding, tables, columns, keys.
--= rows 1
--= some character_set_name=UTF8
SELECT character_set_name FROM INFORMATION_SCHEMA.character_sets;

--= some table_schema=demo, table_name=neurons, table_type=BASE TABLE
SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM INFORMATION_SCHEMA.tables
WHERE TABLE_SCHEMA NOT IN ('information_schema', 'pg_catalog') ORDER BY TABLE_SCHEMA, TABLE_NAME;

--= rows 5..
--= some column_name=layer, ordinal_position=1, is_nullable=NO, data_type=integer
SELECT COLUMN_NAME, ORDINAL_POSITION, IS_NULLABLE,
    CASE WHEN (udt_schema = 'pg_catalog' AND udt_name <> 'hstore') THEN DATA_TYPE ELSE 'USER-DEFINED' END AS DATA_TYPE
FROM INFORMATION_SCHEMA.columns WHERE TABLE_SCHEMA = 'demo' AND TABLE_NAME = 'neurons'
ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION;

--= rows 0
SELECT pk.COLUMN_NAME AS PK_COLUMN_NAME, fk.TABLE_SCHEMA AS FK_TABLE_SCHEMA, fk.TABLE_NAME AS FK_TABLE_NAME,
    con.CONSTRAINT_SCHEMA || '_' || fk.TABLE_NAME || '_' || con.CONSTRAINT_NAME AS FK_NAME
FROM (SELECT DISTINCT constraint_catalog, constraint_schema, unique_constraint_schema, constraint_name, unique_constraint_name
    FROM INFORMATION_SCHEMA.REFERENTIAL_CONSTRAINTS) con
INNER JOIN INFORMATION_SCHEMA.KEY_COLUMN_USAGE fk ON con.CONSTRAINT_SCHEMA = fk.CONSTRAINT_SCHEMA AND con.CONSTRAINT_NAME = fk.CONSTRAINT_NAME
INNER JOIN INFORMATION_SCHEMA.KEY_COLUMN_USAGE pk ON con.UNIQUE_CONSTRAINT_SCHEMA = pk.CONSTRAINT_SCHEMA
    AND con.UNIQUE_CONSTRAINT_NAME = pk.CONSTRAINT_NAME
WHERE pk.TABLE_SCHEMA = 'demo' AND pk.TABLE_NAME = 'neurons' AND pk.ORDINAL_POSITION = fk.ORDINAL_POSITION
ORDER BY FK_NAME, fk.ORDINAL_POSITION;

--= rows 0
SELECT i.CONSTRAINT_SCHEMA || '_' || i.CONSTRAINT_NAME AS INDEX_NAME, ii.COLUMN_NAME, ii.ORDINAL_POSITION,
    CASE WHEN i.CONSTRAINT_TYPE = 'PRIMARY KEY' THEN 'Y' ELSE 'N' END AS PRIMARY_KEY
FROM INFORMATION_SCHEMA.table_constraints i INNER JOIN INFORMATION_SCHEMA.key_column_usage ii
    ON i.CONSTRAINT_SCHEMA = ii.CONSTRAINT_SCHEMA AND i.CONSTRAINT_NAME = ii.CONSTRAINT_NAME AND i.TABLE_NAME = ii.TABLE_NAME
WHERE i.TABLE_SCHEMA = 'demo' AND i.TABLE_NAME = 'neurons' AND i.CONSTRAINT_TYPE IN ('PRIMARY KEY', 'UNIQUE')
ORDER BY i.CONSTRAINT_SCHEMA || '_' || i.CONSTRAINT_NAME, ii.ORDINAL_POSITION;

-- A table as Power BI loads it, and a visual that asks the server (DirectQuery).
--= rows 1..1000
--= columns layer, neuron
SELECT "$Table"."layer" AS "layer", "$Table"."neuron" AS "neuron" FROM "demo"."neurons" "$Table" LIMIT 1000;

--= rows 1..
SELECT "rows"."layer" AS "layer", count("rows"."neuron") AS "a0"
FROM (SELECT "_"."layer", "_"."neuron" FROM (SELECT "layer", "neuron", "max_activation" FROM "demo"."neurons" "$Table") "_"
    WHERE NOT "_"."layer" IS NULL) "rows"
GROUP BY "layer" LIMIT 1000001;

-- A connection goes back to its pool.
DISCARD ALL;
