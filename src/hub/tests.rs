//! Downloads on a disk that fails: at every change to it, in every way.

use std::fs;
use std::path::Path;

use super::*;
use crate::files::faults::each;

#[path = "../../tests/hub/server.rs"]
mod server;

use server::{COMMIT, Hub};

/// All files of a data set.
fn all(offered: &Offered<'_>) -> Result<Chosen> {
    Ok(Chosen {
        files: offered.files.to_vec(),
        place: offered.folder.to_path_buf(),
    })
}

fn fetched(hub: &Hub, folder: &Path) -> Result<HubPlace> {
    let environment = Environment {
        cache: folder.join("hub"),
        offline: false,
        endpoint: hub.endpoint.clone(),
        token: None,
        certificates: None,
    };
    let name = HubName::of(Path::new("hf:datasets/tiny/texts"))?.expect("a name");
    let mut fetch = Fetch {
        may_download: true,
        watch: Box::new(|_| Ok(())),
    };
    find_in(&environment, &name, HubKind::Dataset, &all, &mut fetch)
}

#[test]
fn a_full_disk_leaves_no_half_file_and_the_next_call_goes_on() {
    let hub = Hub::new();
    // Of several pieces, by git's hash and by SHA-256.
    let files = [("data/a.jsonl", 300_000_u32), ("large.bin", 350_000)];
    let bytes = |n: u32| (0..n).map(|i| (i / 7) as u8).collect::<Vec<u8>>();
    for (name, n) in files {
        hub.add("datasets/tiny/texts", name, bytes(n));
    }
    let begin = || tempfile::tempdir().expect("a folder");
    let snapshot = |folder: &Path| {
        let repo = folder.join("hub/datasets--tiny--texts");
        repo.join("snapshots").join(COMMIT)
    };
    let whole = |folder: &Path, must: bool, fault: &str| {
        for (name, n) in files {
            let path = snapshot(folder).join(name);
            match path.symlink_metadata() {
                Ok(_) => assert!(fs::read(&path).expect(fault) == bytes(n), "{fault}: {name}"),
                Err(_) => assert!(!must, "{fault}: no {name}"),
            }
        }
    };
    let steps = each(
        begin,
        |folder| fetched(&hub, folder.path()),
        |folder, done, fault| {
            whole(folder.path(), done.is_ok(), fault);
            let again = fetched(&hub, folder.path());
            again.unwrap_or_else(|error| panic!("{fault}: {error}"));
            whole(folder.path(), true, fault);
        },
    );
    assert!(steps > 15, "{steps} changes");
}
