//! A corpus by a name of the hub: which files of a data set it is made of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use datafusion::common::exec_err;
use datafusion::error::Result;
use glob::Pattern;

use super::kind::{ENDINGS, ending};
use super::shards::{BESIDE, MATCHING, is_pattern};
use crate::hub::{Chosen, Fetch, HubKind, HubName, HubPlace, Offered, find};
use crate::store::Source;

/// Where a corpus is.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundCorpus {
    /// A file, a folder or a pattern of files.
    pub place: PathBuf,
    of_hub: Option<HubPlace>,
}

impl FoundCorpus {
    /// What a manifest says of it.
    pub fn source(&self) -> Result<Source> {
        match &self.of_hub {
            Some(found) => Ok(Source::of_hub(found)),
            None => Source::of(&self.place, ""),
        }
    }
}

/// Where the files of a corpus are: its path, or those of a data set of the hub.
pub fn find_corpus(corpus: &Path, fetch: &mut Fetch<'_>) -> Result<FoundCorpus> {
    let of_hub = match HubName::of(corpus)? {
        None => None,
        Some(name) => Some(find(&name, HubKind::Dataset, &choose, fetch)?),
    };
    let place = of_hub.as_ref().map_or(corpus, |found| &found.place);
    Ok(FoundCorpus {
        place: place.to_path_buf(),
        of_hub,
    })
}

/// The files of a pattern, or those of a folder that have one ending.
fn choose(offered: &Offered<'_>) -> Result<Chosen> {
    let shown = offered.folder.to_string_lossy();
    // The pattern must not take letters of the folder for its own.
    let of_folder = |pattern: &str| PathBuf::from(Pattern::escape(&shown)).join(pattern);
    if is_pattern(Path::new(offered.path)) {
        let pattern = match Pattern::new(offered.path) {
            Ok(pattern) => pattern,
            Err(e) => return exec_err!("a pattern is required, got {}: {e}", offered.path),
        };
        let matches = |file: &&String| pattern.matches_with(file, MATCHING);
        let files: Vec<_> = offered.files.iter().filter(matches).cloned().collect();
        if files.is_empty() {
            return exec_err!("files of {} are required, got none", offered.path);
        }
        return Ok(Chosen {
            files,
            place: of_folder(offered.path),
        });
    }
    let images: Vec<_> = own(offered)
        .filter(|name| name.contains("-ubyte"))
        .collect();
    if !images.is_empty() {
        return Ok(Chosen {
            files: images.iter().map(|name| offered.within(name)).collect(),
            place: offered.folder.join(offered.path),
        });
    }
    let folder = the_folder(offered)?;
    let inner = Offered {
        path: &folder,
        ..*offered
    };
    let endings: BTreeSet<_> = own(&inner).filter_map(ending).collect();
    let of = if folder.is_empty() {
        "its root"
    } else {
        &folder
    };
    let ending_of_all = match endings.iter().collect::<Vec<_>>().as_slice() {
        [] => return exec_err!("files of {ENDINGS} are required in {of}, got none"),
        [one] => (*one).clone(),
        several => {
            let several: Vec<_> = several.iter().map(|ending| format!("*.{ending}")).collect();
            return exec_err!(
                "files of one ending are required in {of}, got {}: a pattern at the end of the name says which",
                several.join(", ")
            );
        }
    };
    let chosen = own(&inner).filter(|name| ending(name).as_ref() == Some(&ending_of_all));
    let pattern = match folder.as_str() {
        "" => format!("*.{ending_of_all}"),
        folder => format!("{}/*.{ending_of_all}", Pattern::escape(folder)),
    };
    Ok(Chosen {
        files: chosen.map(|name| inner.within(name)).collect(),
        place: of_folder(&pattern),
    })
}

/// The names of a folder's own files that may be a corpus.
fn own<'a>(offered: &Offered<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    offered.below().filter(|name| {
        let hidden = name.starts_with(['.', '_']);
        !name.contains('/') && !hidden && !BESIDE.contains(name)
    })
}

/// The folder whose own files are meant: the one of the name, or the one below it that has any.
fn the_folder(offered: &Offered<'_>) -> Result<String> {
    if own(offered).any(|name| ending(name).is_some()) {
        return Ok(offered.path.to_string());
    }
    let has_files = |file: &&str| ending(file).is_some();
    let folders = offered.below().filter(has_files);
    let folders: BTreeSet<_> = folders
        .filter_map(|file| Some(file.rsplit_once('/')?.0))
        .collect();
    match folders.into_iter().collect::<Vec<_>>().as_slice() {
        [] => Ok(offered.path.to_string()),
        [one] => Ok(offered.within(one)),
        several => exec_err!(
            "one folder with files of a corpus is required, got {}: the name says which, as {}",
            several.join(", "),
            offered.within(several[0])
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str], path: &str) -> Result<(Vec<String>, String)> {
        let files: Vec<_> = files.iter().map(|file| (*file).to_string()).collect();
        let folder = Path::new("c[1]");
        let chosen = choose(&Offered {
            files: &files,
            path,
            folder,
        })?;
        let place = chosen.place.to_string_lossy().into_owned();
        Ok((chosen.files, place))
    }

    #[test]
    fn the_files_of_a_data_set_are_those_of_one_folder_and_ending() {
        let card = ["README.md", ".gitattributes", "dataset_infos.json"];
        let with = |more: &[&'static str]| [&card[..2], more].concat();
        let of = |files: &[&'static str], path: &str| chosen(&with(files), path).unwrap();
        let escaped = Pattern::escape("c[1]");
        let (files, place) = of(&["b.jsonl", "a.jsonl", "LICENSE", "x/c.jsonl"], "");
        assert_eq!(files, ["b.jsonl", "a.jsonl"]);
        assert_eq!(place, format!("{escaped}/*.jsonl"));
        let (files, place) = of(&["data/a.parquet", "script.py"], "");
        assert_eq!(files, ["data/a.parquet"]);
        assert_eq!(place, format!("{escaped}/data/*.parquet"));
        let (files, place) = of(&["en/a.txt.gz", "de/a.txt.gz"], "de");
        assert_eq!(
            (files, place),
            (
                vec!["de/a.txt.gz".to_string()],
                format!("{escaped}/de/*.txt.gz")
            )
        );
        let (files, place) = of(&["d/train-0.parquet", "d/test-0.parquet"], "d/train-*");
        assert_eq!(
            (files, place),
            (
                vec!["d/train-0.parquet".to_string()],
                format!("{escaped}/d/train-*")
            )
        );
        let (files, place) = of(&["train-images-idx3-ubyte.gz", "a.parquet"], "");
        assert_eq!(
            (files, place),
            (
                vec!["train-images-idx3-ubyte.gz".to_string()],
                "c[1]/".to_string()
            )
        );
    }

    #[test]
    fn what_may_be_meant_is_named() {
        let refused = |files: &[&str], path| chosen(files, path).unwrap_err().strip_backtrace();
        let two = refused(&["en/a.txt", "de/a.txt"], "");
        assert!(
            two.ends_with("got de, en: the name says which, as de"),
            "{two}"
        );
        let mixed = refused(&["a.txt", "b.csv"], "");
        assert!(mixed.contains("got *.csv, *.txt"), "{mixed}");
        let none = refused(&["README.md"], "");
        assert!(
            none.ends_with("are required in its root, got none"),
            "{none}"
        );
        let none = refused(&["a.txt"], "*.csv");
        assert!(
            none.ends_with("files of *.csv are required, got none"),
            "{none}"
        );
    }
}
