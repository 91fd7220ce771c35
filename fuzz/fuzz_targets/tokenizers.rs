//! Tokenizers: an input is the name of a file of a folder of `seeds/tokenizers`, a line, then its content. One that is read
//! takes texts apart and puts them together.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use polysema::models::load;
use polysema_fuzz::{Folders, all_of, panics, seeds, test_data};

/// Texts of letters of one byte and of more, spaces, digits and a token of its own.
const TEXTS: [&str; 6] = [
    "",
    "a b",
    " The cat's 12 hats\n",
    "日本 é🙂",
    "<|endoftext|>a[MASK]",
    "aaaaaaaaaa\u{0}\u{fffd}\t",
];

static MODELS: LazyLock<Folders> = LazyLock::new(|| {
    let mut all = seeds("tokenizers", &test_data("architectures/gpt2"));
    all.extend(
        all_of("gguf")
            .into_iter()
            .filter(|(_, path)| path.is_file()),
    );
    Folders::new("tokenizers", &all)
});

fuzz_target!(init: panics::watch(), |input: &[u8]| {
    MODELS.with_input(input, |folder: &Path| {
        let Ok(loaded) = load(folder) else {
            return;
        };
        let Ok(tokenizer) = loaded.required_tokenizer() else {
            return;
        };
        let _ = (tokenizer.bos(), tokenizer.pad(), tokenizer.around());
        for text in TEXTS {
            let Ok(ids) = tokenizer.encode(text) else {
                continue;
            };
            for id in &ids {
                let _ = (tokenizer.token_bytes(*id), tokenizer.token_text(*id));
            }
            let _ = tokenizer.text(&ids, tokenizer.adds_space(text));
        }
        let _ = tokenizer.text(&[0, 40, 41, u32::MAX], true);
    });
});
