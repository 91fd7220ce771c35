//! Every change to the disk refused, unconfirmed or the last one: the old or the new is whole, and the next use cleans up.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::files::faults::{each, no_exchange};

fn names(folder: &Path) -> Vec<String> {
    let entries = disk::entries(folder).expect("a folder");
    let name = |path: &PathBuf| path.file_name().expect("a name").display().to_string();
    entries.iter().map(name).collect()
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[test]
fn a_file_is_the_old_or_the_new() {
    let begin = || {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.json"), "old").expect("a file");
        folder
    };
    let write = |folder: &TempDir| write_file(&folder.path().join("a.json"), b"new");
    let steps = each(begin, write, |folder, done, fault| {
        let found = text(&folder.path().join("a.json"));
        let whole = ["old", "new"].map(|whole| Some(whole.to_string()));
        assert!(whole.contains(&found), "{fault}: {found:?}");
        assert!(done.is_err() || found == whole[1], "{fault}");
        write_file(&folder.path().join("a.json"), b"next").expect(fault);
        assert_eq!(names(folder.path()), ["a.json"], "{fault}");
    });
    assert!(steps >= 5, "{steps} changes");
}

#[test]
fn a_folder_is_not_replaced_by_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("config.json/mine");
    fs::create_dir_all(&inside).expect("a folder");
    write_file(&folder.path().join("config.json"), b"{}").expect_err("a folder is there");
    assert!(inside.exists());
    assert_eq!(names(folder.path()), ["config.json"]);
}

fn write_folder(place: &Path, what: &str) -> Result<()> {
    let folder = NewFolder::create(place)?;
    for name in ["a", "b"] {
        write_file(&folder.path().join(name), what.as_bytes())?;
    }
    folder.commit(|_| Ok(()))
}

fn whole_folder(place: &Path, fault: &str) -> String {
    let [a, b] = ["a", "b"].map(|name| text(&place.join(name)));
    assert!(a.is_some() && a == b, "{fault}: {a:?} and {b:?}");
    a.unwrap_or_default()
}

#[test]
fn a_folder_is_the_old_or_the_new() {
    let begin = || {
        let folder = tempfile::tempdir().expect("a folder");
        write_folder(&folder.path().join("sae"), "old").expect("written");
        folder
    };
    let replace = |folder: &TempDir| write_folder(&folder.path().join("sae"), "new");
    let steps = each(begin, replace, |folder, done, fault| {
        let found = whole_folder(&folder.path().join("sae"), fault);
        assert!(done.is_err() || found == "new", "{fault}");
        write_folder(&folder.path().join("sae"), "next").expect(fault);
        assert_eq!(names(folder.path()), ["sae"], "{fault}");
    });
    assert!(steps >= 14, "{steps} changes");
}

#[test]
fn without_an_exchange_the_next_use_puts_the_old_folder_back() {
    let begin = || {
        let folder = tempfile::tempdir().expect("a folder");
        write_folder(&folder.path().join("sae"), "old").expect("written");
        folder
    };
    let replace =
        |folder: &TempDir| no_exchange(|| write_folder(&folder.path().join("sae"), "new"));
    each(begin, replace, |folder, _, fault| {
        let place = folder.path().join("sae");
        // Dropped before its commit: only the cleaning up is left.
        drop(NewFolder::create(&place).expect(fault));
        whole_folder(&place, fault);
        assert_eq!(names(folder.path()), ["sae"], "{fault}");
    });
}

#[test]
fn a_new_folder_is_there_or_not() {
    let begin = || tempfile::tempdir().expect("a folder");
    let write = |folder: &TempDir| write_folder(&folder.path().join("sae"), "new");
    each(begin, write, |folder, _, fault| {
        if folder.path().join("sae").exists() {
            whole_folder(&folder.path().join("sae"), fault);
        }
        write_folder(&folder.path().join("sae"), "next").expect(fault);
        assert_eq!(names(folder.path()), ["sae"], "{fault}");
    });
}

#[test]
fn what_is_being_written_is_not_swept() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("sae");
    let first = NewFolder::create(&place).expect("begun");
    write_folder(&place, "second").expect("written");
    assert!(first.path().exists());
    fs::write(first.path().join("a"), "first").expect("a file");
    first.commit(|_| Ok(())).expect("committed");
    assert_eq!(names(&place), ["a"]);
}

#[test]
fn a_link_to_a_folder_is_not_replaced() {
    let [folder, outside] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    fs::write(outside.path().join("a"), "mine").expect("a file");
    let link = folder.path().join("sae");
    std::os::unix::fs::symlink(outside.path(), &link).expect("a link");
    let error = write_folder(&link, "new").expect_err("a link").to_string();
    assert!(
        error.contains("a folder is required, got a symbolic link"),
        "{error}"
    );
    assert_eq!(text(&outside.path().join("a")).as_deref(), Some("mine"));
    assert_eq!(names(folder.path()), ["sae"]);
}
