//! Joins that give the worker back: a join makes many batches out of one and asks its inputs for nothing meanwhile, so
//! that without this rule a cancelled cross join would hold its worker to the end.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use super::probe_steps::ProbeStepsExec;

/// Puts a point of return over every operator of several inputs, where the engine's own rule sees to leaves only.
#[derive(Debug)]
pub(super) struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let node = match (node.as_ref() as &dyn Any).is::<NestedLoopJoinExec>() {
                true => in_steps(node)?,
                false => node,
            };
            let yields = node.properties().scheduling_type == SchedulingType::Cooperative;
            if node.children().len() < 2 || yields {
                return Ok(Transformed::no(node));
            }
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as _))
        })
        .data()
    }

    fn name(&self) -> &str {
        "YieldingJoins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A join that compares every row of its second side with all of its first, a few rows of the second at a time: where none
/// of them matches, it would compute to the end of a batch without a point of return.
fn in_steps(join: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut sides: Vec<_> = join.children().into_iter().map(Arc::clone).collect();
    let Some(probed) = sides.pop() else {
        return Ok(join);
    };
    sides.push(Arc::new(ProbeStepsExec::new(probed)));
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    join.replace_children(sides, options)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use datafusion::physical_plan::common::collect;

    use crate::session::{Session, SessionOptions};

    /// A worker that never yields could not run the second task, nor a timer: the watch is kept from another thread.
    #[test]
    fn a_cancelled_cross_join_frees_its_worker() {
        is_freed_of("SELECT count(*) FROM {} a, {} b, {} c");
    }

    /// No two rows match, so that no batch of the answer is ever whole.
    #[test]
    fn a_cancelled_join_by_comparison_frees_its_worker() {
        is_freed_of(
            "SELECT count(*) FROM {} a, {} b, {} c WHERE a.value + b.value < c.value - 1000000",
        );
        is_freed_of(
            "SELECT count(*) FROM {} a JOIN {} b ON a.value * b.value = -1 OR a.value = b.value + 900000",
        );
    }

    fn is_freed_of(long: &'static str) {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a thread");
            let count = runtime.block_on(async {
                let folder = tempfile::tempdir().expect("a writable folder");
                let options = SessionOptions {
                    store: folder.path().to_path_buf(),
                    memory_limit: None,
                };
                let session = Session::open(options).await.expect("an empty store");
                let long = long.replace("{}", "generate_series(1, 800000)");
                let stream = session.query(&long).await.expect("a plan");
                let (began, has_begun) = tokio::sync::oneshot::channel();
                let task = tokio::spawn(async move {
                    began.send(()).expect("a waiting test");
                    collect(stream).await
                });
                has_begun.await.expect("a running task");
                task.abort();
                let ended = task.await.expect_err("a cancelled task");
                assert!(ended.is_cancelled());
                let stream = session.query("SELECT 1").await.expect("a plan");
                tokio::spawn(collect(stream)).await.expect("a free worker")
            });
            done.send(count.expect("one row").len())
                .expect("a waiting test");
        });
        assert_eq!(is_done.recv_timeout(Duration::from_secs(60)), Ok(1));
    }
}
