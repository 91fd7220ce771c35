//! The options of one call, read against a table.

use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use polysema_udfs::calls::{Arguments, unknown_option};

use super::candidate::Unchecked;
use super::key::{Key, Typed};
use super::spec::{Instead, Kind, Rule, Spec, Value};

/// The options of one call: those that were given, and what holds for the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    name: &'static str,
    value: Option<Value>,
    given: bool,
}

impl Options {
    /// What holds when nothing is given.
    pub fn usual(table: &[Spec]) -> Self {
        let mut options = Self::unset(table);
        options.settle(table);
        options
    }

    fn unset(table: &[Spec]) -> Self {
        let entry = |spec: &Spec| Entry {
            name: spec.name,
            value: spec.usual.value(),
            given: false,
        };
        Self {
            entries: table.iter().map(entry).collect(),
        }
    }

    /// The options of a call in SQL; NULL is as good as left out.
    ///
    /// Errors (planning): a value outside its range, an option that goes with another one.
    pub fn of_call(table: &[Spec], arguments: &Arguments) -> Result<Self> {
        Self::of_call_beside(table, arguments, &[])
    }

    /// The same, beside the options of another table, which say nothing to whom these are for.
    pub fn of_call_beside(table: &[Spec], arguments: &Arguments, other: &[Spec]) -> Result<Self> {
        let given = arguments.options().iter();
        let beside = |name: &str| other.iter().any(|spec| spec.name == name);
        let given = given.filter(|(name, value)| !value.is_null() && !beside(name));
        let given = given.map(|(name, value)| (name.as_str(), Unchecked::of_sql(value)));
        let relations = table.iter().filter_map(|spec| {
            let relation = arguments.relation(spec.name)?;
            Some((spec.name, Unchecked::Text(relation.written.clone())))
        });
        Self::read(table, given.chain(relations)).map_err(|e| named(arguments.function(), e))
    }

    /// The options of `name=value` words, each a name and what stands behind it.
    ///
    /// Errors (planning): as [`Options::of_call`], and a name that is not in the table.
    pub fn of_words<'a>(
        table: &[Spec],
        words: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let words = words.into_iter();
        Self::read(
            table,
            words.map(|(name, word)| (name, word_of(table, name, word))),
        )
    }

    /// The options that a manifest records, of which none counts as given; what is not in the table is left aside.
    ///
    /// Errors (planning): a value outside its range.
    pub fn recorded(
        table: &[Spec],
        manifest: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self> {
        let mut options = Self::usual(table);
        for spec in table {
            if let Some(value) = manifest.get(spec.name).filter(|value| !value.is_null()) {
                let value = spec.accept(Unchecked::of_json(value))?;
                options.put(spec.name, Some(value), false);
            }
        }
        Ok(options)
    }

    fn read<'a>(table: &[Spec], given: impl Iterator<Item = (&'a str, Unchecked)>) -> Result<Self> {
        let mut options = Self::unset(table);
        for (name, candidate) in given {
            let Some(spec) = table.iter().find(|spec| spec.name == name) else {
                let names = table.iter().map(|spec| spec.name);
                return plan_err!("{}", unknown_option(names, name));
            };
            if options.is_given(spec.name) {
                return plan_err!("options are each given once, got two of '{name}'");
            }
            options.put(spec.name, Some(spec.accept(candidate)?), true);
        }
        options.settle(table);
        options.check(table)?;
        Ok(options)
    }

    /// What holds for options that are left out where it depends on others.
    fn settle(&mut self, table: &[Spec]) {
        for spec in table {
            if self.is_given(spec.name) {
                continue;
            }
            let so = |instead: &&Instead| match self.entry(instead.option) {
                Some(entry) if instead.words.is_empty() => entry.given,
                Some(Entry {
                    value: Some(Value::Text(word)),
                    ..
                }) => instead.words.contains(&word.as_str()),
                _ => false,
            };
            if let Some(instead) = spec.instead.iter().find(so) {
                self.put(spec.name, instead.usual.value(), false);
            }
        }
    }

    /// Refuses given options that go with others than these.
    pub fn check(&self, table: &[Spec]) -> Result<()> {
        for spec in table.iter().filter(|spec| self.is_given(spec.name)) {
            for rule in spec.rules {
                self.check_rule(spec.name, rule)?;
            }
        }
        Ok(())
    }

    fn check_rule(&self, name: &str, rule: &Rule) -> Result<()> {
        let (Rule::With(other, _)
        | Rule::Above0(other)
        | Rule::WithGiven(other)
        | Rule::Without(other)) = rule;
        let entry = self.entry(other);
        let value = entry.and_then(|entry| entry.value.as_ref());
        let given = entry.is_some_and(|entry| entry.given);
        let met = match (rule, value) {
            (Rule::With(_, words), Some(Value::Text(word))) => words.contains(&word.as_str()),
            (Rule::Above0(_), Some(Value::Number(x))) => *x > 0.0,
            (Rule::With(..) | Rule::Above0(_), _) => false,
            (Rule::WithGiven(_), _) => given,
            (Rule::Without(_), _) => !given,
        };
        match (met, rule, value) {
            (true, ..) => Ok(()),
            (false, Rule::Without(_), _) => {
                plan_err!("one of {name} and {other} is required, got both")
            }
            (false, _, None) => plan_err!("{name} must come with {rule}, got no {other}"),
            (false, _, Some(value)) => {
                plan_err!("{name} must come with {rule}, got {other} {value}")
            }
        }
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    fn is_given(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.given)
    }

    fn put(&mut self, name: &'static str, value: Option<Value>, given: bool) {
        let entry = Entry { name, value, given };
        match self.entries.iter_mut().find(|entry| entry.name == name) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// The value of an option: given, or what holds when it is left out.
    pub fn get<T: Typed>(&self, key: Key<T>) -> T {
        let usual = || T::of(key.spec.usual.value().as_ref());
        let value = match self.entry(key.spec.name) {
            Some(entry) => T::of(entry.value.as_ref()).or_else(usual),
            None => usual(),
        };
        value.unwrap_or_else(|| unreachable!("{} has a value of its type", key.spec.name))
    }

    /// Whether an option was given.
    pub fn given<T>(&self, key: Key<T>) -> bool {
        self.is_given(key.spec.name)
    }

    /// The first given option of these.
    pub fn any_given(&self, table: &[Spec]) -> Option<&'static str> {
        table
            .iter()
            .find(|spec| self.is_given(spec.name))
            .map(|spec| spec.name)
    }

    /// The same with an option given.
    #[must_use]
    pub fn with<T: Typed>(mut self, key: Key<T>, value: T) -> Self {
        self.put(key.spec.name, value.value(), true);
        self
    }

    /// The same with something else that holds when an option is left out.
    #[must_use]
    pub fn usually<T: Typed>(mut self, key: Key<T>, value: T) -> Self {
        if !self.given(key) {
            self.put(key.spec.name, value.value(), false);
        }
        self
    }

    /// Every option, given or not, for a manifest.
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let entries = self.entries.iter();
        let entries = entries.map(|entry| {
            let value = entry.value.as_ref().map(Value::to_json);
            (entry.name.to_string(), value.into())
        });
        entries.collect()
    }

    /// The given ones as the fields of a struct in SQL, `'context': 128`.
    pub fn to_sql(&self) -> String {
        let given = self.entries.iter().filter(|entry| entry.given);
        let given = given.filter_map(|entry| {
            let value = entry.value.as_ref()?;
            Some(format!("'{}': {value}", entry.name))
        });
        given.collect::<Vec<_>>().join(", ")
    }
}

/// A text stays one where the option is one: `column=007`. Quotes around it are the shell's.
fn word_of(table: &[Spec], name: &str, word: &str) -> Unchecked {
    let unquoted = word
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    let spec = table.iter().find(|spec| spec.name == name);
    match (unquoted, spec.map(|spec| spec.kind)) {
        (Some(text), _) => Unchecked::Text(text.to_string()),
        (None, Some(Kind::Text | Kind::Words(..) | Kind::Table | Kind::TextOrTable)) => {
            Unchecked::Text(word.to_string())
        }
        _ => Unchecked::of_word(word),
    }
}

/// An error of planning in the name of a function.
fn named(function: &str, error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Plan(message) => DataFusionError::Plan(format!("{function}: {message}")),
        other => other,
    }
}
