//! A dataset example as one line of text: its window of tokens with the key token marked.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::common::Result;

/// Put before and after the key token.
pub const MARKS: [char; 2] = ['«', '»'];

/// One line an example: tokens joined, line breaks shown as `↵`, the key token between [`MARKS`].
///
/// NULL where the window is. `pos` and `window_start` are positions in the document.
pub fn contexts(
    window_tokens: &ArrayRef,
    pos: &ArrayRef,
    window_start: &ArrayRef,
) -> Result<StringArray> {
    let windows = cast(window_tokens, &DataType::new_list(DataType::Utf8, true))?;
    let windows = windows.as_list::<i32>();
    let (pos, start) = (
        pos.as_primitive::<Int32Type>(),
        window_start.as_primitive::<Int32Type>(),
    );
    Ok((0..windows.len())
        .map(|i| {
            if windows.is_null(i) || pos.is_null(i) || start.is_null(i) {
                return None;
            }
            let key = i64::from(pos.value(i)) - i64::from(start.value(i));
            let tokens = windows.value(i);
            Some(line(
                tokens
                    .as_string::<i32>()
                    .iter()
                    .map(Option::unwrap_or_default),
                key,
            ))
        })
        .collect())
}

fn line<'a>(tokens: impl Iterator<Item = &'a str>, key: i64) -> String {
    let mut line = String::new();
    for (i, token) in tokens.enumerate() {
        if i as i64 == key {
            // A leading space belongs between the words, not inside the marks.
            let word = token.trim_start_matches(' ');
            line.extend(std::iter::repeat_n(' ', token.len() - word.len()));
            line.push(MARKS[0]);
            push_visible(&mut line, word);
            line.push(MARKS[1]);
        } else {
            push_visible(&mut line, token);
        }
    }
    line
}

fn push_visible(line: &mut String, token: &str) {
    line.extend(token.chars().map(|c| match c {
        '\n' => '↵',
        c if c.is_control() => ' ',
        c => c,
    }));
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_key_token_is_marked_inside_its_space() {
        assert_eq!(
            line(["a", " river", " bank", "\n", " x"].into_iter(), 2),
            "a river «bank»↵ x"
        );
        assert_eq!(line(["\n", "b"].into_iter(), 0), "«↵»b");
        assert_eq!(
            line(["a", "b"].into_iter(), 7),
            "ab",
            "a key outside the window marks nothing"
        );
    }
}
