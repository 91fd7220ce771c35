//! What a corpus file is, by the ending of its name.

use std::path::Path;

/// How a file holds its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// All of it is one text.
    Text,
    /// JSON objects, one a line or in one array.
    Json,
    /// Lines of cells with this between them.
    Csv {
        delimiter: u8,
    },
    Parquet,
    /// Arrow IPC, the file or the stream.
    Arrow,
    /// Token ids as they lie in memory.
    Ids,
}

const KINDS: [(&str, FileKind); 9] = [
    ("txt", FileKind::Text),
    ("jsonl", FileKind::Json),
    ("ndjson", FileKind::Json),
    ("json", FileKind::Json),
    ("csv", FileKind::Csv { delimiter: b',' }),
    ("tsv", FileKind::Csv { delimiter: b'\t' }),
    ("parquet", FileKind::Parquet),
    ("arrow", FileKind::Arrow),
    ("bin", FileKind::Ids),
];
const PACKED: [&str; 3] = ["gz", "zst", "zstd"];

/// The endings of files, in words.
pub(super) const ENDINGS: &str = ".txt, .jsonl, .ndjson, .json, .csv, .tsv (these also as .gz or .zst), .parquet, .arrow or .bin";

impl FileKind {
    /// That of a name, in letters of any case.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let ending = |path: &Path| Some(path.extension()?.to_string_lossy().to_lowercase());
        let last = ending(path)?;
        if !PACKED.contains(&&*last) {
            return known(&last);
        }
        let within = known(&ending(Path::new(path.file_stem()?))?)?;
        within.is_text().then_some(within)
    }

    /// Whether it is text, which may be packed.
    fn is_text(self) -> bool {
        matches!(self, FileKind::Text | FileKind::Json | FileKind::Csv { .. })
    }

    /// Whether it has columns.
    pub(super) fn has_columns(self) -> bool {
        !matches!(self, FileKind::Text | FileKind::Ids)
    }
}

/// The ending of a name that says a kind, with that of its packing, as it is written.
pub(super) fn ending(name: &str) -> Option<String> {
    FileKind::of(Path::new(name))?;
    let (rest, last) = name.rsplit_once('.')?;
    let packed = PACKED.contains(&&*last.to_lowercase());
    match rest.rsplit_once('.').filter(|_| packed) {
        Some((_, inner)) => Some(format!("{inner}.{last}")),
        None => Some(last.to_string()),
    }
}

fn known(ending: &str) -> Option<FileKind> {
    let found = KINDS.iter().find(|(known, _)| *known == ending);
    found.map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_the_kind() {
        let of = |name: &str| FileKind::of(Path::new(name));
        assert_eq!(of("x/A.JSONL"), Some(FileKind::Json));
        assert_eq!(of("a.json.gz"), Some(FileKind::Json));
        assert_eq!(of("a.b.txt.zst"), Some(FileKind::Text));
        assert_eq!(of("a.bin"), Some(FileKind::Ids));
        for name in ["a", "a.gz", "a.parquet.gz", "a.md", ".txt"] {
            assert_eq!(of(name), None, "{name}");
        }
        let every = KINDS
            .iter()
            .all(|(ending, _)| ENDINGS.contains(&format!(".{ending}")));
        assert!(every, "{ENDINGS}");
    }
}
