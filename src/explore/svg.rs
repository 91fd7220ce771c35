//! Pictures as SVG, whose marks have classes and no colours of their own, so that the style sheet has the last word.

use std::fmt::Write;

use polysema_udfs::svg::escaped;

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
    /// It holds values above this, if there is such a bound.
    pub lower: Option<f64>,
    /// And at most this.
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

/// A histogram with its bounds and the value from which on examples are kept.
pub fn histogram(title: &str, buckets: &[Bucket], mark: Option<(f64, &str)>) -> String {
    let [left, top, right, bottom] = [6.0, 16.0, 394.0, 116.0];
    let last = buckets
        .iter()
        .map(|bucket| bucket.bucket)
        .max()
        .unwrap_or(0);
    let n = last + 1;
    let mut svg = open("histogram", 400.0, 140.0, title, false);
    bars(&mut svg, buckets, [left, top, right, bottom], n);
    let _ = write!(svg, "<path class=\"axis\" d=\"M{left} {bottom}H{right}\"/>");
    let width = (right - left) / n as f64;
    let every = (n / 6).max(1);
    for bucket in buckets {
        if bucket.bucket % every == 0 && bucket.bucket + every <= last || bucket.bucket == last {
            let x = left + width * (bucket.bucket + 1) as f64;
            let anchor = if bucket.bucket == last {
                "end"
            } else {
                "middle"
            };
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                bottom + 14.0,
                short(bucket.upper)
            );
        }
    }
    if let Some((value, words)) = mark {
        let place = buckets.iter().find_map(|bucket| {
            let lower = bucket.lower?;
            let inside = value > lower && value <= bucket.upper;
            let part = (value - lower) / (bucket.upper - lower);
            inside.then_some(bucket.bucket as f64 + part)
        });
        if let Some(place) = place {
            let x = left + width * place;
            let _ = write!(
                svg,
                "<path class=\"mark\" d=\"M{x:.1} {}V{bottom}\"/><text class=\"mark\" x=\"{:.1}\" y=\"10\" text-anchor=\"end\">{words}</text>",
                top - 12.0,
                x - 4.0
            );
        }
    }
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

/// A number in few characters.
fn short(x: f64) -> String {
    match x.abs() {
        size if size >= 100.0 => format!("{x:.0}"),
        size if size >= 1.0 || size == 0.0 => trimmed(format!("{x:.1}")),
        size if size >= 0.1 => trimmed(format!("{x:.2}")),
        _ => trimmed(format!("{x:.3}")),
    }
}

fn trimmed(number: String) -> String {
    match number.contains('.') {
        true => number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_string(),
        false => number,
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
        let bucket = |bucket, lower, upper, count| Bucket {
            bucket,
            lower,
            upper,
            count,
        };
        let buckets = [bucket(0, None, 0.0, 90), bucket(2, Some(1.0), 2.0, 9)];
        let svg = histogram("t", &buckets, Some((1.5, "examples")));
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(svg.contains("class=\"mark\" d=\"M329.3"), "{svg}");
        assert_eq!(histogram("t", &[], None).matches("<rect").count(), 0);
    }

    #[test]
    fn numbers_of_an_axis_are_short() {
        let shown = [0.0, 0.0234375, 0.25, 1.5, 12.0, 1234.5].map(short);
        assert_eq!(shown, ["0", "0.023", "0.25", "1.5", "12", "1234"]);
    }
}
