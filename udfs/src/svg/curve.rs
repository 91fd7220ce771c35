//! Numbers against numbers in their order: a histogram over ranges, a curve of steps, a line.

use std::fmt::Write;

use super::axis::{Axis, number};
use super::palette::Ink;
use super::picture::{About, Anchor, Picture};

/// How the numbers are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Straight from one to the next.
    Line,
    /// A number holds until the next.
    Steps,
    /// Filled from 0 up; a number holds until the next place, the last has no width.
    Filled,
}

const SIZE: [f64; 2] = [640.0, 280.0];
/// Where numbers are: left, right, top, bottom.
const AREA: [f64; 4] = [64.0, 624.0, 12.0, 232.0];

/// Numbers `(x, y)`, the first ascending, with the names of both and perhaps a place that is marked.
pub fn curve(
    about: &About,
    [x_name, y_name]: [&str; 2],
    points: &[(f64, f64)],
    shape: Shape,
    marked: Option<(f64, &str)>,
) -> String {
    let points: Vec<_> = (points.iter().copied())
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    let mut picture = Picture::new(about, SIZE);
    let [x_axis, y_axis] = axes(
        &mut picture,
        [x_name, y_name],
        points.iter().map(|p| p.0).chain(marked.map(|m| m.0)),
        // Areas are compared from 0.
        points
            .iter()
            .map(|p| p.1)
            .chain((shape == Shape::Filled).then_some(0.0)),
    );
    let mut commands = String::new();
    let zero = number(y_axis.place(0.0));
    for (i, (x, y)) in points.iter().enumerate() {
        let [x, y] = [x_axis.place(*x), y_axis.place(*y)].map(number);
        let _ = match (i, shape) {
            (0, Shape::Filled) => write!(commands, "M{x} {zero}V{y}"),
            (0, _) => write!(commands, "M{x} {y}"),
            (_, Shape::Line) => write!(commands, "L{x} {y}"),
            (_, Shape::Steps | Shape::Filled) => write!(commands, "H{x}V{y}"),
        };
    }
    if shape == Shape::Filled && !points.is_empty() {
        let _ = write!(commands, "V{zero}Z");
        picture.shape(Ink::Mark, &commands, None);
    } else if !points.is_empty() {
        picture.path(Ink::Mark, &commands, 2.0, None);
    }
    if let Some((x, text)) = marked.filter(|(x, _)| x.is_finite()) {
        let [left, right, top, bottom] = AREA;
        let x = x_axis.place(x);
        picture.line(Ink::Accent, [x, top], [x, bottom], true);
        let (anchor, at) = match x > right - (right - left) / 4.0 {
            true => (Anchor::End, x - 6.0),
            false => (Anchor::Start, x + 6.0),
        };
        picture.text(Ink::Accent, anchor, [at, top + 8.0], text);
    }
    picture.finish()
}

/// Two scales with their lines, ticks and names.
pub(super) fn axes(
    picture: &mut Picture,
    [x_name, y_name]: [&str; 2],
    x: impl Iterator<Item = f64>,
    y: impl Iterator<Item = f64>,
) -> [Axis; 2] {
    let [left, right, top, bottom] = AREA;
    let x_axis = Axis::over(x, [left, right]);
    let y_axis = Axis::over(y, [bottom, top]);
    for (y, text) in y_axis.ticks(5) {
        let y = y_axis.place(y);
        picture.line(Ink::Grid, [left, y], [right, y], false);
        picture.text(Ink::Faint, Anchor::End, [left - 6.0, y], &text);
    }
    for (x, text) in x_axis.ticks(8) {
        let x = x_axis.place(x);
        picture.line(Ink::Faint, [x, bottom], [x, bottom + 4.0], false);
        picture.text(Ink::Faint, Anchor::Middle, [x, bottom + 14.0], &text);
    }
    picture.line(Ink::Faint, [left, bottom], [right, bottom], false);
    let middle = (left + right) / 2.0;
    picture.text(Ink::Text, Anchor::Middle, [middle, bottom + 34.0], x_name);
    picture.upright(Ink::Text, [12.0, (top + bottom) / 2.0], y_name);
    [x_axis, y_axis]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(shape: Shape, points: &[(f64, f64)]) -> String {
        let svg = curve(
            &About::default(),
            ["x", "y"],
            points,
            shape,
            Some((0.5, "cut")),
        );
        assert!(svg.contains(">cut</tspan>") && svg.ends_with("</svg>\n"));
        let path = svg
            .split(" d=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        path.unwrap_or_default().to_string()
    }

    #[test]
    fn points_are_joined_as_asked_and_numbers_that_are_none_left_out() {
        let points = [(0.0, 1.0), (0.5, f64::NAN), (1.0, 3.0)];
        assert_eq!(path(Shape::Line, &points), "M64 232L624 12");
        assert_eq!(path(Shape::Steps, &points), "M64 232H624V12");
        assert_eq!(path(Shape::Filled, &points), "M64 232V158.67H624V12V232Z");
        assert_eq!(path(Shape::Line, &[]), "");
    }
}
