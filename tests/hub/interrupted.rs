//! Downloads that are cancelled, and those that another process has begun.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{EXAMPLES, MODEL, Place, demo, hub, ingest};

/// Waits until something is so, which takes no longer than a busy machine needs.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn length(path: &Path) -> usize {
    path.metadata().map_or(0, |data| data.len() as usize)
}

#[test]
fn a_download_that_was_cancelled_leaves_nothing_half_and_goes_on() {
    let (place, hub) = (Place::new(), hub());
    let online = [("HF_ENDPOINT", hub.endpoint.as_str())];
    let weights = fs::read(demo("model/model.safetensors")).unwrap();
    let (half, partial) = (weights.len() / 2, place.incomplete(&weights));
    hub.set(|state| state.stall = Some(half));
    let child = place.start(&ingest("r", MODEL), &online);
    until("half of the weights", || length(&partial) == half);
    // The server still holds the connection open: the work ends though nothing comes.
    let id = child.id().to_string();
    let interrupt = Command::new("kill").args(["-INT", &id]).status();
    assert!(interrupt.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("cancelled"),
        "{error}"
    );
    assert_eq!(length(&partial), half);
    let link = place.snapshot().join("model.safetensors");
    assert!(link.symlink_metadata().is_err());
    let runs = ["-c", "SELECT count(*) FROM polysema.info.runs"];
    assert!(place.succeeds(&runs, &[]).contains('0'));
    hub.set(|state| state.stall = None);
    hub.seen();
    place.succeeds(&ingest("r", MODEL), &online);
    let of_large = |line: &String| line.starts_with("large GET");
    let asked: Vec<_> = hub.seen().into_iter().filter(of_large).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].contains(&format!(" {half} ")), "{asked:?}");
    assert_eq!(fs::read(link).unwrap(), weights);
}

#[test]
fn a_file_that_two_processes_want_is_downloaded_once() {
    let (place, hub) = (Place::new(), hub());
    let online = [("HF_ENDPOINT", hub.endpoint.as_str())];
    let weights = fs::read(demo("model/model.safetensors")).unwrap();
    let (half, partial) = (weights.len() / 2, place.incomplete(&weights));
    hub.set(|state| state.stall = Some(half));
    let first = place.start(&ingest("first", MODEL), &online);
    until("half of the weights", || length(&partial) == half);
    let second = place.start(&ingest("second", MODEL), &online);
    // Who has asked what it is waits for the other next.
    until("two questions", || {
        let seen = &hub.state.lock().unwrap().seen;
        let asks = |line: &&String| line.starts_with("hub HEAD") && line.contains("safetensors");
        seen.iter().filter(asks).count() == 2
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(length(&partial), half);
    hub.set(|state| state.stall = None);
    for child in [first, second] {
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
    }
    let of_large = |line: &String| line.starts_with("large GET");
    assert_eq!(hub.seen().into_iter().filter(of_large).count(), 1);
    let rows = |run: &str| place.succeeds(&["--run", run, "-c", EXAMPLES], &[]);
    assert_eq!(rows("first"), rows("second"));
}
