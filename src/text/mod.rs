//! What is read: the pieces of SQL text, the words of an error, and where files lie in them. Knows no session.

mod folders;
mod lex;
mod message;
mod size;

pub use folders::{name_alone, without_folders};
pub use lex::{LexError, Lexeme, PieceKind, is_name, lex, line_of, quoted, statements};
pub use message::{COLUMN, LINE, StatementPlace, describe, located};
pub use size::parse_size;
