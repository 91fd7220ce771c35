//! The rule that gives parts of a plan to workers: the largest parts that work on ranges of neurons and that a worker, as it
//! reads them, would do as they are.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion_distributed::DistributedCodec;
use datafusion_proto::bytes::physical_plan_from_bytes_with_proto_converter;
use datafusion_proto::physical_plan::DeduplicatingProtoConverter;

use super::codec::PlanCodec;
use super::exec::WorkersExec;
use super::pool::Workers;
use super::{fetch, nodes, told};

/// Ranges a worker has of a plan: a worker that is done with one takes another, so that no one waits for the slowest.
const RANGES_A_WORKER: usize = 4;
/// Ranges of a plan, but for one a worker.
const MOST_RANGES: usize = 64;

/// Puts a node over what workers do, which asks them.
pub struct Scatter {
    workers: Arc<Workers>,
    codec: PlanCodec,
    /// What a worker's session knows.
    known: Arc<TaskContext>,
}

impl std::fmt::Debug for Scatter {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Scatter over {} workers", self.workers.len())
    }
}

impl Scatter {
    /// Over these workers, which know what `known` has.
    pub fn new(workers: Arc<Workers>, codec: PlanCodec, known: &TaskContext) -> Self {
        let known = fetch::transport(known, &codec);
        Self {
            workers,
            codec,
            known,
        }
    }

    /// Into how many partitions a session's plans are to be made.
    pub fn partitions(workers: &Workers) -> usize {
        let workers = workers.len();
        workers * (MOST_RANGES / workers).clamp(1, RANGES_A_WORKER)
    }

    /// Whether a worker does a part of a plan; why not, where it does not. None where there is nothing to do for it.
    fn judged(
        &self,
        part: &Arc<dyn ExecutionPlan>,
    ) -> Result<Option<std::result::Result<(), String>>> {
        if !nodes::works(part)? {
            return Ok(None);
        }
        match nodes::ranges(part) {
            Some(1) => return Ok(None),
            None => {
                let why = "its rows are not those of ranges of neurons of a run".to_string();
                return Ok(Some(Err(why)));
            }
            Some(_) => {}
        }
        let fit = nodes::require_known(part).and_then(|()| self.require_the_same(part));
        Ok(Some(fit))
    }

    /// Refuses a part that does not read back as it was written, or at all: with a function of the session's own, say.
    fn require_the_same(&self, part: &Arc<dyn ExecutionPlan>) -> std::result::Result<(), String> {
        let read = || -> Result<_> {
            let range = nodes::range_of(part, 0)?;
            let written = match told::is_told(&range)? {
                true => told::narrowed(&range, false)?,
                false => range,
            };
            let bytes = fetch::bytes(Arc::clone(&written), &self.known)?;
            let config = self.known.session_config();
            let codec = DistributedCodec::new_combined_with_user(config);
            let converter = DeduplicatingProtoConverter::default();
            let read = physical_plan_from_bytes_with_proto_converter(
                &bytes,
                &self.known,
                &codec,
                &converter,
            )?;
            Ok((written, read))
        };
        let first_line = |said: String| said.lines().next().unwrap_or_default().to_string();
        let (written, read) = read().map_err(|error| first_line(error.strip_backtrace()))?;
        let lines =
            |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
        let (written, read) = (lines(&written), lines(&read));
        let differ = written.lines().zip(read.lines()).find(|(a, b)| a != b);
        match differ {
            Some((a, b)) => Err(format!("'{}' would be '{}' there", a.trim(), b.trim())),
            None if written == read => Ok(()),
            None => Err("it would be another plan there".to_string()),
        }
    }
}

impl PhysicalOptimizerRule for Scatter {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            if node.is::<WorkersExec>() {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
            }
            match self.judged(&node)? {
                Some(Ok(())) => {
                    let workers = Arc::clone(&self.workers);
                    let sent = WorkersExec::new(node, workers, self.codec.clone());
                    let sent: Arc<dyn ExecutionPlan> = Arc::new(sent);
                    Ok(Transformed::new(sent, true, TreeNodeRecursion::Jump))
                }
                // What is below may be done for it all the same.
                Some(Err(why)) if nodes::is_function(&node) => {
                    let below = node.map_children(|input| {
                        let input = self.optimize(input, &ConfigOptions::new())?;
                        Ok(Transformed::yes(input))
                    })?;
                    let here: Arc<dyn ExecutionPlan> = Arc::new(WorkersExec::here(below.data, why));
                    Ok(Transformed::new(here, true, TreeNodeRecursion::Jump))
                }
                _ => Ok(Transformed::no(node)),
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "Scatter"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
