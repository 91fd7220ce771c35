//! Folders of arrays that become a run: an input is the name of a file, `import/0.h.npy`, a line, then its content.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use polysema::jobs::JobContext;
use polysema::options::Options;
use polysema::runs::{IMPORT_RUN, ImportRequest, import_run};
use polysema::store::Store;
use polysema_fuzz::{Folders, panics, scratch, test_data};

static FOLDERS: LazyLock<Folders> =
    LazyLock::new(|| Folders::new("import", &[("import".to_string(), test_data("import"))]));
static STORE: LazyLock<PathBuf> = LazyLock::new(|| scratch("imported"));

fuzz_target!(init: panics::watch(), |input: &[u8]| {
    let Ok(options) = Options::of_words(&IMPORT_RUN, [("activation_function", "relu")]) else {
        return;
    };
    FOLDERS.with_input(input, |folder: &Path| {
        let store = Store::open(&STORE).expect("a store");
        let request = ImportRequest {
            run: "r".to_string(),
            folder: folder.to_path_buf(),
            options,
            max_activations: None,
        };
        if import_run(&store, &request, &JobContext::default(), &mut |_| ()).is_ok() {
            let run = store.run("r").expect("what was imported");
            for layer in run.layers().expect("what was imported") {
                run.layer_weights(layer.layer).expect("what was imported");
            }
        }
        let _ = fs::remove_dir_all(&*STORE);
    });
});
