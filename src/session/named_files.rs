//! Files as tables: a name in FROM that no table has is the path of a file, of a folder of Parquet files or a pattern of
//! files, from the working folder on. It is looked up when the statement is planned, under the session's policy.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, absolute};
use std::sync::{Arc, LazyLock};

use datafusion::catalog::TableProvider;
use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use futures::TryStreamExt;
use url::Url;

use super::blocking::blocking;
use super::redirected::file_of;
use crate::files::{json, regular};
use crate::policy::{self, Access};

/// An ending, the format of the engine that reads it, an option of that with its value.
type ReadAs = (
    &'static str,
    &'static str,
    Option<(&'static str, &'static str)>,
);

const PARQUET: ReadAs = ("parquet", "parquet", None);
const FORMATS: [ReadAs; 7] = [
    PARQUET,
    ("csv", "csv", None),
    ("tsv", "csv", Some(("format.delimiter", "\t"))),
    ("json", "json", None),
    ("jsonl", "json", None),
    ("ndjson", "json", None),
    ("arrow", "arrow", None),
];
/// Of a .json file that is one array, in place of a value a line.
const ARRAY: (&str, &str) = ("format.newline_delimited", "false");
/// Bytes of a file that are looked at for the line that is no JSON. Chosen, not tuned.
const LOOKED_AT: u64 = 64 << 20;
/// Letters of a pattern.
const PATTERN: [char; 3] = ['*', '?', '['];

/// Whether a name that is no table's can only be meant for a file.
pub(super) fn is_path(name: &str) -> bool {
    let is_letter = |letter| matches!(letter, '.' | '/') || PATTERN.contains(&letter);
    name.contains(is_letter)
}

/// The endings that are read, for messages.
pub(super) static ENDINGS: LazyLock<String> = LazyLock::new(|| {
    let [before @ .., last] = FORMATS.map(|(ending, ..)| format!(".{ending}"));
    format!("{} or {last}", before.join(", "))
});

/// The format of the engine and its option for a file of this name.
pub(super) fn read_as(name: &str) -> Option<(&'static str, Option<(&'static str, &'static str)>)> {
    format_of(name).map(|((_, format, option), _)| (format, option))
}

/// Whether the last part of a name is an ending that is read.
pub(super) fn is_file_name(ending: &str) -> bool {
    format_of(&format!(".{ending}")).is_some()
}

/// What a path is on the disk.
enum Found {
    File { is_array: bool },
    Folder,
    Nothing,
}

fn look(path: &Path) -> Result<Found> {
    let Ok(data) = fs::metadata(path) else {
        return Ok(Found::Nothing);
    };
    if data.is_dir() {
        return Ok(Found::Folder);
    }
    if let Some(got) = regular::device(path) {
        return plan_err!("{}: a file is required, got {got}", path.display());
    }
    let mut start = [0; 64];
    let read = regular::open(path).and_then(|mut file| file.read(&mut start));
    // One that cannot be read is refused by who reads all of it.
    let start = &start[..read.unwrap_or(0)];
    let mut letters = start.iter().filter(|byte| !byte.is_ascii_whitespace());
    Ok(Found::File {
        is_array: letters.next() == Some(&b'['),
    })
}

/// The table of a path that nobody has as a table of `schema`.
///
/// Errors (planning): the policy forbids it; there is no such file, or none that can be read as a table.
pub(super) async fn open(
    state: &SessionState,
    schema: &str,
    name: &str,
) -> Result<Arc<dyn TableProvider>> {
    policy::require(state, &format!("FROM '{name}'"), &[Access::ReadFiles])?;
    if let Some((scheme, _)) = name.split_once("://") {
        return plan_err!(
            "FROM: a file of this machine, by its path, is required, got '{name}': nothing here reads {scheme}: addresses"
        );
    }
    let path = absolute(name).map_err(|e| plan_datafusion_err!("FROM '{name}': {e}"))?;
    let of_disk = path.clone();
    let found = blocking(move || look(&of_disk)).await??;
    let (format, ending) = match (&found, format_of(name)) {
        (Found::Folder, _) => (PARQUET, PARQUET.0.to_string()),
        (_, Some(known)) => known,
        (_, None) => {
            return plan_err!(
                "FROM: a table of {schema}, a folder of .parquet files or a file that ends in {} is required, got \
                 '{name}'",
                ENDINGS.as_str()
            );
        }
    };
    let url = match found {
        // Not as a pattern, whatever its name.
        Found::File { .. } => ListingTableUrl::try_new(url_of(&path, name)?, None)?,
        Found::Folder => ListingTableUrl::parse(format!("{}/", path.display()))?,
        Found::Nothing if name.contains(PATTERN) => {
            ListingTableUrl::parse(path.display().to_string())?
        }
        Found::Nothing => {
            let folder = path.parent().unwrap_or(&path).display();
            return plan_err!(
                "FROM: an existing file is required, got '{name}', which {folder} has not"
            );
        }
    };
    let is_array = matches!(found, Found::File { is_array: true }) && format.1 == "json";
    let options = format.2.into_iter().chain(is_array.then_some(ARRAY));
    let options: HashMap<_, _> = options
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    let Some(factory) = state.get_file_format_factory(format.1) else {
        return plan_err!(
            "FROM: a session that reads .{ending} is required, got one that does not"
        );
    };
    let listing = ListingOptions::new(factory.create(state, &options)?)
        .with_file_extension(format!(".{ending}"));
    table(state, name, url, listing).await
}

/// The format of the files of a name and how the name ends.
fn format_of(name: &str) -> Option<(ReadAs, String)> {
    let (_, ending) = name.rsplit_once('.')?;
    let mut known = FORMATS.into_iter();
    let format = known.find(|(known, ..)| ending.eq_ignore_ascii_case(known))?;
    Some((format, ending.to_string()))
}

fn url_of(path: &Path, name: &str) -> Result<Url> {
    Url::from_file_path(path)
        .map_err(|()| plan_datafusion_err!("FROM: a path is required, got '{name}'"))
}

/// The error of a file that cannot be read as its ending says.
fn unreadable<T>(name: &str, ending: &str, file: &Path, error: &DataFusionError) -> Result<T> {
    let own = absolute(name).is_ok_and(|path| path == file);
    let named = if own {
        name.to_string()
    } else {
        file.display().to_string()
    };
    let text = error.find_root().strip_backtrace();
    // A reader of lines counts them one by one.
    let text = match is_of_lines(ending).then(|| bad_line(file)).flatten() {
        Some((number, fault)) => format!("line {number}: {fault}"),
        None => text,
    };
    plan_err!("FROM: a {ending} file that can be read is required, got '{named}': {text}")
}

fn is_of_lines(ending: &str) -> bool {
    read_as(ending).is_some_and(|(format, _)| format == "json")
}

/// The first line that is no JSON, with its fault, of those that are looked at.
fn bad_line(file: &Path) -> Option<(usize, String)> {
    let lines = BufReader::new(regular::open(file).ok()?.take(LOOKED_AT)).lines();
    lines.enumerate().find_map(|(i, line)| {
        let line = line.ok().filter(|line| !line.trim().is_empty())?;
        // The first of an array is no object.
        if line.trim_start().starts_with('[') {
            return None;
        }
        let fault = serde_json::from_str::<serde::de::IgnoredAny>(&line).err()?;
        Some((i + 1, json::fault_of_line(&fault)))
    })
}

async fn table(
    state: &SessionState,
    name: &str,
    url: ListingTableUrl,
    listing: ListingOptions,
) -> Result<Arc<dyn TableProvider>> {
    let ending = &listing.file_extension;
    let store = state.runtime_env().object_store(&url)?;
    let files = url.list_all_files(state, &store, ending).await?;
    let files: Vec<_> = files.try_collect().await?;
    if files.is_empty() {
        return plan_err!("FROM: a file that ends in {ending} is required, got none in '{name}'");
    }
    let columns = match listing.infer_schema(state, &url).await {
        Ok(columns) => columns,
        Err(error) => {
            for file in &files {
                let one = std::slice::from_ref(file);
                if let Err(error) = listing.format.infer_schema(state, &store, one).await {
                    let file = file_of(&file.location);
                    return unreadable(name, ending, &file, &error);
                }
            }
            // Each alone can be read.
            return plan_err!(
                "FROM: files of the same columns are required, got '{name}': {}",
                error.find_root().strip_backtrace()
            );
        }
    };
    let config = ListingTableConfig::new(url)
        .with_listing_options(listing)
        .with_schema(columns);
    Ok(Arc::new(ListingTable::try_new(config)?))
}
