//! The settings of PostgreSQL that a connection has: those that its clients send are obeyed where they mean something here,
//! taken where they say what is so anyway, and refused with the reason otherwise. `polysema.*` and `datafusion.*` are the
//! session's own.

use std::collections::BTreeMap;
use std::time::Duration;

use pgwire::error::PgWireResult;

use super::errors::{refused, state};

/// The version of PostgreSQL whose clients' questions are answered: the one the catalogue's tables were taken from.
pub(super) const POSTGRES_VERSION: &str = "17.6";

/// What a setting may be.
enum Allowed {
    /// Anything; it changes no answer.
    Any,
    /// One of these, in any case.
    One(&'static [&'static str]),
    /// A word that begins with this, in any case.
    Begins(&'static str),
    /// An integer of this range.
    Integer(i64, i64),
    /// A span of time, in milliseconds where it has no unit.
    Span,
    /// The names of schemas.
    Names,
    /// Never set.
    Fixed,
}

struct Setting {
    name: &'static str,
    default: &'static str,
    allowed: Allowed,
    /// Whether clients are told when it changes.
    told: bool,
}

const fn setting(name: &'static str, default: &'static str, allowed: Allowed) -> Setting {
    Setting {
        name,
        default,
        allowed,
        told: false,
    }
}

const fn told(name: &'static str, default: &'static str, allowed: Allowed) -> Setting {
    Setting {
        name,
        default,
        allowed,
        told: true,
    }
}

const ON: Allowed = Allowed::One(&["on", "true", "yes", "1"]);
const OFF: Allowed = Allowed::One(&["off", "false", "no", "0"]);
const SWITCH: Allowed = Allowed::One(&["on", "off", "true", "false", "yes", "no", "1", "0"]);
const ISOLATION: Allowed = Allowed::One(&[
    "read committed",
    "read uncommitted",
    "repeatable read",
    "serializable",
]);

/// The names are found in any case, and written as PostgreSQL writes them.
const SETTINGS: &[Setting] = &[
    told("application_name", "", Allowed::Any),
    setting("bytea_output", "hex", Allowed::One(&["hex"])),
    told(
        "client_encoding",
        "UTF8",
        Allowed::One(&["utf8", "utf-8", "unicode"]),
    ),
    setting("client_min_messages", "notice", Allowed::Any),
    told("DateStyle", "ISO, MDY", Allowed::Begins("iso")),
    setting("default_table_access_method", "heap", Allowed::Fixed),
    setting("default_transaction_isolation", "read committed", ISOLATION),
    told("default_transaction_read_only", "off", SWITCH),
    setting("extra_float_digits", "1", Allowed::Integer(1, 3)),
    setting("idle_in_transaction_session_timeout", "0", Allowed::Span),
    told("in_hot_standby", "off", Allowed::Fixed),
    told("integer_datetimes", "on", Allowed::Fixed),
    told("IntervalStyle", "postgres", Allowed::One(&["postgres"])),
    told("is_superuser", "off", Allowed::Fixed),
    setting("jit", "off", OFF),
    setting("lock_timeout", "0", Allowed::Span),
    setting("max_identifier_length", "63", Allowed::Fixed),
    setting("max_index_keys", "32", Allowed::Fixed),
    setting("row_security", "on", SWITCH),
    told("scram_iterations", "4096", Allowed::Fixed),
    told("search_path", "\"$user\", public", Allowed::Names),
    told("server_encoding", "UTF8", Allowed::Fixed),
    told("server_version", POSTGRES_VERSION, Allowed::Fixed),
    setting("server_version_num", "170006", Allowed::Fixed),
    told("session_authorization", "", Allowed::Fixed),
    told("standard_conforming_strings", "on", ON),
    setting("statement_timeout", "0", Allowed::Span),
    told("TimeZone", "UTC", Allowed::Any),
    setting("transaction_isolation", "read committed", ISOLATION),
    setting("transaction_read_only", "off", SWITCH),
];

/// The settings of one connection.
#[derive(Debug, Default)]
pub(super) struct PostgresSettings {
    /// What was said when the connection was made: where RESET goes back to.
    first: BTreeMap<&'static str, String>,
    changed: BTreeMap<&'static str, String>,
}

impl PostgresSettings {
    /// What a setting is now; none where PostgreSQL's clients know no such one here.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let setting = find(name)?;
        let own = self.changed.get(setting.name);
        let own = own.or_else(|| self.first.get(setting.name));
        Some(own.map_or(setting.default, String::as_str))
    }

    /// What a setting was when the connection began.
    pub(super) fn at_first(&self, name: &str) -> Option<&str> {
        let setting = find(name)?;
        let own = self.first.get(setting.name);
        Some(own.map_or(setting.default, String::as_str))
    }

    /// Every setting by its name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let value = |setting: &Setting| self.get(setting.name).unwrap_or(setting.default);
        SETTINGS
            .iter()
            .map(move |setting| (setting.name, value(setting)))
    }

    /// Those that a client is told of at the start.
    pub(super) fn told(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.all().filter(|(name, _)| is_told(name))
    }

    /// Changes one; none stands for what the connection began with. Its name as PostgreSQL writes it.
    ///
    /// Errors: no such setting, or a value that has no effect here.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) -> PgWireResult<&'static str> {
        let setting = find(name).ok_or_else(|| unknown(name))?;
        match value {
            None => {
                self.changed.remove(setting.name);
            }
            Some(value) => {
                check(setting, value)?;
                self.changed.insert(setting.name, value.to_string());
            }
        }
        Ok(setting.name)
    }

    /// What the connection begins with.
    pub(super) fn begin_with(&mut self, name: &str, value: &str) -> PgWireResult<()> {
        let name = self.set(name, Some(value))?;
        self.changed.remove(name);
        self.first.insert(name, value.to_string());
        Ok(())
    }

    /// One that nobody may set, by the server.
    pub(super) fn state(&mut self, name: &'static str, value: String) {
        self.first.insert(name, value);
    }

    /// All as the connection began with.
    pub(super) fn reset(&mut self) {
        self.changed.clear();
    }

    /// The most time a statement may take.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        let span = self.get("statement_timeout").and_then(span)?;
        (!span.is_zero()).then_some(span)
    }

    /// Whether statements may only read: what the transaction says, else what all of them do.
    pub(super) fn is_read_only(&self) -> bool {
        let own = "transaction_read_only";
        let said = self.changed.get(own).or_else(|| self.first.get(own));
        let value = said.map(String::as_str);
        let value = value.or_else(|| self.get("default_transaction_read_only"));
        let off = |value: &str| matches!(value, "off" | "false" | "no" | "0");
        value.is_some_and(|value| !off(&value.to_lowercase()))
    }
}

/// Whether clients are told when it changes.
pub(super) fn is_told(name: &str) -> bool {
    find(name).is_some_and(|setting| setting.told)
}

/// Its name as PostgreSQL writes it.
pub(super) fn written(name: &str) -> String {
    find(name).map_or(name, |setting| setting.name).to_string()
}

/// Whether it is one of PostgreSQL's.
pub(super) fn is_known(name: &str) -> bool {
    find(name).is_some()
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| setting.name.eq_ignore_ascii_case(name))
}

fn unknown(name: &str) -> pgwire::error::PgWireError {
    refused(
        state::UNDEFINED_OBJECT,
        format!(
            "SET: a setting of polysema, datafusion or PostgreSQL's clients is required, got '{name}'"
        ),
    )
}

fn check(setting: &Setting, value: &str) -> PgWireResult<()> {
    let lower = value.trim().to_lowercase();
    let (holds, required) = match setting.allowed {
        Allowed::Any | Allowed::Names => (true, String::new()),
        Allowed::One(words) => (words.contains(&lower.as_str()), words.join(", ")),
        Allowed::Begins(word) => (lower.starts_with(word), word.to_uppercase()),
        Allowed::Integer(least, most) => (
            lower
                .parse()
                .is_ok_and(|n: i64| (least..=most).contains(&n)),
            format!("{least} to {most}"),
        ),
        Allowed::Span => (
            span(&lower).is_some(),
            "a span of time, as 500, 30s, 5min".to_string(),
        ),
        Allowed::Fixed => (false, "no change".to_string()),
    };
    match holds {
        true => Ok(()),
        false => Err(refused(
            state::INVALID_PARAMETER,
            format!(
                "SET {}: {required} is required, got '{value}'",
                setting.name
            ),
        )),
    }
}

/// A span as PostgreSQL writes it; milliseconds without a unit.
fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit.trim() {
        "" | "ms" => 1,
        "us" => return Some(Duration::from_micros(number)),
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// The schemas that a search path names, without those that every session has.
pub(super) fn schemas(path: &str) -> Vec<String> {
    let names = path
        .split(',')
        .map(|name| name.trim().trim_matches(['"', '\'']));
    names
        .filter(|name| {
            !matches!(
                *name,
                "" | "$user" | "public" | "pg_catalog" | "information_schema"
            )
        })
        .map(str::to_string)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_postgresqls_units() {
        let given = ["0", "250", "30s", "5min", "1 h", "100us"];
        let expected = [0, 250, 30_000, 300_000, 3_600_000, 0].map(Some);
        let spans = given.map(|text| span(text).map(|span| span.as_millis()));
        assert_eq!(spans, expected);
        assert_eq!(
            ["", "5 m", "-1", "1e3", "99999999999999999999"].map(span),
            [None; 5]
        );
    }

    #[test]
    fn a_setting_that_would_have_no_effect_is_refused() {
        let mut settings = PostgresSettings::default();
        for (name, value) in [
            ("client_encoding", "LATIN1"),
            ("DateStyle", "German"),
            ("extra_float_digits", "-3"),
            ("server_version", "9"),
            ("work_mem", "1GB"),
        ] {
            assert!(settings.set(name, Some(value)).is_err(), "{name}");
        }
        settings.set("STATEMENT_TIMEOUT", Some("2s")).unwrap();
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(2)));
        settings.begin_with("application_name", "a").unwrap();
        settings.set("application_name", Some("b")).unwrap();
        settings.set("application_name", None).unwrap();
        assert_eq!(settings.get("Application_Name"), Some("a"));
    }
}
