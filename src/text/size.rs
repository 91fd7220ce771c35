//! A number of bytes as it is typed.

/// A number of bytes with an optional unit.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let required = || format!("a size as 512MiB or 2GiB is required, got {text:?}");
    let text_end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.split_at(text_end.unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| required())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1_048_576.0,
        "g" | "gib" => 1_073_741_824.0,
        "t" | "tib" => 1_099_511_627_776.0,
        _ => return Err(required()),
    };
    let bytes = number * factor;
    if !(1.0..9.0e18).contains(&bytes) {
        return Err(required());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    Ok(bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("2GiB"), Ok(2_147_483_648));
        assert_eq!(parse_size("1.5 kb"), Ok(1500));
        assert_eq!(parse_size("4096"), Ok(4096));
        for wrong in ["", "GiB", "2 apples", "-1", "0", "1e400", "1.2.3"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
