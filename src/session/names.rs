//! The names of a statement: in FROM those before an opening parenthesis are functions, the others tables or files;
//! elsewhere functions of values.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::common::{Span, TableReference};
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{self, ObjectName, TableFactor, Visit, Visitor};

/// What a statement names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Before an opening parenthesis.
    pub calls: HashSet<TableReference>,
    /// Alone.
    pub tables: HashSet<TableReference>,
    /// Where those stand that have a place.
    pub places: HashMap<TableReference, Span>,
    /// Functions where a value stands.
    pub values: HashSet<TableReference>,
}

impl Names {
    /// Those of a statement, of its subqueries and of the statement that it prepares or explains.
    pub(super) fn of(statement: &Statement) -> Self {
        let mut names = Self::default();
        visit(statement, &mut names);
        names
    }
}

/// Walks through a statement, its subqueries and the statement that it prepares or explains.
pub(super) fn visit(statement: &Statement, visitor: &mut impl Visitor) {
    match statement {
        Statement::Statement(inner) => {
            let _ = inner.visit(visitor);
        }
        Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => {
                let _ = query.visit(visitor);
            }
            CopyToSource::Relation(_) => {}
        },
        Statement::Explain(explain) => visit(&explain.statement, visitor),
        _ => {}
    }
}

/// The name of what a statement makes, which need not be there.
pub(super) fn made(statement: &Statement) -> Option<TableReference> {
    let name = match statement {
        Statement::CreateExternalTable(create) => &create.name,
        Statement::Statement(inner) => match inner.as_ref() {
            ast::Statement::CreateTable(create) => &create.name,
            ast::Statement::CreateView(create) => &create.name,
            _ => return None,
        },
        _ => return None,
    };
    reference(name)
}

impl Names {
    fn add_table(&mut self, name: &ObjectName) {
        let Some(table) = reference(name) else {
            return;
        };
        let first = name.0.first().and_then(|part| part.as_ident());
        if let Some(span) = first.and_then(|first| Span::try_from_sqlparser_span(first.span)) {
            self.places.entry(table.clone()).or_insert(span);
        }
        self.tables.insert(table);
    }
}

/// The table of a name, in small letters where it has no quotes.
pub(super) fn reference(name: &ObjectName) -> Option<TableReference> {
    object_name_to_table_reference(name.clone(), true).ok()
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name, args: None, ..
            } => self.add_table(name),
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => {
                self.calls.extend(reference(name));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Function(function) = expression {
            self.values.extend(reference(&function.name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<()> {
        if let ast::Statement::ExplainTable { table_name, .. } = statement {
            self.add_table(table_name);
        }
        ControlFlow::Continue(())
    }
}
