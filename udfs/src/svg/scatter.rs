//! Points in a plane, coloured by cluster.

use super::curve::axes;
use super::palette::Ink;
use super::picture::{About, Picture};

/// A point with what a pointer over it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// To the right, and up.
    pub at: [f64; 2],
    /// Its colour.
    pub ink: Ink,
    /// What it is.
    pub tip: String,
}

/// Points over two named scales; those whose numbers are not finite are left out.
pub fn scatter(about: &About, names: [&str; 2], points: &[Point]) -> String {
    let mut picture = Picture::new(about, [640.0, 280.0]);
    let seen = points
        .iter()
        .filter(|point| point.at.iter().all(|x| x.is_finite()));
    let along = |i: usize| seen.clone().map(move |point: &Point| point.at[i]);
    let [x, y] = axes(&mut picture, names, along(0), along(1));
    for point in seen {
        let at = [x.place(point.at[0]), y.place(point.at[1])];
        picture.circle(point.ink, at, 4.0, Some(&point.tip));
    }
    picture.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_on_their_scales() {
        let point = |x, y| Point {
            at: [x, y],
            ink: Ink::Cluster { number: 1, size: 2 },
            tip: "a & b".to_string(),
        };
        let points = [point(-1.0, 0.0), point(1.0, 2.0), point(f64::NAN, 0.0)];
        let svg = scatter(&About::default(), ["pc1", "pc2"], &points);
        assert_eq!(svg.matches("<circle class=\"cluster c1\"").count(), 2);
        assert!(svg.contains("cx=\"64\" cy=\"232\"") && svg.contains("cx=\"624\" cy=\"12\""));
        assert!(svg.contains("<title>a &amp; b</title>"));
    }
}
