//! `TableProvider::scan` without its price in compile time.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;

/// The plan of a scan, being made.
pub type Planning<'a> = BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>>;

/// `TableProvider::scan` of a type by its own `async fn plan` of the same arguments.
///
/// An async method of the trait stands under a where-clause for every lifetime, and under those the compiler does not
/// remember what it has proven: that expressions and plans are `Send` took it seconds for each such method, more than
/// half of the time to check a crate of them.
#[macro_export]
macro_rules! scan_by_plan {
    ($provider:ty) => {
        fn scan<'life0, 'life1, 'life2, 'life3, 'async_trait>(
            &'life0 self,
            state: &'life1 dyn ::datafusion::catalog::Session,
            projection: ::std::option::Option<&'life2 ::std::vec::Vec<usize>>,
            filters: &'life3 [::datafusion::logical_expr::Expr],
            limit: ::std::option::Option<usize>,
        ) -> $crate::arrow::provider::Planning<'async_trait>
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            'life2: 'async_trait,
            'life3: 'async_trait,
            Self: 'async_trait,
        {
            // A function within knows nothing of the where-clauses.
            fn boxed<'a>(
                provider: &'a $provider,
                state: &'a dyn ::datafusion::catalog::Session,
                projection: ::std::option::Option<&'a ::std::vec::Vec<usize>>,
                filters: &'a [::datafusion::logical_expr::Expr],
                limit: ::std::option::Option<usize>,
            ) -> $crate::arrow::provider::Planning<'a> {
                ::std::boxed::Box::pin(provider.plan(state, projection, filters, limit))
            }
            boxed(self, state, projection, filters, limit)
        }
    };
}
