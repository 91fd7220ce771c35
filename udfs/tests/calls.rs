//! Calls of table functions in a plain DataFusion session: names, relations as arguments, parameters.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, RELATION, TableFunction,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "rows_below",
    chapter: "test",
    summary: "The rows of a table below a limit.",
    arguments: &[
        Parameter {
            name: "table",
            kind: RELATION,
            summary: "a table with a column x",
        },
        Parameter {
            name: "limit",
            kind: "whole number or (SELECT ...)",
            summary: "what x is below; a query's only value",
        },
    ],
    required: 2,
    options: &[Parameter {
        name: "other",
        kind: RELATION,
        summary: "a table whose rows are added",
    }],
    returns: "x",
    example: "SELECT * FROM rows_below(t, 3)",
    replaces: None,
};

#[derive(Debug)]
struct RowsBelow;

impl TableFunction for RowsBelow {
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef> {
        let table = arguments.relation("table").expect("a required relation");
        Ok(Arc::clone(table.plan.schema().inner()))
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let table = arguments.relation("table").expect("a required relation");
        let mut rows = LogicalPlanBuilder::from(table.plan.as_ref().clone());
        if let Some(other) = arguments.relation("other") {
            rows = rows.union(other.plan.as_ref().clone())?;
        }
        match arguments.integer("limit")? {
            Some(limit) => rows = rows.filter(col("x").lt(lit(limit)))?,
            None => {
                let limit = arguments.relation("limit").expect("a number or a query");
                let limit = LogicalPlanBuilder::from(limit.plan.as_ref().clone()).alias("limit")?;
                let x = col(datafusion::common::Column::from(
                    rows.schema().qualified_field(0),
                ));
                let top = col(datafusion::common::Column::from(
                    limit.schema().qualified_field(0),
                ));
                let columns = rows.schema().columns().into_iter().map(Expr::Column);
                let columns: Vec<_> = columns.collect();
                rows = rows.join_on(
                    limit.build()?,
                    datafusion::common::JoinType::Inner,
                    [x.lt(top)],
                )?;
                rows = rows.project(columns)?;
            }
        }
        Ok(Arc::new(Below(rows.build()?)))
    }
}

#[derive(Debug)]
struct Below(LogicalPlan);

#[async_trait]
impl TableProvider for Below {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema().inner())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plan = LogicalPlanBuilder::from(self.0.clone());
        if let Some(projection) = projection {
            plan = plan.select(projection.iter().copied())?;
        }
        state.create_physical_plan(&plan.build()?).await
    }
}

async fn session() -> Result<SessionContext> {
    let ctx = SessionContext::new();
    let function = Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(RowsBelow)),
    };
    let mut functions = polysema_udfs::catalog::functions();
    functions.push(function);
    polysema_udfs::catalog::register(&ctx, &functions)?;
    for sql in [
        "CREATE TABLE t AS SELECT value AS x FROM generate_series(1, 10)",
        "CREATE SCHEMA other",
        "CREATE TABLE other.t AS SELECT value AS x FROM generate_series(101, 104)",
        "CREATE VIEW v AS SELECT x + 1 AS x FROM t",
        "CREATE TABLE \"T 2\" AS SELECT 7::BIGINT AS x",
        "CREATE TABLE neurons(layer INT, neuron INT, w_in FLOAT[]) AS VALUES (0, 0, [1.0, 1.0]), (0, 1, [1.0, 1.0])",
        "CREATE TABLE examples(layer INT, neuron INT, example INT, pre_mlp FLOAT[]) AS VALUES
           (0, 0, 0, [1.0, 0.0]), (0, 0, 1, [0.0, 1.0]), (0, 1, 0, [1.0, 0.0])",
    ] {
        ctx.sql(sql).await?.collect().await?;
    }
    Ok(ctx)
}

/// The only value of a query's only row.
async fn value(ctx: &SessionContext, sql: &str) -> Result<String> {
    let batches = ctx.sql(sql).await?.collect().await?;
    let [batch] = batches.as_slice() else {
        return Ok(pretty_format_batches(&batches)?.to_string());
    };
    Ok(ScalarValue::try_from_array(batch.column(0), 0)?.to_string())
}

async fn message(ctx: &SessionContext, sql: &str) -> String {
    match value(ctx, sql).await {
        Ok(value) => format!("no error but {value}"),
        Err(error) => error.strip_backtrace(),
    }
}

#[tokio::test]
async fn a_table_is_named_in_every_way() -> Result<()> {
    let ctx = session().await?;
    for (call, rows) in [
        ("rows_below(t, 4)", 3),
        ("rows_below('t', 4)", 3),
        ("rows_below(T, 4)", 3),
        ("rows_below(limit => 4, table => t)", 3),
        ("Rows_Below(table => 't', limit => 2 + 2)", 3),
        ("rows_below(other.t, 200)", 4),
        ("rows_below('other.t', 103)", 2),
        ("rows_below(public.t, 4)", 3),
        ("rows_below(\"T 2\", 8)", 1),
        ("rows_below('\"T 2\"', 8)", 1),
        ("rows_below(v, 4)", 2),
        ("rows_below((SELECT x FROM t WHERE x > 2), 4)", 1),
        ("rows_below(((SELECT max(x) AS x, 1 AS y FROM t)), 11)", 1),
        (
            "rows_below((SELECT x FROM rows_below(t, 5)), limit => 3)",
            2,
        ),
        ("rows_below(t, (SELECT 6))", 5),
        (
            "rows_below(t, limit => (SELECT min(x) + 2 FROM t), other => v)",
            3,
        ),
        ("rows_below(t, 4, {other: 'v'})", 5),
        ("rows_below(t, 4, other => (SELECT x FROM v))", 5),
    ] {
        let counted = value(&ctx, &format!("SELECT count(*) FROM {call}")).await?;
        assert_eq!(counted, rows.to_string(), "{call}");
    }
    Ok(())
}

#[tokio::test]
async fn a_table_may_be_a_cte_of_the_statement() -> Result<()> {
    let ctx = session().await?;
    let sql = "WITH t AS (SELECT 50::BIGINT AS x) SELECT x FROM rows_below(t, 100)";
    assert_eq!(value(&ctx, sql).await?, "50");
    // Two of the same name and two tables must not be answered as one.
    let sql = "SELECT (WITH c AS (SELECT 1::BIGINT AS x) SELECT x FROM rows_below(c, 9))
             + (WITH c AS (SELECT 2::BIGINT AS x) SELECT x FROM rows_below(c, 9))
             + (SELECT max(x) FROM rows_below(t, 9)) + (SELECT max(x) FROM rows_below(other.t, 999))";
    assert_eq!(value(&ctx, sql).await?, (1 + 2 + 8 + 104).to_string());
    Ok(())
}

#[tokio::test]
async fn a_relation_outlives_its_statement() -> Result<()> {
    let ctx = session().await?;
    for sql in [
        "CREATE VIEW small AS SELECT x FROM rows_below((SELECT x FROM t WHERE x > 1), 4)",
        "PREPARE below AS SELECT count(*) FROM rows_below(t, $1)",
        "PREPARE above AS SELECT count(*) FROM rows_below((SELECT x FROM t WHERE x > $1), limit => 9)",
    ] {
        ctx.sql(sql).await?.collect().await?;
    }
    assert_eq!(value(&ctx, "SELECT count(*) FROM small").await?, "2");
    assert_eq!(value(&ctx, "EXECUTE below(3)").await?, "2");
    assert_eq!(value(&ctx, "EXECUTE below(6)").await?, "5");
    assert_eq!(value(&ctx, "EXECUTE above(3)").await?, "5");
    Ok(())
}

#[tokio::test]
async fn parameters_are_bound_by_the_interface_too() -> Result<()> {
    let ctx = session().await?;
    let frame = ctx
        .sql("SELECT count(DISTINCT \"cluster\") AS n FROM feature_clusters($layer, neuron => 0, threshold => $cut)")
        .await?;
    for (cut, n) in [(0.5, 2), (1.5, 1)] {
        let values = ParamValues::from(vec![
            ("layer", ScalarValue::from(0i64)),
            ("cut", ScalarValue::from(cut)),
        ]);
        let batches = frame.clone().with_param_values(values)?.collect().await?;
        let counted = ScalarValue::try_from_array(batches[0].column(0), 0)?;
        assert_eq!(counted, ScalarValue::from(n as i64));
    }
    Ok(())
}

#[tokio::test]
async fn wrong_relations_are_named() -> Result<()> {
    let ctx = session().await?;
    for (call, expected) in [
        (
            "rows_below(nosuch, 4)",
            "rows_below: an existing table is required, got 'datafusion.public.nosuch'",
        ),
        (
            "rows_below('no.such.t', 4)",
            "rows_below: an existing table is required, got 'no.such.t'",
        ),
        (
            "rows_below(3, 4)",
            "rows_below: table must be a table or (SELECT ...), got 3",
        ),
        (
            "t, LATERAL rows_below((SELECT x FROM t AS i WHERE i.x = t.x), 4)",
            "rows_below: table must be a query of its own, got one that refers to the column t.x",
        ),
        (
            "rows_below(t, limit => 'x')",
            "rows_below: limit must be a whole number, got 'x'",
        ),
        (
            "t, rows_below(t, t.x)",
            "rows_below: limit must be a literal, got the column t.x",
        ),
        ("rows_below((SELECT y FROM t), 4)", "No field named y"),
        (
            "rows_below(t)",
            "rows_below: usage is rows_below(table, limit[, {options}]), got 1 arguments",
        ),
        ("rows_belo(t, 4)", "table function 'rows_belo' not found"),
    ] {
        let message = message(&ctx, &format!("SELECT * FROM {call}")).await;
        assert!(message.contains(expected), "{call}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn the_stock_planner_calls_by_position() -> Result<()> {
    let stock = SessionContext::new();
    for udtf in session().await?.state().table_functions().values() {
        stock.register_udtf(udtf.name(), Arc::clone(udtf.function()));
    }
    let table = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]));
    stock.register_batch("t", datafusion::arrow::array::RecordBatch::new_empty(table))?;
    let inserted = "INSERT INTO t VALUES (1), (2), (3)";
    stock.sql(inserted).await?.collect().await?;
    for (call, expected) in [
        ("rows_below(t, 3)", "2"),
        ("rows_below('t', 3, {other: 't'})", "4"),
        ("rows_below('t', (SELECT max(x) FROM t))", "2"),
        (
            "rows_below(nosuch, 3)",
            "rows_below: an existing table is required, got 'datafusion.public.nosuch'",
        ),
        (
            "t, rows_below(t, t.x)",
            "rows_below: limit must be a literal, got the column t.x",
        ),
    ] {
        let sql = format!("SELECT count(*) FROM {call}");
        let came = match value(&stock, &sql).await {
            Ok(value) => value,
            Err(error) => error.strip_backtrace(),
        };
        assert!(came.contains(expected), "{call}: {came}");
    }
    // Calls with other arguments are told apart.
    let sql =
        "SELECT (SELECT max(x) FROM rows_below(t, 3)) + (SELECT max(x) FROM rows_below(t, 2))";
    assert_eq!(value(&stock, sql).await?, "3");
    Ok(())
}
