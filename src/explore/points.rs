//! Examples as points of a plane, in the colours of their clusters: the same measure along both axes, so that distances are
//! those of the projection.

use std::fmt::Write;

use super::tree::class;

/// The picture's width and height, and what is left free around the points.
const SIZE: [f64; 2] = [340.0, 260.0];
const MARGIN: f64 = 12.0;
/// Clusters that have a colour, and so a number in the picture.
const NUMBERED: usize = 8;

/// An example in the plane.
#[derive(Debug, Clone, PartialEq)]
pub struct ExamplePoint {
    /// Its number, to which the point links.
    pub example: i64,
    /// Where it is: to the right, and up.
    pub place: [f64; 2],
    /// Its cluster, if it is in one.
    pub cluster: Option<usize>,
}

/// The picture of points; each is a link to its example.
pub fn points(examples: &[ExamplePoint]) -> String {
    let ends = |axis: usize| {
        let places = examples.iter().map(|point| point.place[axis]);
        places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        })
    };
    let ends = [ends(0), ends(1)];
    let scales = ends.iter().zip(SIZE).map(|((low, high), size)| {
        let width = high - low;
        match width > 0.0 {
            true => (size - 2.0 * MARGIN) / width,
            false => f64::INFINITY,
        }
    });
    let scale = scales.fold(f64::INFINITY, f64::min);
    let scale = if scale.is_finite() { scale } else { 1.0 };
    let at = |axis: usize, x: f64| {
        let (low, high) = ends[axis];
        let from_middle = (x - (low + high) / 2.0) * scale;
        SIZE[axis] / 2.0 + if axis == 0 { from_middle } else { -from_middle }
    };
    let [width, height] = SIZE;
    let mut svg =
        format!("<svg class=\"points\" viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\">");
    // The mean of all is at 0.
    let _ = write!(
        svg,
        "<path class=\"axis faint\" d=\"M{:.1} 0V{height}M0 {:.1}H{width}\"/>",
        at(0, 0.0),
        at(1, 0.0)
    );
    let mut sums = [([0.0; 2], 0.0); NUMBERED];
    for point in examples {
        let [x, y] = [0, 1].map(|axis| at(axis, point.place[axis]));
        let _ = write!(
            svg,
            "<a href=\"#example-{}\" tabindex=\"-1\"><circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/></a>",
            point.example,
            class(point.cluster)
        );
        if let Some((sum, n)) = point.cluster.and_then(|cluster| sums.get_mut(cluster)) {
            *sum = [sum[0] + x, sum[1] + y];
            *n += 1.0;
        }
    }
    for (cluster, (sum, n)) in sums.iter().enumerate().filter(|(_, (_, n))| *n > 0.0) {
        let [x, y] = sum.map(|sum| sum / n);
        let _ = write!(
            svg,
            "<text class=\"which\" x=\"{x:.1}\" y=\"{:.1}\">{cluster}</text>",
            y - 7.0
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_measure_holds_along_both_axes() {
        let point = |example, x, y, cluster| ExamplePoint {
            example,
            place: [x, y],
            cluster,
        };
        let svg = points(&[
            point(7, -1.0, 0.0, Some(0)),
            point(8, 1.0, 0.0, Some(0)),
            point(9, 0.0, 0.5, Some(9)),
        ]);
        // 316 between the outer two, so 79 for half a unit, about the middle of the picture.
        for part in [
            "<a href=\"#example-7\" tabindex=\"-1\"><circle class=\"c0\" cx=\"12.0\" cy=\"169.5\"",
            "<circle class=\"c0\" cx=\"328.0\" cy=\"169.5\"",
            "<circle class=\"cx\" cx=\"170.0\" cy=\"90.5\"",
            "<text class=\"which\" x=\"170.0\" y=\"162.5\">0</text></svg>",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        let same = points(&[point(1, 3.0, 3.0, None), point(2, 3.0, 3.0, None)]);
        assert!(same.contains("cx=\"170.0\" cy=\"130.0\""), "{same}");
    }
}
