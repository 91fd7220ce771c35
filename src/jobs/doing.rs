//! What the work of a statement is at, for who waits for its answer and sees no rows yet.

use std::sync::{Mutex, PoisonError};

/// Told by the jobs of a session, an extension of its configuration.
#[derive(Debug, Default)]
pub struct Doing(Mutex<String>);

impl Doing {
    pub(super) fn say(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// The latest; empty where nothing is told.
    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use datafusion::arrow::array::{Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::error::Result;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use futures::StreamExt;

    use super::*;
    use crate::jobs::{Course, Job, JobContext};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_job_is_at_is_told_until_it_ends() -> Result<()> {
        let doing = Arc::<Doing>::default();
        let config = SessionConfig::new().with_extension(Arc::clone(&doing));
        let context = SessionContext::new_with_config(config);
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let column = Arc::new(Int64Array::from(vec![1]));
        let row = RecordBatch::try_new(Arc::clone(&schema), vec![column])?;
        let (end, ends) = mpsc::channel::<()>();
        let ends = Mutex::new(ends);
        let work = move |context: &JobContext| {
            context.say("1 of 2 documents".to_string());
            context.send(Ok(row.clone()));
            // Until the sender is gone.
            let _ = ends.lock().unwrap_or_else(PoisonError::into_inner).recv();
            Ok(())
        };
        let job = Job {
            function: "job",
            operator: "JobExec",
            detail: String::new(),
            schema,
            needs: &[],
            course: Course::Answer,
            input: None,
            makes: None,
            work: Arc::new(work),
        };
        context.register_table("job", Arc::new(job))?;
        let mut rows = context
            .sql("SELECT n FROM job")
            .await?
            .execute_stream()
            .await?;
        assert!(rows.next().await.is_some());
        assert_eq!(doing.text(), "1 of 2 documents");
        drop(end);
        assert!(rows.next().await.is_none());
        assert_eq!(doing.text(), "");
        Ok(())
    }
}
