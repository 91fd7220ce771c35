//! The JSON of small files with a checksum in it: the first member says that there is one, the last one is it. Damage that
//! makes one of the two unreadable leaves the other, so that it is told from what was written before there were checksums.

use std::path::Path;

use datafusion::error::Result;

use super::checksums::{OTHER, agrees, damaged};

const FIRST: &str = "{\"checked\":\"crc32\"";
const LAST: &str = ",\"checksum\":\"";
/// Bytes of the last member and the closing brace.
const LAST_BYTES: usize = LAST.len() + 8 + 2;

/// The text of a JSON object, sealed.
pub fn seal(object: &[u8]) -> Vec<u8> {
    let members = object.trim_ascii();
    let members = members.strip_prefix(b"{").unwrap_or(members);
    let members = members.strip_suffix(b"}").unwrap_or(members).trim_ascii();
    let mut text = FIRST.as_bytes().to_vec();
    if !members.is_empty() {
        text.push(b',');
        text.extend_from_slice(members);
    }
    let checksum = crc32fast::hash(&text);
    text.extend_from_slice(format!("{LAST}{checksum:08x}\"}}").as_bytes());
    text
}

/// Whether a text was sealed.
///
/// Errors: it is not what was sealed.
pub fn is_sealed(path: &Path, text: &[u8]) -> Result<bool> {
    let (body, last) = text.split_at(text.len().saturating_sub(LAST_BYTES));
    if !text.starts_with(FIRST.as_bytes()) && !last.starts_with(LAST.as_bytes()) {
        return Ok(false);
    }
    let expected = format!("{LAST}{:08x}\"}}", crc32fast::hash(body));
    match agrees(text.starts_with(FIRST.as_bytes()) && last == expected.as_bytes()) {
        true => Ok(true),
        false => Err(damaged(path, OTHER)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_damage_of_a_sealed_text_is_told_and_old_texts_are_read() {
        for object in ["{}", "{\"a\":1}", " {\"a\": {\"b\": [1, 2]}}\n"] {
            let path = Path::new("manifest.json");
            let text = seal(object.as_bytes());
            let read: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            let mut object: serde_json::Value = serde_json::from_str(object).expect("JSON");
            assert!(!is_sealed(path, object.to_string().as_bytes()).expect("an old one"));
            object["checked"] = "crc32".into();
            object["checksum"] = read["checksum"].clone();
            assert_eq!(read, object);
            assert!(is_sealed(path, &text).expect("whole"));
            for at in 0..text.len() {
                for bit in 0..8 {
                    let mut flipped = text.clone();
                    flipped[at] ^= 1 << bit;
                    let error = is_sealed(path, &flipped).expect_err("flipped").to_string();
                    assert!(error.contains("manifest.json damaged"), "{error}");
                }
                // What is cut off may leave no trace of a seal, but then no JSON either.
                let cut = &text[..at];
                let is_json = serde_json::from_slice::<serde_json::Value>(cut).is_ok();
                assert!(is_sealed(path, cut).is_err() || !is_json, "cut to {at}");
            }
            assert!(is_sealed(path, &[&text[..], b"\n"].concat()).is_err());
        }
    }
}
