//! Quantities along something that grows, as lines over scales with round numbers.

use std::fmt::Write;

use polysema_udfs::svg::escaped;

use super::scatter::Scale;
use super::show;

/// A scale of powers from this ratio of the largest to the least on.
const WIDE: f64 = 30.0;

/// One of the lines of a picture: points from left to right.
#[derive(Debug, Clone, Default)]
pub struct DrawnLine {
    /// What it is of.
    pub name: String,
    /// To the right and up.
    pub points: Vec<(f64, f64)>,
}

/// Whether the lines are drawn over a scale of powers: all above 0, and of very different sizes.
pub fn is_wide(lines: &[DrawnLine]) -> bool {
    let ys = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let (low, high) = ys.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| {
        (low.min(y), high.max(y))
    });
    low > 0.0 && high / low >= WIDE
}

/// Where a picture begins and ends.
const LEFT: f64 = 52.0;
const TOP: f64 = 10.0;
const RIGHT: f64 = 342.0;
const BOTTOM: f64 = 150.0;

/// The picture of lines, whose classes are `c0`, `c1`, ...; over a scale of powers, all their numbers are above 0.
pub fn lines(said: &str, along: &str, lines: &[DrawnLine], of_powers: bool) -> String {
    let up = |y: f64| if of_powers { y.log10() } else { y };
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = Scale::of(points().map(|point| point.0), LEFT, RIGHT);
    // What is the same throughout lies on its foot or below its head, not in the middle of nothing.
    let first = points().next().map_or(0.0, |point| up(point.1));
    let is_flat = points().all(|point| up(point.1) == first);
    let around = [0.0, if first == 0.0 { 1.0 } else { first }];
    let around = around.into_iter().filter(|_| is_flat);
    let y = Scale::of(points().map(|point| up(point.1)).chain(around), BOTTOM, TOP);
    let mut svg = format!(
        "<svg class=\"lines\" role=\"img\" viewBox=\"0 0 360 186\" aria-label=\"{}\">",
        escaped(said)
    );
    for tick in y.ticks() {
        // Between powers no number is round.
        if of_powers && tick.fract() != 0.0 {
            continue;
        }
        let (at, number) = (
            y.place(tick),
            if of_powers { 10f64.powf(tick) } else { tick },
        );
        let _ = write!(
            svg,
            "<path class=\"axis faint\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 5.0,
            at + 4.0,
            show::number(number)
        );
    }
    for tick in x.ticks() {
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x.place(tick),
            BOTTOM + 15.0,
            show::number(tick)
        );
    }
    for (at, line) in lines.iter().enumerate() {
        let mut d = String::new();
        for (right, height) in &line.points {
            let command = if d.is_empty() { 'M' } else { 'L' };
            let _ = write!(
                d,
                "{command}{:.1} {:.1}",
                x.place(*right),
                y.place(up(*height))
            );
        }
        // A line of one point is a dot of its round end.
        if let [(right, height)] = line.points[..] {
            let _ = write!(d, "L{:.1} {:.1}", x.place(right), y.place(up(height)));
        }
        let _ = write!(svg, "<path class=\"line c{at}\" d=\"{d}\"/>");
    }
    let _ = write!(
        svg,
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>\
         <text class=\"name\" x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">{}</text></svg>",
        BOTTOM + 32.0,
        escaped(along)
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> DrawnLine {
        DrawnLine {
            name: "a".into(),
            points: points.to_vec(),
        }
    }

    #[test]
    fn lines_go_through_their_points() {
        let svg = lines(
            "<b>",
            "step",
            &[line(&[(0.0, 0.0), (5.0, 1.0), (10.0, 0.5)])],
            false,
        );
        assert!(
            svg.contains("<path class=\"line c0\" d=\"M52.0 150.0L197.0 10.0L342.0 80.0\"/>"),
            "{svg}"
        );
        assert!(svg.contains("aria-label=\"&lt;b&gt;\""));
    }

    #[test]
    fn what_falls_over_powers_is_drawn_over_them() {
        let falls = [line(&[(1.0, 100.0), (2.0, 1.0), (3.0, 0.01)])];
        assert!(is_wide(&falls));
        let svg = lines("loss", "step", &falls, true);
        assert!(
            svg.contains("d=\"M52.0 10.0L197.0 80.0L342.0 150.0\""),
            "{svg}"
        );
        for power in [">0.01<", ">1<", ">100<"] {
            assert!(svg.contains(power), "{svg}");
        }
        for flat in [
            &[(1.0, 0.0), (2.0, 100.0)][..],
            &[(1.0, 2.0), (2.0, 3.0)],
            &[],
        ] {
            assert!(!is_wide(&[line(flat)]));
        }
        assert!(
            lines("", "", &[line(&[(1.0, 2.0)])], false).contains("d=\"M197.0 10.0L197.0 10.0\"")
        );
    }
}
