//! The files of a corpus: one, those of a folder, those of a pattern; in the order of their names.

use std::path::{Component, Path, PathBuf};

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use glob::{MatchOptions, glob_with};

use super::kind::{ENDINGS, FileKind};
use crate::files::file_error;

/// How patterns are read.
pub(super) const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};
/// Letters of a pattern.
const PATTERN: [char; 3] = ['*', '?', '['];
/// What Hugging Face's `datasets` and its hub put beside the files of a data set.
pub(super) const BESIDE: [&str; 5] = [
    "README.md",
    "dataset_dict.json",
    "dataset_info.json",
    "dataset_infos.json",
    "state.json",
];

/// One of the files.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    /// From the folder on, where that or a pattern was given.
    pub(super) name: String,
}

/// Files of one kind, at least one.
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) kind: FileKind,
    pub(super) files: Vec<Shard>,
}

/// Whether there is something where a corpus is said to be.
pub fn is_there(corpus: &Path) -> bool {
    corpus.exists() || is_pattern(corpus) && matching(corpus).is_ok_and(|found| !found.is_empty())
}

pub(super) fn is_pattern(corpus: &Path) -> bool {
    corpus.to_string_lossy().contains(PATTERN)
}

impl Shards {
    /// The files of a path or a pattern. A folder's own files count, but for hidden ones.
    pub(super) fn find(corpus: &Path) -> Result<Self> {
        if corpus.is_dir() {
            return Self::of_folder(corpus);
        }
        if !corpus.exists() && is_pattern(corpus) {
            let files = matching(corpus)?;
            return Self::of_one_kind(corpus, shards(base(corpus), files));
        }
        let name = corpus.file_name().unwrap_or_default().to_string_lossy();
        let file = Shard {
            path: corpus.to_path_buf(),
            name: name.into_owned(),
        };
        Self::of_one_kind(corpus, vec![file])
    }

    fn of_folder(folder: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.map_err(|e| file_error("read", folder, e))?;
        let named = entries.into_iter().map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.path())
        });
        let (folders, files): (Vec<_>, Vec<_>) = named
            .filter(|(name, _)| !name.starts_with(['.', '_']) && !BESIDE.contains(&name.as_str()))
            .partition(|(_, path)| path.is_dir());
        if let (true, Some((name, _))) = (files.is_empty(), folders.iter().min()) {
            return plan_err!(
                "files of a corpus are required in {}, got folders such as {name}, which are not entered (a pattern \
                 does: '{}')",
                folder.display(),
                folder.join("*/*").display()
            );
        }
        let files = files.into_iter().map(|(_, path)| path).collect();
        Self::of_one_kind(folder, shards(folder.to_path_buf(), files))
    }

    fn of_one_kind(corpus: &Path, files: Vec<Shard>) -> Result<Self> {
        let mut kinds = files.iter().map(|file| (file, FileKind::of(&file.path)));
        let Some((first, kind)) = kinds.next() else {
            return exec_err!(
                "files of {ENDINGS} are required, got none in {}",
                corpus.display()
            );
        };
        let Some(kind) = kind else {
            return plan_err!(
                "a corpus of {ENDINGS} is required, got {}",
                first.path.display()
            );
        };
        if let Some((other, _)) = kinds.find(|(_, other)| *other != Some(kind)) {
            return plan_err!(
                "files of one kind are required in {}, got {} and {}",
                corpus.display(),
                first.name,
                other.name
            );
        }
        Ok(Self { kind, files })
    }
}

/// Files in the order of their names, which begin behind `base`.
fn shards(base: PathBuf, files: Vec<PathBuf>) -> Vec<Shard> {
    let named = files.into_iter().map(|path| {
        let name = path.strip_prefix(&base).unwrap_or(&path).to_string_lossy();
        let name = name.into_owned();
        Shard { path, name }
    });
    let mut files: Vec<_> = named.collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// The folder before the first part of a pattern that is one.
fn base(pattern: &Path) -> PathBuf {
    let is_plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(PATTERN);
    pattern.components().take_while(is_plain).collect()
}

/// The files of a pattern, without hidden ones.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let found = match glob_with(&pattern.to_string_lossy(), MATCHING) {
        Ok(found) => found,
        Err(e) => return plan_err!("a pattern is required, got {}: {e}", pattern.display()),
    };
    let mut files = vec![];
    for path in found {
        let path = path.map_err(|e| file_error("read", e.path(), e.error()))?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "a").unwrap();
        }
        folder
    }

    fn names(corpus: &Path) -> Vec<String> {
        let found = Shards::find(corpus).unwrap().files.into_iter();
        found.map(|file| file.name).collect()
    }

    fn refused(corpus: &Path) -> String {
        Shards::find(corpus).unwrap_err().strip_backtrace()
    }

    #[test]
    fn files_come_in_the_order_of_their_names_without_hidden_ones() {
        let all = [
            "b.txt",
            "a.txt.gz",
            ".c.txt",
            "_SUCCESS",
            "README.md",
            "old/d.txt",
            "A.TXT",
        ];
        let folder = folder(&all);
        assert_eq!(names(folder.path()), ["A.TXT", "a.txt.gz", "b.txt"]);
        let pattern = folder.path().join("*.txt");
        assert_eq!(names(&pattern), ["b.txt"]);
        assert_eq!(names(&folder.path().join("*/*.txt")), ["old/d.txt"]);
        assert_eq!(
            names(&folder.path().join("**/*.txt")),
            ["b.txt", "old/d.txt"]
        );
        assert_eq!(names(&folder.path().join("old/d.txt")), ["d.txt"]);
        assert!(is_there(&pattern) && !is_there(&folder.path().join("*.csv")));
        // A name that has such letters.
        fs::write(folder.path().join("e[1].txt"), "a").unwrap();
        assert_eq!(names(&folder.path().join("e[1].txt")), ["e[1].txt"]);
    }

    #[test]
    fn what_is_no_corpus_is_named() {
        let mixed = folder(&["a.txt", "b.csv"]);
        assert!(refused(mixed.path()).ends_with("got a.txt and b.csv"));
        let unknown = folder(&["a.txt", "notes.md"]);
        assert!(refused(unknown.path()).ends_with("got a.txt and notes.md"));
        let empty = folder(&[]);
        assert!(refused(empty.path()).contains("got none in"));
        assert!(refused(&empty.path().join("*.txt")).contains("got none in"));
        let nested = folder(&["train/a.txt"]);
        let error = refused(nested.path());
        assert!(error.contains("got folders such as train"), "{error}");
        let endless = refused(&empty.path().join("a***.txt"));
        assert!(endless.contains("a pattern is required"), "{endless}");
    }
}
