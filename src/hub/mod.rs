//! Names of the Hugging Face hub, `hf:ORG/NAME[@REVISION][/PATH]`: found in the hub's local cache, which `huggingface_hub`
//! shares, or downloaded into it. A revision that is in the cache is not asked for again, nor what a commit has.

mod agent;
mod answer;
mod cache;
mod certificates;
mod client;
mod download;
mod environment;
mod fetch;
mod name;

use std::path::{Path, PathBuf};

use datafusion::error::Result;

use crate::files::{invalid, words};
pub use agent::web_agent;
use cache::Repo;
use client::{Client, CommitFiles};
use download::{Wanted, fetch_file};
use environment::Environment;
pub use fetch::{Fetch, Watch};
pub use name::{HubKind, HubName, is_hub_name};

/// What a commit offers.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Its files, as far as they are known, by their paths in the repository.
    pub files: &'a [String],
    /// What the name says behind the repository: no file of it. Empty if it says nothing.
    pub path: &'a str,
    /// Where the files that were fetched are.
    pub folder: &'a Path,
}

impl<'a> Offered<'a> {
    /// A path below the one of the name.
    pub fn within(&self, file: &str) -> String {
        match self.path {
            "" => file.to_string(),
            path => format!("{path}/{file}"),
        }
    }

    /// Whether there is such a file below the path of the name.
    pub fn has(&self, file: &str) -> bool {
        self.files.contains(&self.within(file))
    }

    /// The files below the path of the name, by their paths from there.
    pub fn below(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let Self { files, path, .. } = *self;
        let inner = move |file: &'a str| match path {
            "" => Some(file),
            path => file.strip_prefix(path)?.strip_prefix('/'),
        };
        files.iter().map(String::as_str).filter_map(inner)
    }
}

/// The files that are needed, and where what they make is then read.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// By their paths in the repository.
    pub files: Vec<String>,
    /// A file, a folder or a pattern of files, on this machine.
    pub place: PathBuf,
}

/// Says which files are needed of those a commit has; asked again once they are there, since an index names more.
///
/// Errors: what is required is not among them.
pub type Choose = dyn Fn(&Offered<'_>) -> Result<Chosen>;

/// What a name means on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct HubPlace {
    /// Where it is read.
    pub place: PathBuf,
    /// The name with the commit as its revision, which means the same for ever.
    pub pinned: String,
    /// The name as it was written.
    pub written: String,
}

/// Finds what a name means, of one kind, and of that the files of `choose`; those of a single file are itself. What is
/// missing is downloaded.
///
/// Errors: it is not in the cache and may not or cannot be fetched.
pub fn find(
    name: &HubName,
    kind: HubKind,
    choose: &Choose,
    fetch: &mut Fetch<'_>,
) -> Result<HubPlace> {
    find_in(&Environment::read()?, name, kind, choose, fetch)
}

fn find_in(
    environment: &Environment,
    name: &HubName,
    kind: HubKind,
    choose: &Choose,
    fetch: &mut Fetch<'_>,
) -> Result<HubPlace> {
    name.require(kind)?;
    let repo = Repo::new(&environment.cache, name);
    let commit = repo.commit(name.revision());
    let listed = commit.as_ref().and_then(|commit| repo.listing(commit));
    let known = match &commit {
        Some(commit) => in_cache(name, &repo, commit, listed.as_deref(), choose),
        None => Err(invalid(format!(
            "its revision {} is required",
            name.revision()
        ))),
    };
    let is_file = |found: &HubPlace| !name.path().is_empty() && found.place.is_file();
    let is_complete = known
        .as_ref()
        .is_ok_and(|found| listed.is_some() || is_file(found));
    let no_network = match (environment.offline, fetch.may_download) {
        (true, _) => Some("HF_HUB_OFFLINE is set"),
        (_, false) => Some("this session may not download files"),
        _ => None,
    };
    if let Some(why) = no_network {
        let shown = environment.cache.display();
        let not_there = |e| {
            invalid(format!(
                "{name} is not in the cache at {shown}, and {why}: {}",
                words(&e)
            ))
        };
        return known.map_err(not_there);
    }
    if is_complete {
        return known;
    }
    let client = Client::new(environment)?;
    let (commit, files) = match commit.zip(listed) {
        Some(listed) => listed,
        None => match client.listing(name, name.revision(), fetch) {
            Ok(CommitFiles { commit, files }) => {
                repo.keep(name.revision(), &commit, &files)?;
                (commit, files)
            }
            // What is there is enough, as far as can be known without the hub.
            Err(error) => return known.or(Err(error)),
        },
    };
    download(&client, &repo, name, (&commit, &files), choose, fetch)
}

/// Fetches what a name needs of the files of a commit.
fn download(
    client: &Client,
    repo: &Repo,
    name: &HubName,
    (commit, files): (&str, &[String]),
    choose: &Choose,
    fetch: &mut Fetch<'_>,
) -> Result<HubPlace> {
    let snapshot = repo.snapshot(commit);
    loop {
        let chosen = needed(name, files, &snapshot, choose);
        let chosen = chosen.map_err(|e| invalid(format!("{name}: {}", words(&e))))?;
        let fetched = repo.fetched(commit)?;
        let mut missing = chosen
            .files
            .iter()
            .filter(|file| !fetched.contains(file))
            .peekable();
        if missing.peek().is_none() {
            return Ok(found(name, commit, chosen));
        }
        for file in missing {
            let wanted = Wanted { name, commit, file };
            fetch_file(client, repo, wanted, fetch)?;
        }
    }
}

/// What is there of a commit, if that is enough; of the files that it has, where these are known.
fn in_cache(
    name: &HubName,
    repo: &Repo,
    commit: &str,
    listed: Option<&[String]>,
    choose: &Choose,
) -> Result<HubPlace> {
    let fetched = repo.fetched(commit)?;
    let files = listed.unwrap_or(&fetched);
    let chosen = needed(name, files, &repo.snapshot(commit), choose)?;
    match chosen.files.iter().find(|file| !fetched.contains(file)) {
        None => Ok(found(name, commit, chosen)),
        Some(missing) => Err(invalid(format!("its file {missing} is required"))),
    }
}

fn found(name: &HubName, commit: &str, chosen: Chosen) -> HubPlace {
    HubPlace {
        place: chosen.place,
        pinned: name.pinned(commit),
        written: name.to_string(),
    }
}

/// The files that a name needs.
fn needed(name: &HubName, files: &[String], folder: &Path, choose: &Choose) -> Result<Chosen> {
    let path = name.path();
    if files.iter().any(|file| file == path) {
        return Ok(Chosen {
            files: vec![path.to_string()],
            place: folder.join(path),
        });
    }
    let offered = Offered {
        files,
        path,
        folder,
    };
    if offered.below().next().is_none() && !path.is_empty() && !path.contains(['*', '?', '[']) {
        return Err(invalid(format!(
            "a file or folder of it is required, got {path}"
        )));
    }
    choose(&offered)
}

#[cfg(test)]
mod tests;
