//! Text to token ids, and ids back to the bytes that they stand for.

mod folder;
mod special;
mod spelling;
mod vocabulary;

pub(super) use folder::{is_part, of_folder};
pub use vocabulary::Tokenizer;
