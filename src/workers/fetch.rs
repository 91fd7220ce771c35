//! One range of a plan done by one worker: the plan goes there, its rows come back.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{exec_datafusion_err, exec_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{
    DistributedConfig, DistributedExt, ExecuteTaskRequest, MaybeEncoded, ProducerHead,
    SetPlanRequest, TaskKey, WorkerToCoordinatorMsg,
};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::address::is_here;
use super::codec::PlanCodec;
use super::headers;
use super::loss::is_lost;
use super::payload::MOST_PLAN;
use super::pool::OneWorker;

/// The rows of a range as they come. The worker ends its work when this is dropped.
pub(super) struct Fetched {
    pub(super) rows: BoxStream<'static, Result<RecordBatch>>,
    _answers: BoxStream<'static, Result<WorkerToCoordinatorMsg>>,
    _end: oneshot::Sender<()>,
}

/// What writes and reads plans in a statement's context, whose memory what is on its way takes.
pub(super) fn transport(context: &TaskContext, codec: &PlanCodec) -> Arc<TaskContext> {
    let config = SessionConfig::new()
        .with_option_extension(DistributedConfig::default())
        .with_distributed_user_codec(codec.clone());
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        config,
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    ))
}

/// A plan as bytes.
///
/// Errors: it has more than a worker takes.
pub(super) fn bytes(plan: Arc<dyn ExecutionPlan>, transport: &Arc<TaskContext>) -> Result<Vec<u8>> {
    let bytes = MaybeEncoded::Decoded(plan).encode(transport)?;
    match bytes.len() <= MOST_PLAN {
        true => Ok(bytes),
        false => exec_err!(
            "a plan of at most {MOST_PLAN} bytes is required for a worker, got {}",
            bytes.len()
        ),
    }
}

/// Begins the only partition of a plan on a worker.
pub(super) async fn begin(
    worker: &OneWorker,
    plan: Vec<u8>,
    settings: &SessionConfig,
    transport: &Arc<TaskContext>,
) -> Result<Fetched> {
    let mut client = worker.client();
    let headers = headers::written(settings, !is_here(&worker.url))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let task_key = TaskKey {
        query_id: Uuid::new_v4(),
        stage_id: 1,
        task_number: 0,
    };
    let plan = SetPlanRequest {
        task_key,
        task_count: 1,
        plan: MaybeEncoded::Encoded(plan),
        work_unit_feed_declarations: vec![],
        target_worker_url: worker.url.clone(),
        query_start_time_ns: now.map_or(0, |now| now.as_nanos() as usize),
    };
    // Nothing is said until all is over.
    let (end, ended) = oneshot::channel::<()>();
    let said = stream::once(ended).filter_map(|_| async { None }).boxed();
    let metrics = ExecutionPlanMetricsSet::new();
    let answers = client.coordinator_channel(headers.clone(), plan, said, metrics, transport);
    let answers = answers.await.map_err(|error| match is_lost(&error) {
        true => error,
        // It has not begun: what is wrong is wrong there.
        false => exec_datafusion_err!("worker {}: {}", worker.url, error.strip_backtrace()),
    })?;
    let task = ExecuteTaskRequest {
        task_key,
        target_partition_start: 0,
        target_partition_end: 1,
        producer_head: ProducerHead::None,
    };
    let metrics = ExecutionPlanMetricsSet::new();
    let rows = client
        .execute_task(headers, task, metrics, transport)
        .await?;
    let Some(rows) = rows.into_iter().next() else {
        return internal_err!("the rows of a partition are required");
    };
    Ok(Fetched {
        rows,
        _answers: answers,
        _end: end,
    })
}
