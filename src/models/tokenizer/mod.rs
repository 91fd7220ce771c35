//! Text to token ids, and ids back to the bytes that they stand for.

mod charsmap;
mod folder;
mod gguf;
mod growth;
mod special;
mod spelling;
mod vocabulary;

pub(super) use folder::{is_part, of_folder, wanted};
pub(super) use gguf::of_gguf;
pub use vocabulary::Tokenizer;
