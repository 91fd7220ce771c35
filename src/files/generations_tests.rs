//! Every change to the disk refused, unconfirmed or the last one: the old generation or the new one is whole, and the
//! next use cleans up; names and links that lead elsewhere.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::files::faults::each;

fn names(folder: &Path) -> Vec<String> {
    let entries = disk::entries(folder).expect("a folder");
    let name = |path: &PathBuf| path.file_name().expect("a name").display().to_string();
    entries.iter().map(name).collect()
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn whole_folder(place: &Path, fault: &str) -> String {
    let [a, b] = ["a", "b"].map(|name| text(&place.join(name)));
    assert!(a.is_some() && a == b, "{fault}: {a:?} and {b:?}");
    a.unwrap_or_default()
}

fn generations(folder: &TempDir) -> Generations {
    Generations::new(folder.path().join("things/one"), "one.json")
}

fn write_generation(of: &Generations, what: &str) -> Result<()> {
    let next = of.begin()?;
    for name in ["a", "b"] {
        write_file(&next.path().join(name), what.as_bytes())?;
    }
    let pointer = serde_json::json!({"generation": next.name()});
    next.commit(pointer.to_string().as_bytes())
}

fn parse(text: &[u8]) -> Result<((), GenerationName)> {
    let pointer: Pointer =
        serde_json::from_slice(text).map_err(|e| file_error("read", Path::new("one.json"), e))?;
    Ok(((), pointer.generation))
}

fn whole_generation(of: &Generations, fault: &str) -> Option<String> {
    let (_, (), snapshot) = of.open(parse).expect(fault)?;
    Some(whole_folder(snapshot.path(), fault))
}

#[test]
fn a_clock_that_stands_or_jumps_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = generations(&folder);
    let mut read = vec![];
    for (n, seconds) in [4_000_000_000, 4_000_000_000, 0, 0, 1, 4_000_000_000, 0]
        .iter()
        .enumerate()
    {
        clock::STANDS.set(Some(std::time::Duration::from_secs(*seconds)));
        let what = n.to_string();
        write_generation(&of, &what).expect("written");
        assert_eq!(whole_generation(&of, "jumped"), Some(what.clone()));
        read.push((what, of.open(parse).expect("read").expect("a generation").2));
    }
    // Who still reads an older one has it whole, whatever it is called.
    for (what, snapshot) in &read {
        assert_eq!(&whole_folder(snapshot.path(), "read"), what);
    }
    assert_eq!(
        names(of.pointer().parent().expect("a folder")).len(),
        1 + read.len()
    );
    read.clear();
    write_generation(&of, "last").expect("written");
    clock::STANDS.set(None);
    assert_eq!(names(of.pointer().parent().expect("a folder")).len(), 2);
}

#[test]
fn a_generation_is_the_old_or_the_new() {
    let begin = || {
        let folder = tempfile::tempdir().expect("a folder");
        write_generation(&generations(&folder), "old").expect("written");
        folder
    };
    let replace = |folder: &TempDir| write_generation(&generations(folder), "new");
    let steps = each(begin, replace, |folder, done, fault| {
        let of = generations(folder);
        let found = whole_generation(&of, fault);
        let whole = ["old", "new"].map(|whole| Some(whole.to_string()));
        assert!(whole.contains(&found), "{fault}: {found:?}");
        assert!(done.is_err() || found == whole[1], "{fault}");
        drop(of.begin().expect(fault));
        assert_eq!(
            names(&of.folder).len(),
            2,
            "{fault}: {:?}",
            names(&of.folder)
        );
        assert_eq!(whole_generation(&of, fault), found, "{fault}");
    });
    assert!(steps >= 16, "{steps} changes");
}

#[test]
fn a_first_generation_is_there_or_not_and_so_is_one_that_is_removed() {
    let begin = || tempfile::tempdir().expect("a folder");
    let write = |folder: &TempDir| write_generation(&generations(folder), "new");
    each(begin, write, |folder, _, fault| {
        whole_generation(&generations(folder), fault);
        write_generation(&generations(folder), "next").expect(fault);
    });
    let written = || {
        let folder = begin();
        write_generation(&generations(&folder), "old").expect("written");
        folder
    };
    let remove = |folder: &TempDir| generations(folder).remove();
    each(written, remove, |folder, done, fault| {
        let of = generations(folder);
        let found = whole_generation(&of, fault);
        assert!(done.is_err() || found.is_none(), "{fault}");
        of.remove().expect(fault);
        assert!(!of.folder.exists(), "{fault}");
    });
}

#[test]
fn a_generation_that_is_read_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = generations(&folder);
    write_generation(&of, "old").expect("written");
    let (_, (), snapshot) = of.open(parse).expect("open").expect("one");
    write_generation(&of, "new").expect("replaced");
    write_generation(&of, "newer").expect("replaced");
    assert_eq!(whole_folder(snapshot.path(), "read"), "old");
    assert_eq!(names(&of.folder).len(), 3);
    drop(snapshot);
    drop(of.begin().expect("begun"));
    assert_eq!(names(&of.folder).len(), 2);
    assert_eq!(whole_generation(&of, "last").as_deref(), Some("newer"));
}

#[test]
fn names_from_a_file_lead_nowhere_else() {
    for name in [
        "", "..", "../..", "/etc", "gen-", "gen-1/..", "gen-1/", "gen-G", "gen-1\0", "a",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let of = generations(&folder);
        let mine = folder.path().join("things/mine");
        fs::create_dir_all(&mine).expect("a folder");
        fs::create_dir_all(of.folder.join("gen-1")).expect("a folder");
        let pointer = serde_json::json!({"generation": name}).to_string();
        fs::write(of.pointer(), &pointer).expect("a file");
        let error = of.open(parse).expect_err(name).to_string();
        assert!(
            error.contains("a generation gen-N of hexadecimal digits is required"),
            "{error}"
        );
        write_generation(&of, "new").expect("replaced");
        assert_eq!(whole_generation(&of, name).as_deref(), Some("new"));
        assert!(mine.exists() && of.folder.exists(), "{name}");
    }
}

#[test]
fn links_are_neither_read_nor_removed_through() {
    let outside = tempfile::tempdir().expect("a folder");
    fs::write(outside.path().join("a"), "mine").expect("a file");
    let link = |to: &Path| {
        std::os::unix::fs::symlink(outside.path(), to).expect("a link");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let of = generations(&folder);
    fs::create_dir_all(&of.folder).expect("a folder");
    link(&of.folder.join("gen-1"));
    fs::write(of.pointer(), "{\"generation\": \"gen-1\"}").expect("a file");
    let error = of.open(parse).expect_err("a link").to_string();
    assert!(
        error.contains("a folder is required, got a symbolic link"),
        "{error}"
    );
    write_generation(&of, "new").expect("replaced");
    assert!(!of.folder.join("gen-1").is_symlink());

    let folder = tempfile::tempdir().expect("a folder");
    let of = generations(&folder);
    fs::create_dir_all(folder.path().join("things")).expect("a folder");
    link(&of.folder);
    for error in [
        of.open(parse).map(|_| ()),
        of.begin().map(|_| ()),
        of.remove().map(|_| ()),
    ] {
        let error = error.expect_err("a link").to_string();
        assert!(
            error.contains("a folder is required, got a symbolic link"),
            "{error}"
        );
    }
    assert_eq!(text(&outside.path().join("a")).as_deref(), Some("mine"));
    assert_eq!(names(outside.path()), ["a"]);
}
