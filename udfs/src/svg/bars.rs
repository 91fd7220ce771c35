//! Bars: a name and its number each, below each other.

use super::axis::Axis;
use super::palette::Ink;
use super::picture::{About, Anchor, Picture};
use super::text::{columns, first_columns, visible};

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is called.
    pub label: String,
    /// How long it is.
    pub value: f64,
    /// The value as text.
    pub text: String,
}

const ROW: f64 = 20.0;
const WIDTH: f64 = 640.0;
const MARGIN: f64 = 12.0;
/// Columns of a label at most.
const LABEL: usize = 36;

/// Bars below each other, the labels to the left, the values behind the bars. Values below 0 go to the left.
pub fn bars(about: &About, bars: &[Bar]) -> String {
    let labels: Vec<String> = (bars.iter())
        .map(|bar| first_columns(&visible(&bar.label), LABEL))
        .collect();
    let label = labels.iter().map(|label| columns(label)).max().unwrap_or(0);
    let text = bars.iter().map(|bar| columns(&bar.text)).max().unwrap_or(0);
    let left = MARGIN + label as f64 * 7.0 + 8.0;
    let right = WIDTH - MARGIN - text as f64 * 7.5 - 6.0;
    let values = bars.iter().map(|bar| bar.value);
    let axis = Axis::over(values.chain([0.0]), [left, right.max(left + 40.0)]);
    let mut picture = Picture::new(about, [WIDTH, bars.len() as f64 * ROW + 2.0 * MARGIN]);
    let zero = axis.place(0.0);
    for (i, (bar, label)) in bars.iter().zip(&labels).enumerate() {
        let y = MARGIN + (i as f64 + 0.5) * ROW;
        picture.text(Ink::Text, Anchor::End, [left - 8.0, y], label);
        let end = if bar.value.is_finite() {
            axis.place(bar.value)
        } else {
            zero
        };
        let tip = format!("{}: {}", bar.label, bar.text);
        let at = [zero.min(end), y - 7.0];
        picture.rectangle(Ink::Mark, at, [(end - zero).abs(), 14.0], Some(&tip));
        picture.text(
            Ink::Text,
            Anchor::Start,
            [zero.max(end) + 6.0, y],
            &bar.text,
        );
    }
    let bottom = MARGIN + bars.len() as f64 * ROW;
    picture.line(Ink::Faint, [zero, MARGIN], [zero, bottom], false);
    picture.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_value_and_says_it() {
        let bar = |label: &str, value: f64| Bar {
            label: label.to_string(),
            value,
            text: value.to_string(),
        };
        let svg = bars(
            &About::default(),
            &[bar("a<", 4.0), bar("b", 1.0), bar("c", f64::NAN)],
        );
        let width = |nth: usize| -> f64 {
            let rest = svg.split("<rect class=\"mark\"").nth(nth).expect("a bar");
            let text = rest
                .split("width=\"")
                .nth(1)
                .and_then(|t| t.split('"').next());
            text.expect("a width").parse().expect("a number")
        };
        assert!((width(1) - 4.0 * width(2)).abs() < 0.05, "{svg}");
        assert_eq!(width(3), 0.0);
        assert!(svg.contains(">a&lt;</tspan>") && svg.contains("NaN"));
        assert!(bars(&About::default(), &[]).ends_with("</svg>\n"));
    }
}
