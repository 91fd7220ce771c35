//! One file of a commit into the cache: its bytes into `blobs/HASH.incomplete`, where an interrupted download goes on;
//! under their hash once they have it, and only then linked into the snapshot.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use datafusion::common::exec_err;
use datafusion::error::Result;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::answer::Next;
use super::cache::Repo;
use super::client::{Client, FileFacts};
use super::fetch::Fetch;
use super::name::HubName;
use crate::files::{disk, file_error, words};

/// Connections in a row that bring nothing, after which a download is given up.
const MOST_FAILURES: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);
/// Bytes hashed at a time.
const CHUNK: usize = 1 << 20;

/// A file of a commit.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a HubName,
    pub(super) commit: &'a str,
    pub(super) file: &'a str,
}

/// Fetches it, unless its bytes are there.
pub(super) fn fetch_file(
    client: &Client,
    repo: &Repo,
    wanted: Wanted<'_>,
    fetch: &mut Fetch<'_>,
) -> Result<()> {
    let Wanted { name, commit, file } = wanted;
    let facts = client.facts(name, commit, file, fetch)?;
    repo.prepare()?;
    let _lock = {
        let path = repo.lock(&facts.blob);
        let doing = format!("waiting for another process that downloads {file} of {name}");
        hold(&path, &doing, fetch)?
    };
    let blob = repo.blob(&facts.blob);
    if !blob.is_file() {
        let partial = repo.incomplete(&facts.blob);
        bring(client, wanted, &facts, &partial, fetch)?;
        verify(wanted, &facts.blob, &partial, fetch)?;
        disk::sync(&partial).map_err(|e| file_error("write", &partial, e))?;
        disk::rename(&partial, &blob).map_err(|e| file_error("write", &blob, e))?;
    }
    repo.link(commit, file, &facts.blob)
}

/// Waits until nobody else holds a file of locks.
fn hold(path: &Path, doing: &str, fetch: &mut Fetch<'_>) -> Result<std::fs::File> {
    let lock = disk::open_lock(path).map_err(|e| file_error("lock", path, e))?;
    while let Err(std::fs::TryLockError::WouldBlock) = lock.try_lock() {
        (fetch.watch)(doing)?;
        std::thread::sleep(TICK);
    }
    Ok(lock)
}

/// Brings the bytes that are not there yet.
fn bring(
    client: &Client,
    wanted: Wanted<'_>,
    facts: &FileFacts,
    partial: &Path,
    fetch: &mut Fetch<'_>,
) -> Result<()> {
    let mut failures = 0;
    loop {
        let had = length(partial);
        let why = match go_on(client, wanted, facts.size, partial, fetch)? {
            None => return Ok(()),
            Some(why) => why,
        };
        let has = length(partial);
        failures = if has > had { 1 } else { failures + 1 };
        if failures >= MOST_FAILURES {
            let Wanted { name, file, .. } = wanted;
            let of = facts
                .size
                .map_or_else(String::new, |size| format!(" of {size}"));
            return exec_err!(
                "{name}: all of {file} is required, got {has}{of} bytes and then {why}; the next call goes on from there"
            );
        }
        let started = Instant::now();
        while started.elapsed() < BETWEEN * failures {
            (fetch.watch)(&format!("waiting to go on with {}: {why}", wanted.file))?;
            std::thread::sleep(TICK);
        }
    }
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |data| data.len())
}

/// One connection's part of it; why it is not all.
fn go_on(
    client: &Client,
    wanted: Wanted<'_>,
    size: Option<u64>,
    partial: &Path,
    fetch: &mut Fetch<'_>,
) -> Result<Option<String>> {
    let Wanted { name, commit, file } = wanted;
    let failed = |e| file_error("write", partial, e);
    let mut has = length(partial);
    if size.is_some_and(|size| has > size) {
        disk::create_or_clear(partial).map_err(failed)?;
        has = 0;
    }
    if size == Some(has) && has > 0 {
        return Ok(None);
    }
    let said = |has: u64| {
        let millions = |bytes: u64| bytes as f64 / 1e6;
        let of = size.map_or_else(String::new, |size| format!(" of {:.1}", millions(size)));
        format!("downloading {file} of {name}: {:.1}{of} MB", millions(has))
    };
    let (begins, mut answer) = match client.bytes(name, (commit, file), has, &said(has), fetch) {
        Ok(answer) => answer,
        Err(error) => {
            (fetch.watch)(&said(has))?;
            return Ok(Some(words(&error)));
        }
    };
    let goes_on = begins == Some(has) && has > 0;
    let out = match goes_on {
        true => disk::open_to_append(partial),
        false => disk::create_or_clear(partial),
    };
    let mut out = out.map_err(failed)?;
    if !goes_on {
        has = 0;
    }
    if begins.is_none() {
        return Ok(Some("no bytes from there on".to_string()));
    }
    loop {
        match answer.next(&mut || (fetch.watch)(&said(has)))? {
            Next::Piece(piece) => {
                out.write_all(&piece).map_err(failed)?;
                has += piece.len() as u64;
            }
            Next::Cut(why) => return Ok(Some(why)),
            Next::End if size.is_some_and(|size| has != size) => {
                return Ok(Some("the end of the answer".to_string()));
            }
            Next::End => return Ok(None),
        }
    }
}

/// Holds the bytes against the hash that names them: SHA-256, or git's of a small file. What has another is removed.
fn verify(wanted: Wanted<'_>, hash: &str, partial: &Path, fetch: &mut Fetch<'_>) -> Result<()> {
    let mut context = match hash.len() {
        64 => Context::new(&SHA256),
        40 => {
            let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            context.update(format!("blob {}\0", length(partial)).as_bytes());
            context
        }
        // Not the hub's own: its length was held against what the answer said.
        _ => return Ok(()),
    };
    let failed = |e| file_error("read", partial, e);
    let mut file = disk::open(partial).map_err(failed)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        (fetch.watch)(&format!("checking {} of {}", wanted.file, wanted.name))?;
        match file.read(&mut chunk).map_err(failed)? {
            0 => break,
            n => context.update(&chunk[..n]),
        }
    }
    let digest = context.finish();
    let got: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if got == hash.to_lowercase() {
        return Ok(());
    }
    disk::remove_file(partial).map_err(|e| file_error("remove", partial, e))?;
    exec_err!(
        "{}: {} with the hash {hash} is required, got one with {got}, which was removed",
        wanted.name,
        wanted.file
    )
}
