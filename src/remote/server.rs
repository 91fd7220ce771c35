//! What a store's files are asked of, whatever protocol it speaks.

use std::fmt;
use std::ops::Range;

use datafusion::error::Result;
use url::Url;

/// Who gives the files of a store.
pub(super) trait FileServer: fmt::Debug + Send + Sync {
    /// Where they are.
    fn address(&self) -> &Url;

    /// A small file; none if there is none.
    fn whole(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// A part of a file of so many bytes; none if there is no such file.
    fn part(&self, path: &str, part: &Range<usize>, size: usize) -> Result<Option<Vec<u8>>>;

    /// Bytes of a file; none if there is none.
    fn size(&self, path: &str) -> Result<Option<u64>>;
}
