//! The options of a call once they are settled: those that were written, else the session's settings, else the defaults.

use datafusion::common::{Result, internal_datafusion_err, internal_err, plan_err};

use super::options::{ClusterOptions, N_TOKENS};
use crate::calls::settings::PolysemaOptions;
use crate::calls::{Arguments, Parameter};

/// The value of an option that is a function's own.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(usize),
    /// Any number.
    Number(f64),
    /// Text.
    Text(String),
    /// True or false.
    Flag(bool),
}

/// All options of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundOptions {
    /// How examples are compared and clustered.
    pub clustering: ClusterOptions,
    own: Vec<(&'static str, Value)>,
}

impl BoundOptions {
    pub(super) fn new(clustering: ClusterOptions) -> Self {
        Self {
            clustering,
            own: vec![],
        }
    }

    /// With an option more.
    pub fn add(&mut self, parameter: Parameter, value: Value) {
        self.own.push((parameter.name, value));
    }

    /// With an option more, a whole number from `least` on; nothing where there is neither a value nor a usual one.
    ///
    /// Errors (planning): a lesser number.
    pub fn add_count(
        &mut self,
        arguments: &Arguments,
        parameter: Parameter,
        least: i64,
        usual: Option<i64>,
    ) -> Result<()> {
        let name = parameter.name;
        match arguments.integer(name)?.or(usual) {
            None => {}
            Some(n) if n >= least => {
                let n = usize::try_from(n).unwrap_or(usize::MAX);
                self.add(parameter, Value::Count(n));
            }
            Some(n) => {
                let function = arguments.function();
                return plan_err!("{function}: {name} must be at least {least}, got {n}");
            }
        }
        Ok(())
    }

    fn own(&self, name: &str) -> Option<&Value> {
        let mut own = self.own.iter();
        own.find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// A whole number that the function has.
    pub fn count(&self, name: &str) -> Result<usize> {
        let none = || internal_datafusion_err!("a whole number {name} is required, got none");
        self.given_count(name).ok_or_else(none)
    }

    /// A whole number, where one was given.
    pub fn given_count(&self, name: &str) -> Option<usize> {
        match self.own(name) {
            Some(Value::Count(n)) => Some(*n),
            _ => None,
        }
    }

    /// A number that the function has.
    pub fn number(&self, name: &str) -> Result<f64> {
        match self.own(name) {
            Some(Value::Number(x)) => Ok(*x),
            other => internal_err!("a number {name} is required, got {other:?}"),
        }
    }

    /// A text that the function has.
    pub fn text(&self, name: &str) -> Result<&str> {
        match self.own(name) {
            Some(Value::Text(text)) => Ok(text),
            other => internal_err!("a text {name} is required, got {other:?}"),
        }
    }

    /// Whether an option of the function is set.
    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.own(name), Some(Value::Flag(true)))
    }

    /// The function's own options.
    pub(super) fn all_own(&self) -> &[(&'static str, Value)] {
        &self.own
    }

    /// These options, of which some are the function's own.
    pub(super) fn of(clustering: ClusterOptions, own: Vec<(&'static str, Value)>) -> Self {
        Self { clustering, own }
    }

    /// The function's own options, as EXPLAIN shows them.
    pub(super) fn describe_own(&self) -> impl Iterator<Item = String> {
        self.own.iter().map(|(name, value)| match value {
            Value::Count(n) => format!("{name}={n}"),
            Value::Number(x) => format!("{name}={x}"),
            Value::Text(text) => format!("{name}='{text}'"),
            Value::Flag(flag) => format!("{name}={flag}"),
        })
    }
}

/// Settles the option `n_tokens`.
pub fn n_tokens(
    arguments: &Arguments,
    _: &PolysemaOptions,
    options: &mut BoundOptions,
) -> Result<()> {
    options.add_count(arguments, N_TOKENS, 1, Some(5))
}
