//! What the hub is asked, and what its answers mean.

use datafusion::common::exec_err;
use datafusion::error::Result;
use serde::Deserialize;
use ureq::Agent;
use ureq::http::StatusCode;
use url::Url;

use super::agent::agent;
use super::answer::{Answer, AnswerHead, Next, Request};
use super::cache::{is_blob, is_commit};
use super::environment::Environment;
use super::fetch::Fetch;
use super::name::{HubName, check_inner};
use crate::files::invalid;

/// Most bytes of a list of files.
const MOST_LISTING: usize = 1 << 28;

/// What a commit has.
#[derive(Debug)]
pub(super) struct CommitFiles {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// What a file is.
#[derive(Debug)]
pub(super) struct FileFacts {
    /// Its name among the blobs: a hash of its content.
    pub(super) blob: String,
    pub(super) size: Option<u64>,
}

/// The hub, and who asks.
pub(super) struct Client {
    agent: Agent,
    endpoint: Url,
    token: Option<String>,
}

#[derive(Deserialize)]
struct RepoInfo {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Client {
    pub(super) fn new(environment: &Environment) -> Result<Self> {
        let endpoint = match Url::parse(&environment.endpoint) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => url,
            _ => {
                return exec_err!(
                    "an http or https address is required in HF_ENDPOINT, got {}",
                    environment.endpoint
                );
            }
        };
        Ok(Self {
            // Redirects are followed where the token is known.
            agent: agent(environment.certificates.as_ref(), 0)?,
            endpoint,
            token: environment.token.clone(),
        })
    }

    /// Where a name's repository is below a part of the hub's addresses.
    fn address(&self, before: &[&str], name: &HubName, behind: &[&str]) -> Result<Url> {
        let mut url = self.endpoint.clone();
        let Ok(mut path) = url.path_segments_mut() else {
            return exec_err!(
                "an address with a path is required in HF_ENDPOINT, got {}",
                self.endpoint
            );
        };
        path.pop_if_empty()
            .extend(before)
            .extend(name.repo().split('/'))
            .extend(behind);
        drop(path);
        Ok(url)
    }

    /// The commit of a revision and its files.
    pub(super) fn listing(
        &self,
        name: &HubName,
        revision: &str,
        fetch: &mut Fetch<'_>,
    ) -> Result<CommitFiles> {
        let url = self.address(
            &["api", name.kind().plural()],
            name,
            &["revision", revision],
        )?;
        let doing = format!("asking {} for the files of {name}", self.host());
        let mut answer = self.ask("GET", &url, None, &doing, fetch)?;
        self.check(name, None, &answer.head)?;
        let mut text = vec![];
        loop {
            match answer.next(&mut || (fetch.watch)(&doing))? {
                Next::Piece(piece) if text.len() + piece.len() <= MOST_LISTING => {
                    text.extend(piece)
                }
                Next::Piece(_) => {
                    return exec_err!(
                        "{name}: a list of at most {MOST_LISTING} bytes is required, got more"
                    );
                }
                Next::End => break,
                Next::Cut(why) => {
                    return exec_err!("{name}: its list of files is required, got {why}");
                }
            }
        }
        let info: RepoInfo = serde_json::from_slice(&text).map_err(|e| {
            invalid(format!(
                "{name}: its commit and files are required of {}, got {e}",
                self.host()
            ))
        })?;
        let files: Vec<_> = info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect();
        if !is_commit(&info.sha) {
            return exec_err!(
                "{name}: a commit is required of {}, got {:?}",
                self.host(),
                info.sha
            );
        }
        for file in &files {
            check_inner("a file", file).map_err(|why| invalid(format!("{name}: {why}")))?;
        }
        Ok(CommitFiles {
            commit: info.sha,
            files,
        })
    }

    /// What a file of a commit is.
    pub(super) fn facts(
        &self,
        name: &HubName,
        commit: &str,
        file: &str,
        fetch: &mut Fetch<'_>,
    ) -> Result<FileFacts> {
        let doing = format!("asking {} for {file}", self.host());
        let url = self.file(name, commit, file)?;
        let answer = self.ask("HEAD", &url, None, &doing, fetch)?;
        self.check(name, Some(file), &answer.head)?;
        let either = |names: [&str; 2]| names.into_iter().find_map(|name| answer.head.text(name));
        let tag = either(["x-linked-etag", "etag"]).unwrap_or_default();
        let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
        if !is_blob(tag) {
            return exec_err!(
                "{name}: a hash of {file} is required of {}, got {tag:?}",
                self.host()
            );
        }
        let of_redirect = answer.head.status.is_redirection();
        let sizes = if of_redirect {
            ["x-linked-size"; 2]
        } else {
            ["x-linked-size", "content-length"]
        };
        Ok(FileFacts {
            blob: tag.to_string(),
            size: either(sizes).and_then(|size| size.parse().ok()),
        })
    }

    /// The bytes of a file of a commit from one on, or from the first: which, and they; none where it has not so many.
    pub(super) fn bytes(
        &self,
        name: &HubName,
        (commit, file): (&str, &str),
        from: u64,
        doing: &str,
        fetch: &mut Fetch<'_>,
    ) -> Result<(Option<u64>, Answer)> {
        let url = self.file(name, commit, file)?;
        let answer = self.ask("GET", &url, Some(from), doing, fetch)?;
        if answer.head.status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok((None, answer));
        }
        self.check(name, Some(file), &answer.head)?;
        let begins = match answer.head.status == StatusCode::PARTIAL_CONTENT {
            true => from,
            false => 0,
        };
        let range = answer.head.text("content-range");
        match range.filter(|range| begins > 0 && !range.starts_with(&format!("bytes {from}-"))) {
            Some(other) => exec_err!("{name}: {file} from byte {from} on is required, got {other}"),
            None => Ok((Some(begins), answer)),
        }
    }

    fn file(&self, name: &HubName, commit: &str, file: &str) -> Result<Url> {
        let kind = name.kind().prefix().trim_end_matches('/');
        let before: &[&str] = if kind.is_empty() { &[] } else { &[kind] };
        let behind: Vec<_> = ["resolve", commit]
            .into_iter()
            .chain(file.split('/'))
            .collect();
        self.address(before, name, &behind)
    }

    fn host(&self) -> &str {
        self.endpoint.host_str().unwrap_or_default()
    }

    fn ask(
        &self,
        method: &'static str,
        url: &Url,
        from: Option<u64>,
        doing: &str,
        fetch: &mut Fetch<'_>,
    ) -> Result<Answer> {
        let request = Request {
            agent: self.agent.clone(),
            method,
            origin: self.endpoint.origin(),
            token: self.token.clone(),
            range: from
                .filter(|from| *from > 0)
                .map(|from| format!("bytes={from}-")),
        };
        let answer = request.ask(url, &mut || (fetch.watch)(doing))?;
        answer.map_err(|why| {
            invalid(format!(
                "an answer of {} is required, got {why}",
                self.host()
            ))
        })
    }

    /// Says what an answer means that is none.
    fn check(&self, name: &HubName, file: Option<&str>, head: &AnswerHead) -> Result<()> {
        let host = self.host();
        let token = match self.token {
            Some(_) => "HF_TOKEN, or the file that `hf auth login` writes, has one that may not",
            None => "none is set in HF_TOKEN, nor by `hf auth login`",
        };
        let page = self.address(&[], name, &[]);
        let page = page.map(|url| url.to_string()).unwrap_or_default();
        match (head.status.as_u16(), head.text("x-error-code")) {
            (200..=399, _) => Ok(()),
            (403, _) | (_, Some("GatedRepo")) => exec_err!(
                "{name}: access that its page {page} grants, and a token of who has it, are required ({token}), got {} of {host}",
                head.status
            ),
            (401, _) => exec_err!(
                "{name}: a repository that exists, and where it is private a token that may read it, are required \
                 ({token}), got {} of {host}",
                head.status
            ),
            (404, Some("RevisionNotFound")) => {
                exec_err!(
                    "{name}: a branch, tag or commit is required, got {}",
                    name.revision()
                )
            }
            (404, code) => match file.filter(|_| code != Some("RepoNotFound")) {
                Some(file) => exec_err!(
                    "{name}: a file of the repository is required, got {file}, which {host} does not have"
                ),
                None => exec_err!(
                    "{name}: a repository that exists is required, got none of this name on {host}"
                ),
            },
            _ => exec_err!(
                "{name}: an answer of {host} is required, got {}",
                head.status
            ),
        }
    }
}
