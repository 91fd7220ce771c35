//! Parts of a page that its script unpacks: HTML, gzipped and written in letters.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A part of a page, a tenth as long.
pub fn packed(html: &str) -> std::io::Result<String> {
    let mut gzip = GzEncoder::new(vec![], Compression::default());
    gzip.write_all(html.as_bytes())?;
    Ok(STANDARD.encode(gzip.finish()?))
}
