//! Files of tensors: an input is the ending of a name, a line, then the file.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use polysema::fuzzing;
use polysema_fuzz::{named, panics, scratch};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| scratch("tensors"));

fuzz_target!(init: panics::watch(), |input: &[u8]| {
    let Some((ending, content)) = named(input) else {
        return;
    };
    let endings = ["safetensors", "npy", "npz", "pt", "idx1-ubyte", "idx3-ubyte", "idx3-ubyte.gz", "pkl"];
    let known = endings.iter().find(|known| **known == ending);
    let ending = known.unwrap_or(&endings[ending.len() % endings.len()]);
    let path = FOLDER.join(format!("file.{ending}"));
    fs::write(&path, content).expect("a writable folder");
    let _ = match *ending {
        "pkl" => fuzzing::pickle(content),
        "idx1-ubyte" => fuzzing::idx(&path, 1).map_err(|e| e.to_string()),
        "idx3-ubyte" | "idx3-ubyte.gz" => fuzzing::idx(&path, 3).map_err(|e| e.to_string()),
        _ => fuzzing::tensors(&path).map_err(|e| e.to_string()),
    };
});
