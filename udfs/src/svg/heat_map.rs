//! A number a cell as a colour: white to blue from 0 up, white to orange from 0 down.

use super::palette::Ink;
use super::picture::{About, Anchor, Picture};

/// Cells by rows and columns from the upper left, one number each.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// Columns.
    pub n_columns: usize,
    /// A number each, row by row; one that is not finite stays empty.
    pub values: Vec<f64>,
}

/// Shades of each sign, by which a page's style sheet can tell them: `p1` to `p11` and `n1` to `n11`.
const SHADES: usize = 11;
/// Width of the cells together.
const WIDTH: f64 = 280.0;
const MARGIN: f64 = 12.0;

/// The cells with the greatest magnitude as the darkest shade.
pub fn heat_map(about: &About, map: &HeatMap) -> String {
    let columns = map.n_columns.max(1);
    let rows = map.values.len().div_ceil(columns);
    let cell = WIDTH / columns as f64;
    let height = rows as f64 * cell;
    let size = [WIDTH + 2.0 * MARGIN, height + 2.0 * MARGIN + 20.0];
    let mut picture = Picture::new(about, size);
    let finite = map.values.iter().copied().filter(|x| x.is_finite());
    let most = finite.clone().map(f64::abs).fold(0.0, f64::max);
    for (i, value) in map.values.iter().enumerate().filter(|(_, x)| x.is_finite()) {
        let (row, column) = (i / columns, i % columns);
        let (class, colour) = shade(*value, most);
        let at = [MARGIN + column as f64 * cell, MARGIN + row as f64 * cell];
        // A little wider, else the paper shines through between cells.
        picture.rectangle_of(&class, &colour, at, [cell + 0.3, cell + 0.3], None);
    }
    let range = finite.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], x| {
        [a.min(x), b.max(x)]
    });
    if range[0] <= range[1] {
        let [least, greatest] = range.map(|x| format!("{x:.3}"));
        let y = MARGIN + height + 14.0;
        picture.text(
            Ink::Faint,
            Anchor::Start,
            [MARGIN, y],
            &format!("{least} to {greatest}"),
        );
    }
    picture.finish()
}

/// Red, green and blue of a number from -1 to 1: white is 0, 1 the darkest blue, -1 the darkest orange.
pub fn heat(part: f64) -> [u8; 3] {
    let dark = match part < 0.0 {
        false => [8.0, 48.0, 107.0],
        true => [127.0, 39.0, 4.0],
    };
    let part = part.abs().powf(0.8);
    dark.map(|dark: f64| (255.0 + part * (dark - 255.0)).round() as u8)
}

fn shade(value: f64, most: f64) -> (String, String) {
    let level = match most > 0.0 {
        true => (value.abs() / most * SHADES as f64).ceil() as usize,
        false => 0,
    };
    let part = level as f64 / SHADES as f64;
    let (sign, [r, g, b]) = match value < 0.0 {
        false => ("p", heat(part)),
        true => ("n", heat(-part)),
    };
    (
        format!("shade {sign}{level}"),
        format!("#{r:02x}{g:02x}{b:02x}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_go_by_magnitude_and_sign() {
        let values = vec![0.0, 1.0, -1.0, 0.05, f64::NAN, 0.5];
        let map = HeatMap {
            n_columns: 3,
            values,
        };
        let svg = heat_map(&About::default(), &map);
        assert_eq!(svg.matches("class=\"shade ").count(), 5);
        for class in ["p0", "p11", "n11", "p1", "p6"] {
            assert!(svg.contains(&format!("\"shade {class}\"")), "{class}");
        }
        assert!(svg.contains("#08306b") && svg.contains("#7f2704"));
        assert!(svg.contains("-1.000 to 1.000"));
        let none = HeatMap {
            n_columns: 0,
            values: vec![],
        };
        assert!(heat_map(&About::default(), &none).ends_with("</svg>\n"));
    }
}
