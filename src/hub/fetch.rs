//! Who fetches, and what is told of it.

use datafusion::error::Result;

/// Told what is done; an error ends the work.
pub type Watch<'a> = dyn FnMut(&str) -> Result<()> + 'a;

/// Whether the network may be asked, and who is told what is done.
pub struct Fetch<'a> {
    /// Whether files that are not in the cache may be downloaded.
    pub may_download: bool,
    /// Told many times a second; an error ends the work.
    pub watch: Box<Watch<'a>>,
}
