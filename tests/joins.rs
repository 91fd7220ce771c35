//! A join or a subquery that picks neurons: only these are read and worked on, and the rows are those of a query that
//! worked on all. Seen through EXPLAIN ANALYZE.

use crate::fixture::*;

/// The counters `name=` of the plan's lines that contain `part`, summed; `None` where no line has it.
fn counter(plan: &str, part: &str, name: &str) -> Option<usize> {
    let lines = plan.lines().filter(|line| line.contains(part));
    let counters = lines.filter_map(|line| {
        let (_, rest) = line.split_once(&format!("{name}="))?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<usize>().ok()
    });
    counters.reduce(|a, b| a + b)
}

/// What a query cost: neurons worked on, then rows and batches read of examples.
async fn cost(ctx: &SessionContext, sql: &str) -> Result<[Option<usize>; 3]> {
    let plan = shown(ctx, &format!("EXPLAIN ANALYZE {sql}")).await?;
    Ok([
        counter(&plan, "PerNeuronExec", "groups"),
        counter(&plan, "table=examples", "output_rows"),
        counter(&plan, "table=examples", "batches_read"),
    ])
}

/// A session on the fixture's store with the functions and a table `chosen` of two neurons, (0, 6) and (2, 5).
async fn store_session(root: &Path, partitions: usize) -> Result<SessionContext> {
    let ctx = session(root, partitions)?;
    polysema_udfs::register_all(&ctx)?;
    for sql in [
        "SET datafusion.catalog.default_schema = 'demo'",
        "CREATE TABLE public.chosen AS SELECT layer, neuron FROM demo.neurons WHERE (layer = 0 AND neuron = 6) OR \
         (layer = 2 AND neuron = 5)",
        "CREATE TABLE public.wide AS SELECT layer::BIGINT AS layer, neuron::BIGINT AS neuron FROM public.chosen",
    ] {
        query(&ctx, sql).await?;
    }
    Ok(ctx)
}

/// Ways to ask for the merges of the chosen neurons.
const CHOSEN: &[&str] = &[
    "SELECT f.* FROM public.chosen n JOIN linkage() f USING (layer, neuron)",
    "SELECT f.* FROM linkage() f JOIN public.chosen n USING (layer, neuron)",
    "SELECT f.* FROM linkage() f JOIN public.wide n USING (layer, neuron)",
    "SELECT f.* FROM public.chosen n, LATERAL linkage(n.layer, n.neuron) f",
    "SELECT f.* FROM public.wide n, linkage(n.layer, n.neuron) f",
    "SELECT f.* FROM public.chosen n LEFT JOIN linkage(n.layer, n.neuron) f ON true",
    "SELECT * FROM linkage() f WHERE EXISTS (SELECT 1 FROM public.chosen n WHERE n.layer = f.layer AND n.neuron = f.neuron)",
];

#[tokio::test]
async fn a_join_reads_the_neurons_it_picks() -> Result<()> {
    let dir = demo()?;
    let expected = {
        let ctx = store_session(dir.path(), 1).await?;
        let sql = "SELECT * FROM linkage() WHERE (layer = 0 AND neuron = 6) OR (layer = 2 AND neuron = 5) ORDER BY 1, 2, 3";
        assert_eq!(count(&ctx, sql).await?, 5 + 4);
        shown(&ctx, sql).await?
    };
    for partitions in [1, 2, 8] {
        let ctx = store_session(dir.path(), partitions).await?;
        for sql in CHOSEN {
            let rows = shown(&ctx, &format!("{sql} ORDER BY 1, 2, 3")).await?;
            assert_eq!(rows, expected, "{sql} in {partitions} partitions");
            // Neuron n has n examples, and lies with others in a batch but for 5 and 6.
            assert_eq!(
                cost(&ctx, sql).await?,
                [Some(2), Some(11), Some(2)],
                "{sql} in {partitions} partitions"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_dynamic_filters_the_rows_are_the_same() -> Result<()> {
    let dir = demo()?;
    let ctx = store_session(dir.path(), 2).await?;
    for sql in CHOSEN {
        let sql = format!("{sql} ORDER BY 1, 2, 3");
        query(
            &ctx,
            "SET datafusion.optimizer.enable_dynamic_filter_pushdown = true",
        )
        .await?;
        let expected = shown(&ctx, &sql).await?;
        query(
            &ctx,
            "SET datafusion.optimizer.enable_dynamic_filter_pushdown = false",
        )
        .await?;
        assert_eq!(shown(&ctx, &sql).await?, expected, "{sql}");
        assert_eq!(cost(&ctx, &sql).await?[0], Some(21), "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn a_part_of_a_batch_is_read() -> Result<()> {
    let dir = demo()?;
    let ctx = store_session(dir.path(), 1).await?;
    // Neurons 1 and 2 share a batch of three rows, 3 and 4 one of seven; 0 has no example.
    for (neurons, rows, batches) in [("0, 2", 2, 1), ("2, 3", 5, 2), ("0", 0, 0), ("7", 0, 0)] {
        let sql = format!(
            "SELECT f.* FROM (SELECT 1 AS layer, unnest([{neurons}]) AS neuron) n \
             JOIN neuron_polysemanticity() f ON f.layer = n.layer AND f.neuron = n.neuron"
        );
        let groups = count(&ctx, &sql).await?;
        let cost = cost(&ctx, &sql).await?;
        assert_eq!(cost, [Some(groups), Some(rows), Some(batches)], "{neurons}");
    }
    Ok(())
}

#[tokio::test]
async fn the_value_of_a_subquery_picks_too() -> Result<()> {
    let dir = demo()?;
    let ctx = store_session(dir.path(), 2).await?;
    for sql in [
        "SELECT * FROM linkage(1, (SELECT max(neuron) FROM neurons))",
        "SELECT * FROM linkage() WHERE layer = 1 AND neuron = (SELECT max(neuron) FROM neurons)",
    ] {
        assert_eq!(count(&ctx, sql).await?, 5, "{sql}");
        assert_eq!(cost(&ctx, sql).await?, [Some(1), Some(6), Some(1)], "{sql}");
    }
    let sql = "SELECT * FROM examples WHERE neuron = (SELECT max(neuron) FROM neurons)";
    assert_eq!(count(&ctx, sql).await?, 18);
    assert_eq!(cost(&ctx, sql).await?, [None, Some(18), Some(3)]);
    Ok(())
}

#[tokio::test]
async fn a_filter_on_another_column_waits_for_the_rows() -> Result<()> {
    let dir = demo()?;
    let ctx = store_session(dir.path(), 2).await?;
    // The third merge of each neuron, of clusters of all its examples.
    let all = "SELECT * FROM linkage() WHERE step = 3 ORDER BY 1, 2";
    let expected = shown(&ctx, all).await?;
    let joined =
        "SELECT f.* FROM (SELECT 3 AS step) s JOIN linkage() f ON f.step = s.step ORDER BY 1, 2";
    assert_eq!(shown(&ctx, joined).await?, expected);
    assert_eq!(cost(&ctx, joined).await?[0], Some(21));
    let value = "SELECT * FROM linkage() WHERE step = (SELECT 3) ORDER BY 1, 2";
    assert_eq!(shown(&ctx, value).await?, expected);
    Ok(())
}

/// A plain session with 200 neurons of six examples each.
async fn plain_session(partitions: usize) -> Result<SessionContext> {
    let config = SessionConfig::new().with_target_partitions(partitions);
    let ctx = SessionContext::new_with_config(config);
    polysema_udfs::register_all(&ctx)?;
    for sql in [
        "CREATE TABLE neurons AS SELECT 0 AS layer, value::INT AS neuron, [1.0, 2.0]::FLOAT[] AS w_in FROM generate_series(0, 199)",
        "CREATE TABLE examples AS SELECT n.layer, n.neuron, e.value::INT AS example,
           [1.0 + n.neuron, 1.0 + e.value * e.value]::FLOAT[] AS pre_mlp FROM neurons n, generate_series(0, 5) e",
    ] {
        query(&ctx, sql).await?;
    }
    Ok(ctx)
}

#[tokio::test]
async fn ten_of_two_hundred_are_clustered() -> Result<()> {
    for partitions in [1, 8] {
        let ctx = plain_session(partitions).await?;
        let ten = "(SELECT layer, neuron FROM neurons ORDER BY neuron DESC LIMIT 10) n";
        for function in ["linkage", "neuron_polysemanticity"] {
            for from in [
                format!("{ten} JOIN {function}() f USING (layer, neuron)"),
                format!("{function}() f JOIN {ten} USING (layer, neuron)"),
                format!("{ten}, LATERAL {function}(n.layer, n.neuron) f"),
            ] {
                let sql = format!("SELECT f.* FROM {from}");
                let all =
                    format!("SELECT * FROM {function}() WHERE neuron >= 190 ORDER BY 1, 2, 3, 4");
                let ordered = format!("{sql} ORDER BY 1, 2, 3, 4");
                assert_eq!(
                    shown(&ctx, &ordered).await?,
                    shown(&ctx, &all).await?,
                    "{sql}"
                );
                assert_eq!(
                    cost(&ctx, &sql).await?[0],
                    Some(10),
                    "{sql} in {partitions} partitions"
                );
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn tables_of_files_are_picked_from_too() -> Result<()> {
    let ctx = plain_session(2).await?;
    let dir = tempfile::tempdir()?;
    for table in ["examples", "neurons"] {
        let file = dir.path().join(format!("{table}.parquet"));
        let file = file.display();
        query(&ctx, &format!("COPY {table} TO '{file}'")).await?;
        query(&ctx, &format!("DROP TABLE {table}")).await?;
        let create = format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{file}'");
        query(&ctx, &create).await?;
    }
    let sql = "SELECT f.* FROM (SELECT layer, neuron FROM neurons ORDER BY neuron LIMIT 10) n JOIN linkage() f USING (layer, neuron)";
    assert_eq!(count(&ctx, sql).await?, 10 * 5);
    assert_eq!(cost(&ctx, sql).await?[0], Some(10));
    Ok(())
}

#[tokio::test]
async fn examples_without_a_neuron_matter_when_they_are_asked_for() -> Result<()> {
    let ctx = plain_session(1).await?;
    for sql in [
        "INSERT INTO examples VALUES (0, 200, 0, [1.0, 1.0]), (1, 3, 0, [1.0, 1.0])",
        "CREATE TABLE known AS SELECT 0 AS layer, 7 AS neuron",
        "CREATE TABLE orphan AS SELECT 0 AS layer, 200 AS neuron",
    ] {
        query(&ctx, sql).await?;
    }
    let joined =
        |table: &str| format!("SELECT f.* FROM {table} JOIN linkage() f USING (layer, neuron)");
    assert_eq!(count(&ctx, &joined("known")).await?, 5);
    let expected = "linkage: every neuron of 'examples' must have a row in 'neurons', got none for layer 0, neuron 200";
    assert!(message(query(&ctx, &joined("orphan")).await).contains(expected));
    assert!(message(query(&ctx, "SELECT * FROM linkage()").await).contains(expected));
    Ok(())
}
