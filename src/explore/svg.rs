//! Pictures as SVG, whose marks have classes and no colours of their own, so that the style sheet has the last word.

use std::fmt::Write;

/// A bar of parts, the classes `k0`, `k1`, ... from the left.
pub fn stacked(title: &str, parts: &[i64]) -> String {
    let all = parts.iter().sum::<i64>().max(1) as f64;
    let mut svg = open("stacked", 100.0, 10.0, title, true);
    let mut x = 0.0;
    for (at, part) in parts.iter().enumerate() {
        let width = *part as f64 / all * 100.0;
        if width > 0.0 {
            let _ = write!(
                svg,
                "<rect class=\"k{at}\" x=\"{x:.2}\" y=\"0\" width=\"{width:.2}\" height=\"10\"/>"
            );
        }
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

/// A bucket of a histogram.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Its number; those between two that are given are empty.
    pub bucket: i64,
    /// It holds values of at most this.
    pub upper: f64,
    /// How many.
    pub count: i64,
}

/// A histogram without words, as small as a line: heights are logarithms of the counts.
pub fn spark(title: &str, buckets: &[Bucket], n_buckets: i64) -> String {
    let n = n_buckets.max(1) as f64;
    let mut svg = open("spark", 4.0 * n, 20.0, title, true);
    bars(&mut svg, buckets, [0.0, 0.0, 4.0 * n, 20.0], n_buckets);
    svg.push_str("</svg>");
    svg
}

fn bars(svg: &mut String, buckets: &[Bucket], [left, top, right, bottom]: [f64; 4], n: i64) {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
    let scale = (most as f64 + 1.0).ln().max(f64::MIN_POSITIVE);
    let width = (right - left) / n.max(1) as f64;
    for bucket in buckets.iter().filter(|bucket| bucket.count > 0) {
        let height = (bucket.count as f64 + 1.0).ln() / scale * (bottom - top);
        let class = if bucket.upper > 0.0 {
            "bar"
        } else {
            "bar rest"
        };
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{height:.2}\"/>",
            left + width * bucket.bucket as f64,
            bottom - height,
            width * 0.86
        );
    }
}

fn open(class: &str, width: f64, height: f64, title: &str, stretches: bool) -> String {
    let stretch = if stretches {
        " preserveAspectRatio=\"none\""
    } else {
        ""
    };
    format!(
        "<svg class=\"{class}\" role=\"img\" viewBox=\"0 0 {width} {height}\"{stretch} aria-label=\"{}\">",
        escaped(title)
    )
}

/// A text between quotes or tags.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_of_their_numbers_and_of_no_ones_markup() {
        let bar = stacked("<b>\"", &[1, 0, 3]);
        assert!(bar.contains("aria-label=\"&lt;b&gt;&quot;\""), "{bar}");
        assert_eq!(bar.matches("<rect").count(), 2);
        assert!(
            bar.contains("class=\"k2\" x=\"25.00\" y=\"0\" width=\"75.00\""),
            "{bar}"
        );
        let buckets = [90, 0, 9].map(|count| Bucket {
            bucket: 0,
            upper: 0.0,
            count,
        });
        assert_eq!(spark("t", &buckets, 1).matches("<rect").count(), 2);
    }
}
