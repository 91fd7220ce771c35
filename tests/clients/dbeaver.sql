-- What DBeaver asks when it connects, and when a database, a schema and a table are opened in its tree.

SET extra_float_digits = 3;

SET application_name = 'DBeaver';

-- The database it has connected to, among those that may be shown.
--= with 'demo'
--= some datname=demo, datallowconn=True, datistemplate=False
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate OR db.datname = $1 ORDER BY db.datname;

--= rows 1
--= some current_database=polysema
SELECT current_database() AS current_database;

--= with 'demo'
--= rows 1
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datname = $1;

--= rows 1
SELECT version();

-- Whether columns are there.
--= rows 0
SELECT * FROM pg_catalog.pg_enum WHERE 1<>1 LIMIT 1;

--= rows 0
SELECT reltype FROM pg_catalog.pg_class WHERE 1<>1 LIMIT 1;

--= rows 0
SELECT typcategory FROM pg_catalog.pg_type WHERE 1<>1 LIMIT 1;

-- The types.
--= rows 100..
--= some typname=float4
SELECT ty.oid, ty.*, rel.relkind, format_type(nullif(ty.typbasetype, 0), ty.typtypmod) AS base_type_name, des.description
FROM pg_catalog.pg_type ty
LEFT OUTER JOIN pg_catalog.pg_type el ON el.oid = ty.typelem
LEFT OUTER JOIN pg_catalog.pg_class rel ON rel.oid = ty.typrelid
LEFT OUTER JOIN pg_catalog.pg_description des ON ty.oid = des.objoid
WHERE ty.typname IS NOT NULL AND (rel.relkind IS NULL OR rel.relkind = 'c') AND (el.typcategory IS NULL OR el.typcategory <> 'C');

--= with 1021
--= rows 1
--= some typname=_float4, typelem=700
SELECT ty.oid, ty.*, rel.relkind, format_type(nullif(ty.typbasetype, 0), ty.typtypmod) AS base_type_name
FROM pg_catalog.pg_type ty LEFT OUTER JOIN pg_class rel ON rel.oid = ty.typrelid WHERE ty.oid = $1;

-- Where unqualified names are looked up.
--= rows 1
--= some current_schema=demo
SELECT current_schema() AS current_schema, session_user AS session_user;

--= rows 1
--= columns search_path
SHOW search_path;

-- The schemas.
--= some nspname=demo
--= some nspname=pg_catalog
--= keep schema = oid where nspname=demo
SELECT ns.oid, ns.*, des.description FROM pg_catalog.pg_namespace ns
LEFT OUTER JOIN pg_catalog.pg_description des ON des.objoid = ns.oid AND des.objsubid = 0 AND des.classoid = 'pg_namespace'::regclass
ORDER BY nspname;

-- The tables and views of a schema, their columns, constraints and indexes.
--= with :schema
--= rows 8..
--= some relname=neurons, relkind=r
--= some relname=cluster_sizes, relkind=v
--= keep table = oid where relname=neurons
SELECT rel.oid, rel.*, des.description, pg_catalog.pg_get_expr(rel.relpartbound, rel.oid) AS partition_expr,
    pg_catalog.pg_get_partkeydef(rel.oid) AS partition_key
FROM pg_catalog.pg_class rel
LEFT OUTER JOIN pg_catalog.pg_description des ON des.objoid = rel.oid AND des.objsubid = 0 AND des.classoid = 'pg_class'::regclass
WHERE rel.relnamespace = $1 AND rel.relkind NOT IN ('i', 'I', 'c');

--= with :schema
--= rows 20..
--= some relname=neurons, attname=layer, attnum=1, atttypid=23
--= some relname=neurons, attname=w_in, atttypid=1021
--= some relname=neurons, attname=max_activation, description=largest activation of all tokens
SELECT rel.relname, att.*, pg_catalog.pg_get_expr(def.adbin, def.adrelid, true) AS def_value, des.description, dep.objid
FROM pg_catalog.pg_attribute att
INNER JOIN pg_catalog.pg_class rel ON (att.attrelid = rel.oid)
LEFT OUTER JOIN pg_catalog.pg_attrdef def ON (att.attrelid = def.adrelid AND att.attnum = def.adnum)
LEFT OUTER JOIN pg_catalog.pg_description des ON (rel.oid = des.objoid AND att.attnum = des.objsubid)
LEFT OUTER JOIN pg_depend dep ON dep.refobjid = att.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = att.attnum
    AND dep.classid = dep.refclassid
WHERE NOT att.attisdropped AND rel.relkind NOT IN ('i', 'I', 'c') AND rel.relnamespace = $1
ORDER BY att.attnum;

--= with :schema
--= rows 0
SELECT con.oid, con.*, rel.relname AS tabrelname, ref.relnamespace AS refnamespace, des.description,
    CASE WHEN con.contype = 'c' THEN "substring"(pg_get_constraintdef(con.oid), 7) ELSE NULL END AS consrc
FROM pg_catalog.pg_constraint con
INNER JOIN pg_catalog.pg_class rel ON rel.oid = con.conrelid
LEFT OUTER JOIN pg_catalog.pg_class ref ON ref.oid = con.confrelid
LEFT OUTER JOIN pg_catalog.pg_description des ON des.objoid = con.oid AND des.objsubid = 0 AND des.classoid = 'pg_constraint'::regclass
WHERE rel.relnamespace = $1 ORDER BY con.oid;

--= with :schema
--= rows 0
SELECT ind.*, ind.indkey AS keys, rel.relname, rel.relnamespace, tab.relname AS tabrelname, des.description,
    pg_catalog.pg_get_expr(ind.indpred, ind.indrelid) AS pred_expr, pg_catalog.pg_get_expr(ind.indexprs, ind.indrelid, true) AS expr,
    pg_catalog.pg_relation_size(ind.indexrelid) AS size, pg_catalog.pg_stat_get_numscans(ind.indexrelid) AS scans
FROM pg_catalog.pg_index ind
INNER JOIN pg_catalog.pg_class rel ON rel.oid = ind.indexrelid
INNER JOIN pg_catalog.pg_class tab ON tab.oid = ind.indrelid
LEFT OUTER JOIN pg_catalog.pg_description des ON ind.indexrelid = des.objoid
WHERE rel.relnamespace = $1 ORDER BY rel.relname;

-- Functions, inheritance, sizes.
--= with :schema
--= rows 0
SELECT pro.oid AS poid, pro.*, pg_catalog.pg_get_expr(pro.proargdefaults, 0) AS arg_defaults, des.description
FROM pg_catalog.pg_proc pro
LEFT OUTER JOIN pg_catalog.pg_description des ON des.objoid = pro.oid AND des.classoid = 'pg_proc'::regclass AND des.objsubid = 0
WHERE pro.pronamespace = $1 ORDER BY pro.proname;

--= with :schema
--= rows 0
SELECT inh.inhrelid AS relid, par.relnamespace AS parent_ns, par.oid AS parent_oid, inh.inhseqno
FROM pg_catalog.pg_inherits inh, pg_class chi, pg_class par
WHERE chi.oid = inh.inhrelid AND chi.relnamespace = $1 AND par.oid = inh.inhparent;

--= with :schema
--= rows 8..
--= columns oid, total_rel_size, rel_size
SELECT rel.oid, pg_catalog.pg_total_relation_size(rel.oid) AS total_rel_size, pg_catalog.pg_relation_size(rel.oid) AS rel_size
FROM pg_class rel WHERE rel.relnamespace = $1;

-- Triggers, rules and policies of a table.
--= with :table
--= rows 0
SELECT tri.oid, tri.*, pro.pronamespace AS func_schema_id, des.description FROM pg_catalog.pg_trigger tri
LEFT OUTER JOIN pg_catalog.pg_proc pro ON pro.oid = tri.tgfoid
LEFT OUTER JOIN pg_catalog.pg_description des ON des.objoid = tri.oid AND des.objsubid = 0
WHERE tri.tgrelid = $1 AND NOT tri.tgisinternal;

--= with :table
--= rows 0
SELECT rul.oid, rul.*, pg_get_ruledef(rul.oid) AS definition FROM pg_rewrite rul
WHERE rul.ev_class = $1 AND rul.rulename <> '_RETURN'::name;

--= with 'demo' 'neurons'
--= rows 0
SELECT * FROM pg_catalog.pg_policies WHERE schemaname = $1 AND tablename = $2;

-- What belongs to the server: settings, roles, access methods, encodings, languages, tablespaces, extensions, who is connected.
--= rows 10..
--= some name=server_version, setting=17.6
SELECT * FROM pg_catalog.pg_settings;

--= some rolname=ana, rolcanlogin=True
SELECT rol.oid, rol.*, des.description FROM pg_catalog.pg_roles rol
LEFT JOIN pg_catalog.pg_shdescription des ON rol.oid = des.objoid ORDER BY rol.rolname;

--= some amname=heap
SELECT am.oid, am.* FROM pg_catalog.pg_am am ORDER BY am.oid;

--= some encname=UTF8
SELECT con.contoencoding AS encid, pg_catalog.pg_encoding_to_char(con.contoencoding) AS encname
FROM pg_catalog.pg_conversion con GROUP BY con.contoencoding ORDER BY 2;

--= some lanname=sql
SELECT lan.oid, lan.* FROM pg_catalog.pg_language lan ORDER BY lan.oid;

--= some spcname=pg_default
SELECT spc.oid, spc.*, pg_tablespace_location(spc.oid) AS loc FROM pg_catalog.pg_tablespace spc ORDER BY spc.oid;

--= rows 0
--= columns name, default_version, installed_version, comment
SELECT name, default_version, installed_version, comment FROM pg_catalog.pg_available_extensions ORDER BY name;

--= rows 0
SELECT ext.oid, cfg.tbls, ns.nspname AS schema_name, ext.* FROM pg_catalog.pg_extension ext
JOIN pg_namespace ns ON ns.oid = ext.extnamespace
LEFT JOIN (
    SELECT ARRAY_AGG(sch.nspname || '.' || rel.relname) AS tbls, cnf.oid_ext
    FROM (SELECT unnest(one.extconfig) AS oid, one.oid AS oid_ext FROM pg_catalog.pg_extension one) cnf
    JOIN pg_class rel ON rel.oid = cnf.oid JOIN pg_namespace sch ON sch.oid = rel.relnamespace
    GROUP BY cnf.oid_ext
) cfg ON cfg.oid_ext = ext.oid ORDER BY ext.oid;

--= rows 1
--= some datname=polysema, application_name=DBeaver, state=active
SELECT act.* FROM pg_catalog.pg_stat_activity act;

-- A search by name.
--= with '%neur%' '%neur%'
--= some relname=neurons
SELECT rel.oid, rel.relname, rel.relnamespace, rel.relkind FROM pg_catalog.pg_class rel
WHERE rel.relkind IN ('r', 'v', 'm', 'f', 'p') AND (rel.relname ILIKE $1 OR obj_description(rel.oid, 'pg_class') ILIKE $2)
ORDER BY rel.relname LIMIT 100;

-- The rows of a table.
--= rows 1..200
SELECT x.* FROM demo.neurons x LIMIT 200;
