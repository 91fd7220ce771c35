//! The store from outside: what is written comes back through SQL, whole or not at all.
//! Over 400 lines: one list of cases over one fixture.

use crate::damaged::unsealed;
use crate::fixture::*;

#[tokio::test]
async fn every_table_comes_back() -> Result<()> {
    let dir = demo()?;
    let ctx = session(dir.path(), 2)?;
    let rows = [
        ("layers", LAYERS),
        ("neurons", LAYERS * NEURONS),
        ("documents", DOCUMENTS),
        ("tokens", DOCUMENTS * TOKENS),
        ("examples", LAYERS * 21),
        ("histograms", LAYERS * 2 * NEURONS),
    ];
    for (table, rows) in rows {
        let sql = format!("SELECT * FROM polysema.demo.{table}");
        assert_eq!(count(&ctx, &sql).await?, rows as usize, "{table}");
    }
    let split = count(&ctx, "SELECT * FROM demo.documents WHERE split = 'part 1'").await?;
    assert_eq!(split, 2);
    let batches = query(
        &ctx,
        "SELECT layer, doc_id, pos, token, window_start, window_tokens, pre_mlp, activation FROM demo.examples \
         ORDER BY layer, neuron, example",
    )
    .await?;
    let mut seen = 0;
    for batch in &batches {
        let int = |i: usize| batch.column(i).as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let (doc, pos, start) = (int(1).value(row), int(2).value(row), int(4).value(row));
            assert_eq!(
                batch.column(3).as_string::<i32>().value(row),
                format!("t{doc}.{pos}")
            );
            let window = batch.column(5).as_list::<i32>().value(row);
            let want: Vec<_> = (start..start + 3).map(|p| format!("t{doc}.{p}")).collect();
            let got: Vec<_> = window.as_string::<i32>().iter().flatten().collect();
            assert_eq!(got, want);
            let h = batch.column(6).as_list::<i32>().value(row);
            let want = vector(int(0).value(row), doc, 0.0);
            assert_eq!(h.as_primitive::<Float32Type>().values(), &want[..]);
            seen += 1;
        }
    }
    assert_eq!(seen, LAYERS * 21);
    Ok(())
}

/// The rows of a table in memory, where DataFusion filters them itself.
async fn copy_of(ctx: &SessionContext, table: &str, name: &str) -> Result<()> {
    let batches = query(ctx, &format!("SELECT * FROM demo.{table}")).await?;
    let schema: SchemaRef = batches[0].schema();
    let table = MemTable::try_new(schema, vec![batches])?;
    ctx.register_table(name, Arc::new(table))?;
    Ok(())
}

#[tokio::test]
async fn filters_keep_what_an_unfiltered_copy_keeps() -> Result<()> {
    let dir = demo()?;
    let filters = [
        "layer = 1",
        "1 = layer",
        "layer = 1 AND neuron = 5",
        "layer = CAST(2 AS SMALLINT) AND neuron < CAST(4 AS BIGINT UNSIGNED)",
        "neuron >= 3",
        "3 > neuron",
        "neuron BETWEEN 2 AND 5",
        "neuron NOT BETWEEN 2 AND 5",
        "neuron IN (1, 3, 6)",
        "neuron NOT IN (1, 3, 6)",
        "neuron IN (0, 1, 2, 3, 4, 6) AND layer <> 1",
        "layer = 0 AND neuron = 0",
        "layer > 7",
        "neuron < 5000000000",
        "neuron = 5000000000",
        "neuron > -1 AND layer <= 1",
        "layer = 1 OR neuron = 2",
        "NOT (neuron = 3)",
        "neuron = 2 OR neuron > 5",
        "layer = NULL",
        "layer = 1.0",
        "layer + 1 = neuron",
        "neuron < 3 AND neuron > 4",
    ];
    for partitions in [1, 2, 8] {
        let ctx = session(dir.path(), partitions)?;
        for table in ["examples", "neurons", "histograms"] {
            let copy = format!("{table}_copy");
            copy_of(&ctx, table, &copy).await?;
            for filter in filters {
                let sql =
                    |from: &str| format!("SELECT * FROM {from} WHERE {filter} ORDER BY 1, 2, 3");
                let got = shown(&ctx, &sql(&format!("demo.{table}"))).await?;
                let want = shown(&ctx, &sql(&copy)).await?;
                assert_eq!(
                    got, want,
                    "{table} WHERE {filter} in {partitions} partitions"
                );
                let counted = |from: &str| format!("SELECT count(*) FROM {from} WHERE {filter}");
                let got = shown(&ctx, &counted(&format!("demo.{table}"))).await?;
                assert_eq!(got, shown(&ctx, &counted(&copy)).await?, "{table} {filter}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn filters_and_limits_reach_the_scan() -> Result<()> {
    let dir = demo()?;
    let ctx = session(dir.path(), 2)?;
    let plan = shown(
        &ctx,
        "EXPLAIN ANALYZE SELECT token FROM demo.examples WHERE layer = 1 AND neuron = 5",
    )
    .await?;
    assert!(plan.contains("table=examples, run=demo, layers=[1], neurons=[5], projection=[token]"));
    assert!(!plan.contains("FilterExec"), "{plan}");
    assert!(
        plan.contains("batches_read=1,") || plan.contains("batches_read=1]"),
        "{plan}"
    );
    assert!(plan.contains("batches_pruned=11"), "{plan}");
    let limited = "SELECT neuron FROM demo.examples WHERE neuron > 2 LIMIT 4";
    assert_eq!(count(&ctx, limited).await?, 4);
    let ordered = shown(
        &ctx,
        "EXPLAIN SELECT layer, neuron, example FROM demo.examples ORDER BY layer, neuron, example",
    )
    .await?;
    assert!(!ordered.contains("SortExec"), "{ordered}");
    let ordered = shown(
        &ctx,
        "EXPLAIN SELECT example FROM demo.examples WHERE layer = 1 AND neuron = 5 ORDER BY example",
    )
    .await?;
    assert!(!ordered.contains("SortExec"), "{ordered}");
    Ok(())
}

#[tokio::test]
async fn scans_of_a_run_meet_without_a_shuffle() -> Result<()> {
    let dir = demo()?;
    for partitions in [2, 8] {
        let ctx = session(dir.path(), partitions)?;
        let grouped =
            "SELECT layer, neuron, count(*) AS n FROM demo.examples GROUP BY layer, neuron";
        let plan = shown(&ctx, &format!("EXPLAIN {grouped}")).await?;
        assert!(!plan.contains("RepartitionExec"), "{plan}");
        ctx.sql("SET datafusion.optimizer.prefer_hash_join = false")
            .await?;
        let joined = "SELECT n.layer, n.neuron, n.n_examples, e.example FROM demo.neurons n \
                      JOIN demo.examples e ON n.layer = e.layer AND n.neuron = e.neuron";
        let plan = shown(&ctx, &format!("EXPLAIN {joined}")).await?;
        assert!(!plan.contains("RepartitionExec"), "{plan}");
        assert!(!plan.contains("SortExec"), "{plan}");
        assert_eq!(count(&ctx, joined).await?, (LAYERS * 21) as usize);
        let wrong = format!(
            "SELECT * FROM ({grouped}) g JOIN demo.neurons n ON g.layer = n.layer AND g.neuron = n.neuron \
             WHERE g.n <> n.n_examples"
        );
        assert_eq!(count(&ctx, &wrong).await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn vectors_are_read_only_when_asked_for() -> Result<()> {
    let dir = demo()?;
    for layer in 0..LAYERS {
        fs::remove_file(generation(dir.path(), "demo").join(format!("vectors-{layer}.arrow")))?;
    }
    let ctx = session(dir.path(), 2)?;
    let sql = "SELECT layer, token, window_tokens, window_activations FROM demo.examples";
    assert_eq!(count(&ctx, sql).await?, (LAYERS * 21) as usize);
    let error = message(query(&ctx, "SELECT pre_mlp FROM demo.examples WHERE layer = 2").await);
    assert!(error.contains("vectors-2.arrow"), "{error}");
    Ok(())
}

#[test]
fn what_is_not_committed_does_not_exist() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("new.store");
    let store = Store::open(&root)?;
    assert!(store.runs()?.is_empty() && !root.exists());
    let mut writer = store.begin("demo", false)?;
    let scratch = writer.scratch().to_path_buf();
    fs::write(scratch.join("spool"), "x")?;
    fill(&mut writer, 0.0)?;
    assert!(store.runs()?.is_empty());
    let error = message(Store::open(&root)?.begin("demo", false));
    let held = format!("process {}, writing it for", std::process::id());
    for part in ["another writer holds", "new.store", "got 'demo'", &held] {
        assert!(error.contains(part), "{error}");
    }
    // Another run may be written meanwhile.
    drop(Store::open(&root)?.begin("other", false)?);
    drop(writer);
    assert!(!root.join("runs/demo").exists());

    let writer = store.begin("demo", false)?;
    let layers = writer.table(Table::Layers, None, schema::layers())?;
    let error = message(writer.commit(facts("demo")));
    assert!(error.contains("layers.arrow unfinished"), "{error}");
    drop(layers);
    assert!(!root.join("runs/demo").exists());
    Ok(())
}

#[test]
fn leftovers_of_a_killed_writer_are_swept() -> Result<()> {
    let dir = demo()?;
    let store = Store::open(dir.path())?;
    let killed = dir.path().join("runs/killed/gen-1/scratch");
    fs::create_dir_all(&killed)?;
    let stale = dir.path().join("runs/demo/gen-0");
    fs::create_dir_all(&stale)?;
    let foreign = dir.path().join("runs/demo/notes.txt");
    fs::write(&foreign, "mine")?;
    drop(store.begin("next", false)?);
    assert!(!dir.path().join("runs/killed").exists() && !stale.exists() && foreign.exists());
    assert_eq!(store.runs()?, ["demo"]);
    store.run("demo")?;
    Ok(())
}

#[tokio::test]
async fn a_reader_keeps_the_run_it_started_with() -> Result<()> {
    let dir = demo()?;
    let ctx = session(dir.path(), 2)?;
    let sql = "SELECT pre_mlp[1] AS h FROM demo.examples WHERE layer = 0 AND neuron = 1";
    let old = ctx.sql(sql).await?.create_physical_plan().await?;
    let store = Store::open(dir.path())?;
    let error = message(store.begin("demo", false));
    assert!(error.contains("replace: true"), "{error}");
    ingest(&store, "demo", true, 0.25)?;
    assert_eq!(generations(dir.path(), "demo").len(), 2);
    let batches = datafusion::physical_plan::collect(old, ctx.task_ctx()).await?;
    let first =
        |batches: &[RecordBatch]| batches[0].column(0).as_primitive::<Float32Type>().value(0);
    assert_eq!(first(&batches), 10.0);
    assert_eq!(first(&query(&ctx, sql).await?), 10.25);
    // Nobody reads the first state any more: the next writer removes it.
    drop(store.begin("other", false)?);
    generation(dir.path(), "demo");
    Ok(())
}

#[tokio::test]
async fn damaged_files_are_errors_that_name_them() -> Result<()> {
    let dir = demo()?;
    let path = generation(dir.path(), "demo").join("examples-1.arrow");
    let whole = fs::read(&path)?;
    let sql = "SELECT * FROM demo.examples WHERE layer = 1";
    for length in [
        0,
        5,
        9,
        100,
        whole.len() / 2,
        whole.len() - 11,
        whole.len() - 1,
    ] {
        fs::write(&path, &whole[..length])?;
        let error = message(query(&session(dir.path(), 2)?, sql).await);
        assert!(
            error.contains("examples-1.arrow"),
            "cut to {length}: {error}"
        );
        // The size alone must not be what saves us.
        let mut padded = whole[..length].to_vec();
        padded.resize(whole.len(), 0);
        fs::write(&path, &padded)?;
        let error = message(query(&session(dir.path(), 2)?, sql).await);
        assert!(
            error.contains("examples-1.arrow"),
            "zeroed from {length}: {error}"
        );
    }
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0xff;
        fs::write(&path, &flipped)?;
        let read = query(&session(dir.path(), 2)?, sql).await;
        let error = message(read);
        assert!(error.contains("examples-1.arrow"), "byte {at}: {error}");
    }
    fs::write(&path, &whole)?;
    assert_eq!(count(&session(dir.path(), 2)?, sql).await?, 21);
    fs::write(dir.path().join("runs/demo/manifest.json"), "{")?;
    let error = message(query(&session(dir.path(), 2)?, sql).await);
    assert!(error.contains("manifest.json"), "{error}");
    Ok(())
}

#[test]
fn names_and_rows_are_checked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    for name in [
        "",
        "a b",
        "../up",
        "a.b",
        "ü",
        "public",
        "info",
        "Information_Schema",
    ] {
        let error = message(store.begin(name, false));
        assert!(error.contains("a run name"), "{name}: {error}");
    }
    let error = message(store.run("../up"));
    assert!(error.contains("it has none"), "{error}");
    ingest(&store, "a-1", false, 0.0)?;
    let error = message(store.run("b"));
    assert!(error.contains("got 'b'; known runs: a-1"), "{error}");

    let writer = store.begin("b", false)?;
    let error = message(writer.table(Table::Examples, None, schema::stored_examples()));
    assert!(
        error.contains("examples requires a layer, got none"),
        "{error}"
    );
    let error = message(writer.table(Table::Examples, Some(0), schema::examples()));
    assert!(error.contains("activation"), "{error}");
    let mut out = writer.table(Table::Examples, Some(1), schema::stored_examples())?;
    let error = message(writer.table(Table::Examples, Some(1), schema::stored_examples()));
    assert!(error.contains("got a second"), "{error}");
    let error = message(out.write(&examples_batch(0, &[1])?));
    assert!(error.contains("got layer 0 in row 0"), "{error}");
    out.write(&examples_batch(1, &[1, 3])?.slice(0, 2))?;
    let error = message(out.write(&examples_batch(1, &[3])?));
    assert!(error.contains("layer 1 neuron 3 in two batches"), "{error}");
    let error = message(out.write(&examples_batch(1, &[2])?));
    assert!(
        error.contains("ascending order of (layer, neuron, example)"),
        "{error}"
    );
    let error = message(out.write(&examples_batch(1, &[5, 4])?));
    assert!(error.contains("ascending order"), "{error}");
    Ok(())
}

#[tokio::test]
async fn other_versions_are_refused_by_name() -> Result<()> {
    let dir = demo()?;
    let store = Store::open(dir.path())?;
    ingest(&store, "old", false, 0.0)?;
    let path = dir.path().join("runs/old/manifest.json");
    unsealed(&path, |manifest| manifest["format"] = 9.into())?;
    let ctx = session(dir.path(), 2)?;
    let error = message(query(&ctx, "SELECT * FROM old.examples").await);
    let want = format!("run 'old' needs store version {FORMAT}, got version 9: ingest it again");
    assert!(error.contains(&want), "{error}");
    assert_eq!(count(&ctx, "SELECT * FROM demo.layers").await?, 3);
    // Listings survive, and say what is wrong.
    assert!(shown(&ctx, "SHOW TABLES").await?.contains("examples"));
    let runs = shown(&ctx, "SELECT run, problem FROM info.runs ORDER BY run").await?;
    assert!(runs.contains("got version 9"), "{runs}");
    fs::write(dir.path().join("store.json"), "{\"format\":9}")?;
    let error = message(Store::open(dir.path()));
    let want = format!("needs store version {FORMAT}, got version 9");
    assert!(error.contains(&want), "{error}");
    Ok(())
}

#[tokio::test]
async fn runs_are_schemas_and_user_tables_are_everywhere() -> Result<()> {
    let dir = demo()?;
    let ctx = session(dir.path(), 2)?;
    assert!(
        message(query(&ctx, "SELECT * FROM polysema.second.examples").await).contains("second")
    );
    ingest(&Store::open(dir.path())?, "second", false, 0.5)?;
    for run in ["demo", "second"] {
        let sql = format!("SELECT * FROM polysema.{run}.examples");
        assert_eq!(count(&ctx, &sql).await?, (LAYERS * 21) as usize);
    }
    query(
        &ctx,
        "CREATE VIEW demo.mine AS SELECT layer FROM polysema.demo.layers",
    )
    .await?;
    for schema in ["demo", "second", "public"] {
        assert_eq!(
            count(&ctx, &format!("SELECT * FROM {schema}.mine")).await?,
            3
        );
    }
    let error = message(query(&ctx, "CREATE VIEW demo.tokens AS SELECT 1").await);
    assert!(error.contains("tokens"), "{error}");
    query(&ctx, "DROP VIEW second.mine").await?;
    assert!(query(&ctx, "SELECT * FROM demo.mine").await.is_err());

    assert_eq!(
        count(&ctx, "SELECT * FROM info.runs WHERE problem IS NULL").await?,
        2
    );
    let models = shown(&ctx, "SELECT model_hash, layers, runs FROM info.models").await?;
    assert!(
        models.contains("| abc        | 3      | 2    |"),
        "{models}"
    );
    assert_eq!(count(&ctx, "SELECT d_sae FROM info.saes").await?, 0);
    Ok(())
}
