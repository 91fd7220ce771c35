//! Parts of a page that its script unpacks: HTML, gzipped and written in letters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;

use crate::explore::page::gzipped;
use crate::explore::trouble::Trouble;

/// A part of a page, a tenth as long.
pub fn packed(html: &str) -> Result<String, Trouble> {
    Ok(STANDARD.encode(gzipped(html.as_bytes(), Compression::default())?))
}
