//! How many tables a statement reads, and how many queries stand inside each other, once the queries of WITH and of views stand
//! in the places of their names, where planning puts them. A name that is used twice by a name that is used twice, and so
//! on, doubles at every step: a statement of a page would be planned for years, which no timeout can end, and take all
//! memory, which nothing counts. A thousand names of which each reads the one before overflow the stack, and so do a few whose
//! expressions become one.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{TableReference, plan_err};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, ObjectName, Query, TableFactor, Visitor};

use super::names::{reference, visit};

/// Most tables read. Chosen: planned in about a second, and more than what is written out may have.
const MOST: usize = 1000;
/// Most queries inside each other. Chosen: what a thread's usual stack plans and evaluates in a build without optimisation.
const DEEPEST: usize = 100;
/// Most operators inside each other, where the expressions of such queries become one. Chosen likewise.
const OPERATORS: usize = 1000;

/// How much a query is with all that its names stand for.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    /// Tables that are read.
    reads: usize,
    /// Queries inside each other.
    depth: usize,
    /// Operators inside each other, were the expressions of those queries one.
    operators: usize,
}

impl Extent {
    const TABLE: Self = Self {
        reads: 1,
        depth: 0,
        operators: 0,
    };

    /// Takes in what stands beside it.
    fn add(&mut self, other: Self) {
        self.reads = self.reads.saturating_add(other.reads);
        self.depth = self.depth.max(other.depth);
        self.operators = self.operators.max(other.operators);
    }
}

/// Refuses a statement that would read too many tables or be too deep, before it is planned.
pub(super) fn require_few_reads(
    statement: &Statement,
    views: &HashMap<TableReference, Extent>,
) -> Result<()> {
    let Extent {
        reads,
        depth,
        operators,
    } = extent(statement, views);
    if reads > MOST {
        return plan_err!(
            "session: at most {MOST} tables read are required, with the queries of WITH and of views in the places of their names, \
             got {reads}: put a query that is named more than once into a table first"
        );
    }
    if depth > DEEPEST {
        return plan_err!(
            "session: at most {DEEPEST} queries inside each other are required, with those of WITH and of views in the places of \
             their names, got {depth}: put some of them into a table first"
        );
    }
    if operators > OPERATORS {
        return plan_err!(
            "session: at most {OPERATORS} operators inside each other are required, in the expressions of queries inside each other \
             together, got {operators}: put some of the queries into a table first"
        );
    }
    Ok(())
}

/// What each view among these is.
pub(super) async fn extents_of_views(
    state: &SessionState,
    tables: &HashSet<TableReference>,
) -> Result<HashMap<TableReference, Extent>> {
    let options = &state.config_options().catalog;
    let mut extents = HashMap::new();
    for table in tables {
        let full = (table.clone()).resolve(&options.default_catalog, &options.default_schema);
        // What is not there says so when it is planned.
        let Ok(schema) = state.schema_for_ref(full.clone()) else {
            continue;
        };
        if let Ok(Some(found)) = schema.table(&full.table).await
            && let Some(plan) = found.get_logical_plan()
        {
            extents.insert(table.clone(), extent_of(&plan)?);
        }
    }
    Ok(extents)
}

/// The extent of a plan, of which every query has one projection.
fn extent_of(plan: &LogicalPlan) -> Result<Extent> {
    let inputs = plan.inputs();
    let mut extent = match inputs.is_empty() {
        true => Extent::TABLE,
        false => Extent::default(),
    };
    for input in inputs {
        extent.add(extent_of(input)?);
    }
    plan.apply_subqueries(|query| {
        extent.add(extent_of(query)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    extent.depth += usize::from(matches!(plan, LogicalPlan::Projection(_)));
    let mut operators = 0;
    plan.apply_expressions(|expression| {
        operators = operators.max(levels(expression)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    extent.operators += operators;
    Ok(extent)
}

fn levels(expression: &Expr) -> Result<usize> {
    let mut inside = 0;
    expression.apply_children(|operand| {
        inside = inside.max(levels(operand)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(inside + 1)
}

fn extent(statement: &Statement, views: &HashMap<TableReference, Extent>) -> Extent {
    let mut extents = Extents {
        views,
        queries: vec![Counted::default()],
        most: Extent::default(),
    };
    visit(statement, &mut extents);
    extents.most
}

/// What is known of a query while it is walked through.
#[derive(Debug, Default)]
struct Counted {
    /// Of what stands in it.
    extent: Extent,
    /// Expressions that are open, and the most that were.
    open: usize,
    operators: usize,
    /// Names of its WITH, the next one last; their queries are walked through before all others in it.
    to_come: Vec<TableReference>,
    /// Those that have come.
    named: HashMap<TableReference, Extent>,
}

struct Extents<'a> {
    views: &'a HashMap<TableReference, Extent>,
    /// What stands inside what, the statement first.
    queries: Vec<Counted>,
    /// Of the largest query, which may be one of WITH that nothing names: it is planned, too.
    most: Extent,
}

impl Extents<'_> {
    fn add(&mut self, extent: Extent) {
        if let Some(query) = self.queries.last_mut() {
            query.extent.add(extent);
            self.most.reads = self.most.reads.max(query.extent.reads);
        }
    }

    fn of(&self, table: &TableReference) -> Extent {
        let mut named = self.queries.iter().rev().map(|query| &query.named);
        let named = named.find_map(|named| named.get(table));
        *named
            .or_else(|| self.views.get(table))
            .unwrap_or(&Extent::TABLE)
    }
}

impl Visitor for Extents<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let names = query
            .with
            .iter()
            .flat_map(|with| with.cte_tables.iter().rev());
        let names = names.map(|with| ObjectName::from(vec![with.alias.name.clone()]));
        let to_come = names.filter_map(|name| reference(&name)).collect();
        self.queries.push(Counted {
            to_come,
            ..Counted::default()
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        let query = self.queries.pop().unwrap_or_default();
        let mut extent = query.extent;
        extent.depth += 1;
        extent.operators += query.operators;
        self.most.depth = self.most.depth.max(extent.depth);
        self.most.operators = self.most.operators.max(extent.operators);
        match self.queries.last_mut() {
            Some(outer) if !outer.to_come.is_empty() => {
                extent.reads = extent.reads.max(1);
                let name = outer.to_come.pop();
                outer.named.extend(name.map(|name| (name, extent)));
            }
            _ => self.add(extent),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name, args: None, ..
        } = factor
            && let Some(table) = reference(name)
        {
            self.add(self.of(&table));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _: &ast::Expr) -> ControlFlow<()> {
        if let Some(query) = self.queries.last_mut() {
            query.open += 1;
            query.operators = query.operators.max(query.open);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &ast::Expr) -> ControlFlow<()> {
        if let Some(query) = self.queries.last_mut() {
            query.open = query.open.saturating_sub(1);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn parsed(sql: &str) -> Statement {
        let statement = DFParser::parse_sql(sql).expect(sql).pop_front();
        statement.expect("one")
    }

    /// How many tables it reads with a view `v` of 400.
    fn reads(sql: &str) -> usize {
        let view = Extent {
            reads: 400,
            ..Extent::TABLE
        };
        extent(
            &parsed(sql),
            &HashMap::from([(TableReference::bare("v"), view)]),
        )
        .reads
    }

    #[test]
    fn names_are_as_large_as_what_they_stand_for() {
        let doubled = "WITH a AS (SELECT 1), b AS (SELECT * FROM a, t), c AS (SELECT * FROM b x JOIN b y USING (k))";
        for (sql, expected) in [
            ("SELECT 1", 0),
            (
                "SELECT * FROM t, s.u JOIN (SELECT * FROM w) ON (SELECT true FROM z)",
                4,
            ),
            (&format!("{doubled} SELECT * FROM c"), 4),
            (
                &format!("{doubled} SELECT (SELECT k FROM c), * FROM C, \"C\""),
                9,
            ),
            (
                &format!("EXPLAIN {doubled} SELECT * FROM c UNION SELECT * FROM c"),
                8,
            ),
            (&format!("CREATE TABLE x AS {doubled} SELECT * FROM c"), 4),
            (&format!("PREPARE p AS {doubled} SELECT * FROM c"), 4),
            (&format!("COPY ({doubled} SELECT * FROM c) TO 'f.csv'"), 4),
            (&format!("INSERT INTO x {doubled} SELECT * FROM c"), 4),
            // Of one that nothing uses, too: it is planned.
            (&format!("{doubled} SELECT 1"), 4),
            // The inner name hides the outer one, and ends with its query.
            (
                &format!(
                    "{doubled} SELECT * FROM (WITH c AS (SELECT * FROM t) SELECT * FROM c, c d), c"
                ),
                6,
            ),
            (
                "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM r, r s) SELECT * FROM r",
                2,
            ),
            ("SELECT * FROM v, V w", 800),
            ("WITH v AS (SELECT 1) SELECT * FROM v, s.v", 2),
        ] {
            assert_eq!(reads(sql), expected, "{sql}");
        }
    }

    #[test]
    fn what_doubles_is_refused() {
        let doubled = |n: usize| {
            let mut sql = "WITH t0 AS (SELECT * FROM t)".to_string();
            for i in 0..n {
                let next = i + 1;
                sql += &format!(", t{next} AS (SELECT * FROM t{i} UNION ALL SELECT * FROM t{i})");
            }
            format!("{sql} SELECT * FROM t{n}")
        };
        let refused = |sql: &str| require_few_reads(&parsed(sql), &HashMap::new()).is_err();
        assert!(!refused(&doubled(9)) && refused(&doubled(10)) && refused(&doubled(200)));
    }

    #[test]
    fn depth_is_counted_through_names() {
        let depth = |sql: &str| extent(&parsed(sql), &HashMap::new()).depth;
        assert_eq!(depth("SELECT * FROM t"), 1);
        assert_eq!(depth("SELECT * FROM (SELECT (SELECT 1)), (SELECT 1)"), 3);
        let names =
            "WITH a AS (SELECT 1), b AS (SELECT * FROM a), c AS (SELECT * FROM (SELECT * FROM b))";
        assert_eq!(depth(&format!("{names} SELECT * FROM a")), 4);
        assert_eq!(
            depth(&format!(
                "{names} SELECT * FROM t WHERE k IN (SELECT k FROM c)"
            )),
            6
        );
    }

    #[test]
    fn operators_are_counted_through_names() {
        let operators = |sql: &str| extent(&parsed(sql), &HashMap::new()).operators;
        assert_eq!(operators("SELECT * FROM t"), 0);
        assert_eq!(operators("SELECT a + 1 * b, c FROM t WHERE NOT a"), 3);
        assert_eq!(
            operators("SELECT a + 1 FROM (SELECT b - 1 + 2 AS a FROM t)"),
            5
        );
        let names = "WITH x AS (SELECT a + 1 AS a FROM t), y AS (SELECT -a AS a FROM x)";
        assert_eq!(operators(&format!("{names} SELECT a FROM y, x")), 5);
    }
}
