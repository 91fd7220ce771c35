//! What is read: the pieces of SQL text, and the words of an error. Knows no session.

mod lex;
mod message;

pub use lex::{LexError, Lexeme, PieceKind, is_name, lex, line_of};
pub use message::describe;
