//! Folders of the project's test data, whole but for the one file that an input replaces.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::named;

/// A path of the project's test data.
pub fn test_data(path: &str) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    project.expect("a project").join("tests/data").join(path)
}

/// An empty folder of this process, in memory where the system has such folders. Those of processes that are gone go.
pub fn scratch(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let all = match memory.is_dir() {
        true => memory.join("polysema-fuzz"),
        false => std::env::temp_dir().join("polysema-fuzz"),
    };
    for left in fs::read_dir(&all).into_iter().flatten().flatten() {
        let named = left.file_name().to_string_lossy().into_owned();
        let process = named.rsplit('-').next().unwrap_or_default();
        if Path::new("/proc/self").exists() && !Path::new("/proc").join(process).exists() {
            let _ = fs::remove_dir_all(left.path());
        }
    }
    let own = all.join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&own);
    fs::create_dir_all(&own).expect("a writable folder");
    own
}

struct File {
    /// Its folder's name and its own, as inputs name it.
    name: String,
    /// The folder, or the file itself where it stands alone.
    whole: PathBuf,
    path: PathBuf,
    original: PathBuf,
}

/// Folders, each of links to what it was made of.
pub struct Folders {
    files: Vec<File>,
}

impl Folders {
    /// Of folders, and of files that stand alone, each under its name.
    pub fn new(name: &str, originals: &[(String, PathBuf)]) -> Self {
        let root = scratch(name);
        let mut files = vec![];
        for (name, original) in originals {
            let own = root.join(name);
            if original.is_file() {
                fs::create_dir_all(own.parent().expect("below the root")).expect("writable");
                link(original, &own);
                files.push(File {
                    name: name.clone(),
                    whole: own.clone(),
                    path: own,
                    original: original.clone(),
                });
            } else {
                add(name, original, &own, &own, &mut files);
            }
        }
        assert!(!files.is_empty(), "test data is required");
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Self { files }
    }

    /// Takes an input for the name of a file, a line, then its content.
    pub fn with_input(&self, input: &[u8], f: impl FnOnce(&Path)) {
        if let Some((name, content)) = named(input) {
            self.with(name, content, f);
        }
    }

    /// Puts the content in place of the file of this name, or of any if there is none, while `f` looks at the folder.
    pub fn with(&self, name: &str, content: &[u8], f: impl FnOnce(&Path)) {
        let found = self
            .files
            .binary_search_by(|file| file.name.as_str().cmp(name));
        let file = &self.files[found.unwrap_or_else(|_| {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            hasher.finish() as usize % self.files.len()
        })];
        fs::remove_file(&file.path).expect("a file");
        fs::write(&file.path, content).expect("a writable folder");
        f(&file.whole);
        fs::remove_file(&file.path).expect("a file");
        link(&file.original, &file.path);
    }
}

fn link(original: &Path, path: &Path) {
    symlink(original, path).expect("a writable folder");
}

fn add(name: &str, original: &Path, whole: &Path, own: &Path, files: &mut Vec<File>) {
    fs::create_dir_all(own).expect("a writable folder");
    for entry in fs::read_dir(original).expect("a folder") {
        let original = entry.expect("a folder").path();
        let last = original.file_name().expect("a name").to_string_lossy();
        // The answers that tests compare with belong to no model.
        if last == "expected.safetensors" {
            continue;
        }
        let (name, path) = (format!("{name}/{last}"), own.join(&*last));
        if original.is_dir() {
            add(&name, &original, whole, &path, files);
        } else {
            link(&original, &path);
            let whole = whole.to_path_buf();
            files.push(File {
                name,
                whole,
                path,
                original: original.clone(),
            });
        }
    }
}

/// What lies in a folder of the test data, by its name.
pub fn all_of(path: &str) -> Vec<(String, PathBuf)> {
    children(&test_data(path))
}

fn children(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).expect("test data");
    let paths = entries.map(|entry| entry.expect("test data").path());
    let named = paths.map(|path| {
        let name = path.file_name().expect("a name").to_string_lossy();
        (name.into_owned(), path.clone())
    });
    named.collect()
}

/// A path among the seeds.
pub fn seed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(path)
}

/// The folders in one of the seeds, each on top of the files of another.
pub fn seeds(path: &str, below: &Path) -> Vec<(String, PathBuf)> {
    let named = children(&seed(path)).into_iter();
    named
        .map(|(name, top)| {
            let whole = overlay(&name, below, &top);
            (name, whole)
        })
        .collect()
}

/// A folder with the files of two.
pub fn overlay(name: &str, below: &Path, top: &Path) -> PathBuf {
    let whole = scratch(name);
    for (name, path) in children(below).into_iter().chain(children(top)) {
        fs::copy(path, whole.join(name)).expect("a writable folder");
    }
    whole
}
