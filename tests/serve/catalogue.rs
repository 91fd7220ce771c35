//! What clients of PostgreSQL find out about the server, its tables and themselves.

use polysema::serve::users::Role;

use super::server::{conversation, options, texts};

#[test]
fn an_object_has_one_number_on_all_connections() {
    conversation(options(), |server| async move {
        let (one, other) = (server.connect().await, server.connect().await);
        let schema = "SELECT oid FROM pg_namespace WHERE nspname = 'demo'";
        let table = "SELECT oid FROM pg_class WHERE relname = 'neurons'";
        let ask = async |client: &tokio_postgres::Client, text: &str| {
            texts(client.simple_query(text).await.unwrap())
        };
        // The order of the questions does not matter.
        let first = (ask(&one, schema).await, ask(&one, table).await);
        let later = (ask(&other, table).await, ask(&other, schema).await);
        assert_eq!(first, (later.1, later.0));
        let joined = "SELECT a.attname FROM pg_attribute a WHERE a.attrelid = 'demo.neurons'::regclass AND a.attnum = 1";
        assert_eq!(ask(&other, joined).await, [["layer"]]);
    });
}

#[test]
fn objects_are_known_by_names_and_numbers() {
    conversation(options(), |server| async move {
        let client = server.connect().await;
        let answers = [
            ("SELECT 'demo.neurons'::regclass", "neurons"),
            ("SELECT 'neurons'::regclass::text", "neurons"),
            ("SELECT 'info.functions'::regclass::text", "info.functions"),
            ("SELECT 'pg_class'::regclass::oid", "1259"),
            ("SELECT to_regclass('nothing') IS NULL", "t"),
            ("SELECT 'double precision'::regtype", "double precision"),
            ("SELECT 'real[]'::regtype::oid", "1021"),
            ("SELECT 'demo'::regnamespace", "demo"),
            (
                "SELECT format('%I.%I = %L', 'a', 'B c', 'd''e')",
                "a.\"B c\" = 'd''e'",
            ),
            (
                "SELECT pg_get_viewdef('demo.cluster_sizes'::regclass) LIKE '%FROM%'",
                "t",
            ),
            (
                "SELECT col_description('neurons'::regclass, 8)",
                "largest activation of all tokens",
            ),
            // A column of PostgreSQL's is none of a run's, though `layers` has one of its name.
            (
                "SELECT col_description('pg_catalog.pg_settings'::regclass, 1) IS NULL",
                "t",
            ),
            (
                "SELECT el.typname FROM pg_type ty JOIN pg_proc pro ON pro.oid = ty.typreceive \
                 JOIN pg_type el ON el.oid = ty.typelem WHERE pro.proname = 'array_recv' AND ty.oid = 1021",
                "float4",
            ),
        ];
        for (text, expected) in answers {
            let rows = texts(client.simple_query(text).await.unwrap());
            assert_eq!(rows, [[expected]], "{text}");
        }
        let error = client.simple_query("SELECT 'nothing'::regclass").await;
        let error = error.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42P01");
    });
}

#[test]
fn a_session_says_whose_it_is_and_where_it_looks() {
    conversation(options(), |server| async move {
        let client = server.connect().await;
        let ask = async |text: &str| texts(client.simple_query(text).await.unwrap()).remove(0);
        let who = "SELECT current_user, session_user, current_database(), current_schema()";
        assert_eq!(ask(who).await, ["ana", "ana", "polysema", "demo"]);
        let schemas = "SELECT current_schemas(true)";
        assert_eq!(ask(schemas).await, ["{pg_catalog,demo,public}"]);
        assert_eq!(ask("SHOW search_path").await, ["demo, public"]);
        client
            .batch_execute("SET search_path TO public; RESET ALL")
            .await
            .unwrap();
        assert_eq!(ask("SHOW search_path").await, ["demo, public"]);
        let databases =
            "SELECT datname FROM pg_database WHERE datname IN ('demo', 'polysema') ORDER BY 1";
        let databases = texts(client.simple_query(databases).await.unwrap());
        assert_eq!(databases, [["demo"], ["polysema"]]);
        let roles = "SELECT rolname, rolsuper, rolcanlogin FROM pg_roles";
        assert_eq!(ask(roles).await, ["ana", "f", "t"]);
    });
}

#[test]
fn what_a_client_may_do_is_its_role_and_the_tables_schema() {
    for (role, expected) in [
        (Role::Reader, ["t", "f", "f"]),
        (Role::Analyst, ["t", "f", "t"]),
    ] {
        let options = polysema::serve::ServeOptions { role, ..options() };
        conversation(options, |server| async move {
            let client = server.connect().await;
            let may = "SELECT has_table_privilege('demo.neurons', 'select'), has_table_privilege('demo.neurons', 'insert'), \
                       has_table_privilege(current_user, 'public.mine', 'insert')";
            let rows = texts(client.simple_query(may).await.unwrap());
            assert_eq!(rows, [expected]);
        });
    }
}

#[test]
fn columns_have_the_types_they_are_sent_as() {
    conversation(options(), |server| async move {
        let client = server.connect().await;
        let columns = "SELECT c.column_name, c.data_type, c.udt_name, t.typname, c.is_nullable FROM information_schema.columns c \
                       JOIN pg_attribute a ON a.attrelid = 'demo.neurons'::regclass AND a.attname = c.column_name \
                       JOIN pg_type t ON t.oid = a.atttypid WHERE c.table_schema = 'demo' AND c.table_name = 'neurons' \
                       AND c.column_name IN ('layer', 'w_in', 'max_activation') ORDER BY 1";
        let rows = texts(client.simple_query(columns).await.unwrap());
        assert_eq!(rows[0], ["layer", "integer", "int4", "int4", "NO"]);
        assert_eq!(rows[1][..4], ["max_activation", "real", "float4", "float4"]);
        assert_eq!(rows[2][..4], ["w_in", "ARRAY", "_float4", "_float4"]);
        let shown = client.simple_query("SHOW TABLES").await.unwrap();
        assert!(texts(shown).iter().any(|row| row[2] == "neurons"));
    });
}
