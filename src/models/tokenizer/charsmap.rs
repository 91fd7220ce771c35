//! The table of a `Precompiled` normalizer. Its reader makes room for as many entries as the table says that it has, eight bytes
//! each, and a small file may say a thousand million.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::Value;

/// The digits of base64 with the table's first number, its bytes of entries; they do not end where it does.
const LENGTH_DIGITS: usize = 6;
const LENGTH: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// The part of a tokenizer that has such tables.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
}

/// Refuses a tokenizer's file of which a table has fewer bytes than it says. What is broken behind a table is refused here too: the
/// tokenizer's reader makes the table before it comes to that, and of two normalizers both.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    let parts: Parts =
        serde_json::from_slice(file).map_err(|e| format!("a tokenizer is required, got {e}"))?;
    check_normalizer(&parts.normalizer)
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
    let digits = table.as_bytes().get(..LENGTH_DIGITS);
    let number = digits.and_then(|digits| LENGTH.decode(digits).ok());
    // What is no base64 is refused by the reader before it makes room.
    let Some(Ok(number)) = number.map(<[u8; 4]>::try_from) else {
        return Ok(());
    };
    let (said, most) = (u32::from_le_bytes(number) as usize, table.len() / 4 * 3);
    match said <= most {
        true => Ok(()),
        false => Err(format!(
            "a precompiled_charsmap of {said} bytes of entries, as it says, is required, got at most {most}"
        )),
    }
}
