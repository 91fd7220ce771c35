//! Points of two numbers each, over scales with round numbers.

use std::fmt::Write;

use polysema_udfs::svg::escaped;

use super::show;

/// A scale from one number to another, over a part of a picture.
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// From the least to the largest of some numbers, from here to there.
    pub fn of(numbers: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let ends = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
        let (low, high) = match ends {
            (low, high) if low < high => (low, high),
            (low, _) if low.is_finite() => (low - 0.5, low + 0.5),
            _ => (0.0, 1.0),
        };
        Self {
            low,
            high,
            from,
            to,
        }
    }

    /// Where a number lies.
    pub fn place(&self, x: f64) -> f64 {
        self.from
            + (x / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
                * (self.to - self.from)
    }

    /// Round numbers along it, about five.
    pub fn ticks(&self) -> Vec<f64> {
        let rough = (self.high / 5.0 - self.low / 5.0).max(f64::MIN_POSITIVE);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
        let step = step
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let first = (self.low / step).ceil();
        let ticks = (0..12).map(|at| (first + f64::from(at)) * step);
        ticks.take_while(|tick| *tick <= self.high).collect()
    }
}

/// The picture of points, to the right and up.
pub fn scatter(names: &[String; 2], points: &[(f64, f64)]) -> String {
    let [left, top, right, bottom] = [64.0, 14.0, 584.0, 290.0];
    let x = Scale::of(points.iter().map(|point| point.0), left, right);
    let y = Scale::of(points.iter().map(|point| point.1), bottom, top);
    let said = format!("{} points: {} against {}", points.len(), names[1], names[0]);
    let mut svg = format!(
        "<svg class=\"scatter\" role=\"img\" viewBox=\"0 0 600 336\" aria-label=\"{}\">",
        escaped(&said)
    );
    for tick in x.ticks() {
        let (at, number) = (x.place(tick), show::number(tick));
        let _ = write!(
            svg,
            "<path class=\"axis faint\" d=\"M{at:.1} {top}V{bottom}\"/>\
             <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{number}</text>",
            bottom + 18.0
        );
    }
    for tick in y.ticks() {
        let (at, number) = (y.place(tick), show::number(tick));
        let _ = write!(
            svg,
            "<path class=\"axis faint\" d=\"M{left} {at:.1}H{right}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{number}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    for (a, b) in points {
        let _ = write!(
            svg,
            "<circle class=\"point\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
            x.place(*a),
            y.place(*b)
        );
    }
    let _ = write!(
        svg,
        "<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>\
         <text class=\"name\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text></svg>",
        bottom + 38.0,
        escaped(&names[0])
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_round_numbers() {
        let ticks = |low, high| Scale::of([low, high].into_iter(), 0.0, 1.0).ticks();
        assert_eq!(
            ticks(0.0, 1.0),
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        assert_eq!(ticks(-7.0, 93.0), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!(ticks(3.0, 3.0).len(), 5);
        assert!(ticks(-1e308, 1e308).len() < 12);
    }
}
