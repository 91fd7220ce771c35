//! What COPY and INSERT write appears when all of it is written. DataFusion's writers finish their files also when the
//! query fails under them, so that a good file would be replaced by part of a result: here they write into a hidden
//! folder beside, and the files take their places at the end.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::plan_err;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, common,
};
use futures::{TryStreamExt, stream};
use polysema_udfs::arrow::inputs::only_input;
use tokio::sync::mpsc;

use super::blocking::blocking;
use super::redirected::{Pending, Redirecting, lock};
use super::text_files::writes_json;
use crate::files::columnar::named_twice;
use crate::policy::Policy;

/// Puts [`WholeFilesExec`] over every operator that writes.
#[derive(Debug)]
pub(super) struct WholeFiles;

impl PhysicalOptimizerRule for WholeFiles {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            if (node.as_ref() as &dyn Any).is::<WholeFilesExec>() {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
            }
            let Some(sink) = (node.as_ref() as &dyn Any).downcast_ref::<DataSinkExec>() else {
                return Ok(Transformed::no(node));
            };
            require_own_names(sink)?;
            let whole = Arc::new(WholeFilesExec { input: node });
            Ok(Transformed::new(whole, true, TreeNodeRecursion::Jump))
        })
        .data()
    }

    fn name(&self) -> &str {
        "WholeFiles"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// JSON numbers them.
fn require_own_names(writer: &DataSinkExec) -> Result<()> {
    match named_twice(&writer.input().schema()) {
        Some(said) if !writes_json(writer.sink()) => plan_err!("COPY: {said}"),
        _ => Ok(()),
    }
}

/// Runs a plan that writes files, and puts them into their places when it has ended well.
#[derive(Debug)]
struct WholeFilesExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for WholeFilesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("WholeFilesExec")
    }
}

impl ExecutionPlan for WholeFilesExec {
    fn name(&self) -> &str {
        "WholeFilesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = only_input(self.name(), children)?;
        Ok(Arc::new(Self { input }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (alive, mut gone) = mpsc::channel(1);
        let policy = context.session_config().get_extension::<Policy>();
        let pending = Pending::new(policy, alive);
        let runtime = context.runtime_env();
        let runtime = RuntimeEnv {
            object_store_registry: Arc::new(Redirecting {
                inner: Arc::clone(&runtime.object_store_registry),
                pending: Arc::downgrade(&pending),
            }),
            ..runtime.as_ref().clone()
        };
        let context = TaskContext::new(
            context.task_id(),
            context.session_id(),
            context.session_config().clone(),
            context.scalar_functions().clone(),
            context.higher_order_functions().clone(),
            context.aggregate_functions().clone(),
            context.window_functions().clone(),
            Arc::new(runtime),
        );
        let rows = self.input.execute(partition, Arc::new(context))?;
        let schema = rows.schema();
        let written = async move {
            let counts = match common::collect(rows).await {
                Ok(counts) => counts,
                Err(error) => {
                    let refused = lock(&pending.refused).take();
                    drop(pending);
                    gone.recv().await;
                    return Err(refused.unwrap_or(error));
                }
            };
            blocking(move || pending.commit()).await??;
            Ok::<_, DataFusionError>(stream::iter(counts.into_iter().map(Ok)))
        };
        let written = stream::once(written).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, written)))
    }
}
