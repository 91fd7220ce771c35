//! The one list of chapters; registration and every printed table of functions are made from it.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::context::SessionContext;

use crate::calls::settings::PolysemaOptions;
use crate::calls::{self, Callable, Function, Implementation};
use crate::functions::{cluster, examples, neuron, polysemanticity, similarity, vector};
use crate::per_neuron::{BoundCall, KnownNames, per_neuron};
use crate::similarity::members::MEMBERS;

/// All functions, chapter by chapter in reading order.
pub fn functions() -> Vec<Function> {
    [
        vector::functions(),
        neuron::functions(),
        examples::functions(),
        cluster::functions(),
        polysemanticity::functions(),
        similarity::functions(),
    ]
    .concat()
}

/// Gives a session every function of the plugin and the settings `polysema.*`.
pub fn register_all(ctx: &SessionContext) -> Result<()> {
    register(ctx, &functions())
}

/// Gives a session these functions, by position and with named arguments, and the settings `polysema.*`.
pub fn register(ctx: &SessionContext, functions: &[Function]) -> Result<()> {
    let state = ctx.state_ref();
    let mut state = state.write();
    let extensions = &mut state.config_mut().options_mut().extensions;
    if extensions.get::<PolysemaOptions>().is_none() {
        extensions.insert(PolysemaOptions::default());
    }
    drop(state);
    let mut calls = Vec::new();
    for function in functions {
        match &function.implementation {
            Implementation::Scalar(udf) => ctx.register_udf(udf.as_ref().clone()),
            Implementation::Aggregate(udaf) => ctx.register_udaf(udaf.as_ref().clone()),
            Implementation::Table(table) => calls.push(Callable {
                doc: function.doc,
                function: Arc::clone(table),
            }),
        }
    }
    calls::register(ctx, calls)
}

/// The name of a function or a parameter, as these functions have it.
pub fn known_name(name: &str, functions: &[Function]) -> Option<&'static str> {
    let names = functions.iter().flat_map(|Function { doc, .. }| {
        let parameters = doc.arguments.iter().chain(doc.options);
        parameters.map(|parameter| parameter.name).chain([doc.name])
    });
    names.into_iter().find(|known| *known == name)
}

/// A call that came as [`BoundCall::texts`], of these functions.
///
/// Errors: a function or an option that they do not have.
pub fn call_of_texts(texts: &[(String, String)], functions: &[Function]) -> Result<BoundCall> {
    let declared = |name: &str| {
        let per_neuron = functions.iter().filter_map(per_neuron);
        // What no function of SQL gives as it is.
        let mut declared = per_neuron.chain([&MEMBERS]);
        declared.find(|function| function.name == name)
    };
    let known = KnownNames {
        names: &|name| known_name(name, functions),
        functions: &declared,
    };
    BoundCall::of_texts(texts, &known)
}

/// The functions as a Markdown table: how each is called and what it gives.
pub fn markdown(functions: &[Function]) -> String {
    let mut table = "| function | what it gives |\n|---|---|\n".to_string();
    for Function { doc, .. } in functions {
        table += &format!("| `{}` | {} |\n", doc.signature(), doc.summary);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_documented() {
        let mut names = HashSet::new();
        for Function { doc, .. } in functions() {
            assert!(names.insert(doc.name), "{} stands twice", doc.name);
            assert!(
                doc.summary.ends_with('.'),
                "{}: the summary is a sentence",
                doc.name
            );
            assert!(
                doc.example.to_uppercase().starts_with("SELECT"),
                "{}: the example is a query",
                doc.name
            );
            assert!(doc.required <= doc.arguments.len(), "{}", doc.name);
        }
    }

    #[test]
    fn a_builtin_is_replaced_only_where_the_document_says_so() {
        let ctx = SessionContext::new();
        let state = ctx.state();
        for Function { doc, .. } in functions() {
            let builtin = state.scalar_functions().contains_key(doc.name)
                || state.aggregate_functions().contains_key(doc.name)
                || state.table_functions().contains_key(doc.name);
            assert_eq!(builtin, doc.replaces.is_some(), "{}", doc.name);
        }
    }
}
