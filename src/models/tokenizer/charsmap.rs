//! The table of a `Precompiled` normalizer. Its reader makes room for as many entries as the table says that it has, eight bytes
//! each, and a small file may say a thousand million.

use serde::Deserialize;
use serde_json::Value;

/// Digits of base64 in the order of their values.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Of the table's first number, its bytes of entries.
const LENGTH_DIGITS: usize = 6;

/// The part of a tokenizer that has such tables.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
}

/// Refuses a tokenizer's file of which a table has fewer bytes than it says. What is no JSON object is left to the tokenizer's reader.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Parts>(file) {
        Ok(parts) => check_normalizer(&parts.normalizer),
        // Of two normalizers both are made.
        Err(e) if e.to_string().starts_with("duplicate field") => {
            Err(format!("a tokenizer is required, got {e}"))
        }
        Err(_) => Ok(()),
    }
}

fn check_normalizer(normalizer: &Value) -> Result<(), String> {
    match normalizer {
        Value::Array(parts) => parts.iter().try_for_each(check_normalizer),
        Value::Object(parts) => {
            let table = parts.get("precompiled_charsmap").and_then(Value::as_str);
            table.map_or(Ok(()), check_table)?;
            parts.values().try_for_each(check_normalizer)
        }
        _ => Ok(()),
    }
}

fn check_table(table: &str) -> Result<(), String> {
    let digits = table.bytes().take(LENGTH_DIGITS);
    let values: Option<Vec<u64>> = digits
        .map(|digit| DIGITS.iter().position(|&of| of == digit).map(|i| i as u64))
        .collect();
    // What is no base64 is refused by the reader before it makes room.
    let Some(values) = values.filter(|values| values.len() == LENGTH_DIGITS) else {
        return Ok(());
    };
    // 36 bits, of which the first 32 are the number, its lowest byte first.
    let bits = values.iter().fold(0, |bits, value| bits << 6 | value) >> 4;
    let (said, most) = ((bits as u32).swap_bytes() as usize, table.len() / 4 * 3);
    match said <= most {
        true => Ok(()),
        false => Err(format!(
            "a precompiled_charsmap of {said} bytes of entries, as it says, is required, got at most {most}"
        )),
    }
}
