//! What the engine's functions ask of their arguments alike.

use datafusion::common::{Result, plan_err};
use polysema_udfs::calls::{Arguments, Parameter, RUN};

use crate::jobs::Course;
use crate::options::{Key, Kind, Options, Spec, Usual, parameters};

/// Of every job that changes something.
const DETACH: Key<bool> = Key::flag(
    "detach",
    "whether the job goes on without a reader; its one row is then its id and function (see polysema.info.jobs and \
     cancel_job)",
);
const OF_JOBS: [Spec; 1] = [DETACH.spec];

/// The distance at which clusters are cut, of a function that clusters on the way.
pub const THRESHOLD: Key<Option<f64>> = Key::new(
    "threshold",
    Kind::Number {
        from: 0.0,
        above: false,
        to: 2.0,
        below: false,
    },
    Usual::Said("polysema.threshold"),
    "largest merge height inside a cluster",
);

/// The options of a job that changes something, as its document carries them.
pub fn job_parameters(table: &[Spec]) -> &'static [Parameter] {
    parameters(&[table, &OF_JOBS].concat())
}

/// The same of a job that reads a layer of a run.
pub fn source_parameters(table: &[Spec]) -> &'static [Parameter] {
    [job_parameters(table), &[RUN]].concat().leak()
}

/// The options of a question to a run, and the run.
pub fn run_parameters(table: &[Spec]) -> &'static [Parameter] {
    [parameters(table), &[RUN]].concat().leak()
}

/// The options of a call of such a job, without those that say how it runs.
pub fn job_options(table: &[Spec], arguments: &Arguments) -> Result<Options> {
    Options::of_call_beside(table, arguments, &OF_JOBS)
}

/// Whether a job that changes something needs a reader.
pub fn course(arguments: &Arguments) -> Result<Course> {
    Ok(match arguments.boolean(DETACH.spec.name)? {
        Some(true) => Course::Detached,
        _ => Course::Attached,
    })
}

/// Text that has to be given.
pub fn required(arguments: &Arguments, name: &str) -> Result<String> {
    match arguments.text(name)? {
        Some(text) => Ok(text),
        None => plan_err!("{}: {name} must be text, got NULL", arguments.function()),
    }
}
