//! The grammar of names: `hf:[datasets/][ORG/]NAME[@REVISION][/PATH]`, also behind `hf://` as `huggingface_hub` writes
//! them. What could lead out of a repository, or out of the cache, is refused.

use std::fmt;
use std::path::{Component, Path};

use datafusion::common::plan_err;
use datafusion::error::Result;

/// How names begin.
const SCHEME: &str = "hf:";
/// The revision where none is given.
const MAIN: &str = "main";
/// Most bytes of a repository's name, as the hub has it.
const MOST_NAME: usize = 96;
const REQUIRED: &str =
    "hf:ORG/NAME[@REVISION][/PATH] or hf:datasets/ORG/NAME[@REVISION][/PATH] is required";

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubKind {
    /// Models, and autoencoders.
    Model,
    /// A data set.
    Dataset,
}

impl HubKind {
    /// What its names have before the repository.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            HubKind::Model => "",
            HubKind::Dataset => "datasets/",
        }
    }

    /// What folders of the cache and addresses of the hub call it.
    pub(super) fn plural(self) -> &'static str {
        match self {
            HubKind::Model => "models",
            HubKind::Dataset => "datasets",
        }
    }
}

/// A name of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    kind: HubKind,
    /// `ORG/NAME`, or `NAME` of the oldest repositories.
    repo: String,
    revision: Option<String>,
    /// Behind the repository: a file, a folder or a pattern of files; empty for all of it.
    path: String,
}

/// Whether something is a name of the hub and no path.
pub fn is_hub_name(written: &Path) -> bool {
    written
        .to_str()
        .is_some_and(|name| name.starts_with(SCHEME))
}

impl HubName {
    /// Of something written; none if it is a path.
    ///
    /// Errors (planning): it begins as a name and is none.
    pub fn of(written: &Path) -> Result<Option<Self>> {
        let Some(text) = written.to_str() else {
            return Ok(None);
        };
        match text.strip_prefix(SCHEME) {
            None => Ok(None),
            Some(rest) => match Self::parse(rest.strip_prefix("//").unwrap_or(rest)) {
                Ok(name) => Ok(Some(name)),
                Err(why) => plan_err!("{REQUIRED}, got '{text}': {why}"),
            },
        }
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let (kind, text) = match text.strip_prefix("datasets/") {
            Some(rest) => (HubKind::Dataset, rest),
            None => (HubKind::Model, text.strip_prefix("models/").unwrap_or(text)),
        };
        let (repo, revision, path) = match text.split_once('@') {
            // An @ of a path comes behind the two parts of a name.
            Some((repo, rest)) if repo.split('/').count() <= 2 => {
                let (revision, path) = revision_of(rest);
                (repo.to_string(), Some(revision), path.to_string())
            }
            _ => {
                let mut parts = text.splitn(3, '/');
                let repo: Vec<_> = parts.by_ref().take(2).collect();
                let path = parts.next().unwrap_or_default();
                (repo.join("/"), None, path.to_string())
            }
        };
        check_repo(&repo)?;
        if let Some(revision) = &revision {
            check_inner("a revision", revision)?;
        }
        let path = path.strip_suffix('/').unwrap_or(&path).to_string();
        if !path.is_empty() {
            check_inner("a path", &path)?;
        }
        Ok(Self {
            kind,
            repo,
            revision,
            path,
        })
    }

    /// Refuses one of another kind.
    pub(super) fn require(&self, kind: HubKind) -> Result<()> {
        match (kind == self.kind, kind) {
            (true, _) => Ok(()),
            (_, HubKind::Model) => {
                plan_err!("a model of the hub is required (hf:ORG/NAME), got {self}")
            }
            (_, HubKind::Dataset) => {
                plan_err!("a data set of the hub is required (hf:datasets/ORG/NAME), got {self}")
            }
        }
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// What it says behind the repository; empty if nothing.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The repository, without what comes before and behind it in a name.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    pub(super) fn kind(&self) -> HubKind {
        self.kind
    }

    /// The same at a commit.
    pub(super) fn pinned(&self, commit: &str) -> String {
        let revision = Some(commit.to_string());
        let pinned = Self {
            revision,
            ..self.clone()
        };
        pinned.to_string()
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.kind.prefix(), self.repo)?;
        if let Some(revision) = &self.revision {
            // A branch may have slashes, which would begin the path.
            match special(revision).is_some() {
                true => write!(f, "@{revision}")?,
                false => write!(f, "@{}", revision.replace('/', "%2F"))?,
            }
        }
        match self.path.as_str() {
            "" => Ok(()),
            path => write!(f, "/{path}"),
        }
    }
}

/// A revision that has slashes: `refs/pr/12`, `refs/convert/parquet`.
fn special(text: &str) -> Option<usize> {
    let mut parts = text.split('/');
    let (refs, kind, last) = (parts.next()?, parts.next()?, parts.next()?);
    let is = refs == "refs" && ["pr", "convert"].contains(&kind) && !last.is_empty();
    is.then(|| refs.len() + kind.len() + last.len() + 2)
}

/// The revision and the path of what stands behind an @.
fn revision_of(text: &str) -> (String, &str) {
    let end = special(text).unwrap_or(text.find('/').unwrap_or(text.len()));
    let (revision, path) = text.split_at(end);
    let revision = revision.replace("%2F", "/").replace("%2f", "/");
    (revision, path.strip_prefix('/').unwrap_or(path))
}

/// The rules of the hub for the names of repositories.
fn check_repo(repo: &str) -> std::result::Result<(), String> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    for part in repo.split('/') {
        let ends = ['-', '.'];
        if part.is_empty() || !part.chars().all(is_letter) {
            return Err(format!(
                "a name has letters, digits, '-', '_' and '.', not '{repo}'"
            ));
        }
        if part.starts_with(ends) || part.ends_with(ends) {
            return Err(format!(
                "a name does not begin or end with '-' or '.', as '{part}' does"
            ));
        }
    }
    if repo.contains("--") || repo.contains("..") || repo.ends_with(".git") {
        return Err(format!(
            "a name has no '--', '..' and '.git' at its end, as '{repo}' does"
        ));
    }
    match repo.len() > MOST_NAME {
        true => Err(format!(
            "a name has at most {MOST_NAME} letters, not {}",
            repo.len()
        )),
        false => Ok(()),
    }
}

/// Refuses what is no way down from a folder.
pub(super) fn check_inner(what: &str, path: &str) -> std::result::Result<(), String> {
    let is_plain = |part: &str| {
        let mut components = Path::new(part).components();
        let normal = matches!(components.next(), Some(Component::Normal(_)));
        normal && components.next().is_none() && !part.contains(['\\', ':'])
    };
    let plain = path.split('/').all(is_plain) && !path.chars().any(char::is_control);
    match plain {
        true => Ok(()),
        false => Err(format!(
            "{what} leads down into a repository, which '{path}' does not"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(written: &str) -> (HubKind, String, String, String) {
        let name = HubName::of(Path::new(written)).unwrap().unwrap();
        let revision = name.revision().to_string();
        (name.kind, name.repo, revision, name.path)
    }

    #[test]
    fn names_have_a_repository_a_revision_and_a_path() {
        use HubKind::{Dataset, Model};
        for (written, kind, repo, revision, path) in [
            ("hf:gpt2", Model, "gpt2", "main", ""),
            ("hf:gpt2@v1.0/a.gguf", Model, "gpt2", "v1.0", "a.gguf"),
            ("hf:a/b", Model, "a/b", "main", ""),
            ("hf://a/b/c/d.gguf", Model, "a/b", "main", "c/d.gguf"),
            (
                "hf:a/b@0123abc/c@2.gguf",
                Model,
                "a/b",
                "0123abc",
                "c@2.gguf",
            ),
            ("hf:a/b/c@2.gguf", Model, "a/b", "main", "c@2.gguf"),
            ("hf:a/b@x%2Fy/c", Model, "a/b", "x/y", "c"),
            ("hf:a/b/layers.5/", Model, "a/b", "main", "layers.5"),
            ("hf:datasets/imdb", Dataset, "imdb", "main", ""),
            (
                "hf:datasets/a/b@refs/convert/parquet/default/*.parquet",
                Dataset,
                "a/b",
                "refs/convert/parquet",
                "default/*.parquet",
            ),
            ("hf:datasets/a/b@refs/pr/1", Dataset, "a/b", "refs/pr/1", ""),
        ] {
            let expected = (
                kind,
                repo.to_string(),
                revision.to_string(),
                path.to_string(),
            );
            assert_eq!(parts(written), expected, "{written}");
            let name = HubName::of(Path::new(written)).unwrap().unwrap();
            assert_eq!(parts(&name.to_string()), expected, "{written}");
            let pinned = (kind, repo.to_string(), "f00".to_string(), path.to_string());
            assert_eq!(parts(&name.pinned("f00")), pinned, "{written}");
        }
        assert_eq!(HubName::of(Path::new("./hf:gpt2")).unwrap(), None);
        assert!(is_hub_name(Path::new("hf:gpt2")) && !is_hub_name(Path::new("models/hf:x")));
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        let long = format!("hf:{}", "a".repeat(97));
        for written in [
            "hf:",
            "hf:/a/b",
            "hf:../b",
            "hf:a/..",
            "hf:a/b/../../c",
            "hf:a/b//c",
            "hf:a/b/./c",
            "hf:a/b@/c",
            "hf:a/b@../c",
            "hf:a/b@x%2F..%2F..",
            "hf:a b",
            "hf:a--b/c",
            "hf:a..b",
            "hf:-a/b",
            "hf:a/b.git",
            "hf:datasets/",
            "hf:a/b\\c",
            "hf:a/b/c\\..\\d",
            "hf:a/b/c:d",
            "hf:a/b/c\nd",
            &long,
        ] {
            let error = HubName::of(Path::new(written))
                .unwrap_err()
                .strip_backtrace();
            assert!(
                error.contains("hf:ORG/NAME[@REVISION][/PATH]"),
                "{written}: {error}"
            );
        }
    }
}
