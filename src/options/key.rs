//! An option under its Rust type, so that whoever uses it can neither misspell nor misread it.

use std::fmt;
use std::marker::PhantomData;

use polysema_kernels::network::activation::Activation;
use polysema_kernels::sae::{Decay, Init, Reduction};

use super::spec::{Instead, Kind, OtherWord, Rule, Spec, Usual, Value};

/// An option whose values are of type `T`; an `Option` where it may have none.
pub struct Key<T> {
    /// Its line of the table.
    pub spec: Spec,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)
    }
}

impl<T> Key<T> {
    /// A line of a table.
    pub const fn new(name: &'static str, kind: Kind, usual: Usual, meaning: &'static str) -> Self {
        let spec = Spec {
            name,
            kind,
            usual,
            instead: &[],
            meaning,
            rules: &[],
        };
        let of = PhantomData;
        Self { spec, of }
    }

    /// The same with other options it goes with.
    pub const fn rules(mut self, rules: &'static [Rule]) -> Self {
        self.spec.rules = rules;
        self
    }

    /// The same option of a function where something else holds when it is left out.
    pub const fn usually(mut self, usual: Usual) -> Self {
        self.spec.usual = usual;
        self
    }

    /// The same where other things hold when it is left out and another option is so.
    pub const fn instead(mut self, instead: &'static [Instead]) -> Self {
        self.spec.instead = instead;
        self
    }
}

impl Key<usize> {
    /// A whole number that counts something.
    pub const fn count(
        name: &'static str,
        from: u64,
        to: u64,
        usual: u64,
        meaning: &'static str,
    ) -> Self {
        Self::new(name, Kind::Whole { from, to }, Usual::Whole(usual), meaning)
    }
}

impl Key<bool> {
    /// True or false, false when left out.
    pub const fn flag(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::Flag, Usual::Flag(false), meaning)
    }
}

impl<T: Word> Key<T> {
    /// A word.
    pub const fn word(name: &'static str, usual: Usual, meaning: &'static str) -> Self {
        Self::new(name, Kind::Words(words::<T>, other::<T>), usual, meaning)
    }
}

impl<T: Word> Key<Option<T>> {
    /// A word that may be left out.
    pub const fn some_word(name: &'static str, usual: Usual, meaning: &'static str) -> Self {
        Self::new(name, Kind::Words(words::<T>, other::<T>), usual, meaning)
    }
}

/// The words of a type.
fn words<T: Word>() -> Vec<&'static str> {
    T::words().into_iter().map(|(word, _)| word).collect()
}

/// Its word for another one.
fn other<T: Word>(word: &str) -> OtherWord {
    T::other(word).map(|meant| meant.map(T::name))
}

/// A type whose values are words of SQL.
pub trait Word: Copy + PartialEq + 'static {
    /// The words and what they mean.
    fn words() -> Vec<(&'static str, Self)>;

    /// What a word that other tools have for one means, or why it is none of these.
    fn other(_: &str) -> Option<Result<Self, &'static str>> {
        None
    }

    /// The word for this.
    fn name(self) -> &'static str {
        let words = Self::words();
        let found = words.iter().find(|(_, meaning)| *meaning == self);
        found.map_or("", |(word, _)| word)
    }

    /// What a word means.
    fn parse(word: &str) -> Option<Self> {
        let mut words = Self::words().into_iter();
        words
            .find(|(known, _)| *known == word)
            .map(|(_, meaning)| meaning)
    }
}

impl Word for Activation {
    fn words() -> Vec<(&'static str, Self)> {
        let named = Self::NAMES.iter();
        named
            .filter_map(|name| Some((*name, Self::parse(name)?)))
            .collect()
    }
}

impl Word for Init {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("uniform", Self::Uniform), ("tied", Self::Tied)]
    }
}

impl Word for Reduction {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("sum", Self::Sum), ("mean", Self::Mean)]
    }
}

impl Word for Decay {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("coupled", Self::Coupled), ("decoupled", Self::Decoupled)]
    }
}

/// A type that option values are read as.
pub trait Typed: Sized {
    /// From a checked value; `None` where it is of another type.
    fn of(value: Option<&Value>) -> Option<Self>;

    /// As a value; `None` for nothing.
    fn value(self) -> Option<Value>;
}

impl Typed for u64 {
    fn of(value: Option<&Value>) -> Option<Self> {
        match value {
            Some(Value::Whole(whole)) => Some(*whole),
            _ => None,
        }
    }

    fn value(self) -> Option<Value> {
        Some(Value::Whole(self))
    }
}

impl Typed for usize {
    fn of(value: Option<&Value>) -> Option<Self> {
        usize::try_from(u64::of(value)?).ok()
    }

    fn value(self) -> Option<Value> {
        Some(Value::Whole(self as u64))
    }
}

impl Typed for f64 {
    fn of(value: Option<&Value>) -> Option<Self> {
        match value {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn value(self) -> Option<Value> {
        Some(Value::Number(self))
    }
}

impl Typed for f32 {
    fn of(value: Option<&Value>) -> Option<Self> {
        f64::of(value).map(|number| number as f32)
    }

    fn value(self) -> Option<Value> {
        Some(Value::Number(f64::from(self)))
    }
}

impl Typed for bool {
    fn of(value: Option<&Value>) -> Option<Self> {
        match value {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    fn value(self) -> Option<Value> {
        Some(Value::Flag(self))
    }
}

impl Typed for String {
    fn of(value: Option<&Value>) -> Option<Self> {
        match value {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    fn value(self) -> Option<Value> {
        Some(Value::Text(self))
    }
}

impl Typed for Vec<usize> {
    fn of(value: Option<&Value>) -> Option<Self> {
        match value {
            Some(Value::Wholes(items)) => Some(items.iter().map(|n| *n as usize).collect()),
            _ => None,
        }
    }

    fn value(self) -> Option<Value> {
        Some(Value::Wholes(self.into_iter().map(|n| n as u64).collect()))
    }
}

impl<T: Word> Typed for T {
    fn of(value: Option<&Value>) -> Option<Self> {
        match value {
            Some(Value::Text(word)) => T::parse(word),
            _ => None,
        }
    }

    fn value(self) -> Option<Value> {
        Some(Value::Text(self.name().to_string()))
    }
}

impl<T: Typed> Typed for Option<T> {
    fn of(value: Option<&Value>) -> Option<Self> {
        match value {
            None => Some(None),
            some => T::of(some).map(Some),
        }
    }

    fn value(self) -> Option<Value> {
        self.and_then(T::value)
    }
}
