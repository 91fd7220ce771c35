//! Folders and files of autoencoders: an input is the name of a file, `saelens-topk/cfg.json`, a line, then its content. One
//! that is read is asked.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use polysema::jobs::JobContext;
use polysema::saes::Foreign;
use polysema_fuzz::{Folders, all_of, panics};

static SAES: LazyLock<Folders> = LazyLock::new(|| {
    let mut all = all_of("sae");
    all.extend(all_of("sae/formats"));
    all.extend(all_of("sae/formats/sparsify"));
    all.retain(|(name, _)| {
        !["answers.json", "formats", "sparsify", "sites"].contains(&name.as_str())
    });
    Folders::new("saes", &all)
});

fuzz_target!(init: panics::watch(), |input: &[u8]| {
    SAES.with_input(input, |path: &Path| {
        let _ = Foreign::read(path, None, &JobContext::default());
    });
});
