//! A scale: numbers to places, with ticks at round numbers.

/// A scale of numbers along a line of the picture.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    from: f64,
    to: f64,
    places: [f64; 2],
}

impl Axis {
    /// `range` lies over `places`; a range without width is widened, one that is not finite is taken as 0 to 1.
    pub fn new(range: [f64; 2], places: [f64; 2]) -> Self {
        let [from, to] = match range {
            [from, to] if !from.is_finite() || !to.is_finite() => [0.0, 1.0],
            [from, to] if from < to => [from, to],
            [from, _] => [from - 0.5, from + 0.5],
        };
        Self { from, to, places }
    }

    /// As [`new`](Self::new), for the range that the numbers have.
    pub fn over(numbers: impl Iterator<Item = f64>, places: [f64; 2]) -> Self {
        let all = numbers.filter(|x| x.is_finite());
        let range = all.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], x| {
            [a.min(x), b.max(x)]
        });
        Self::new(range, places)
    }

    /// Where a number lies.
    pub fn place(&self, x: f64) -> f64 {
        let part = (x - self.from) / (self.to - self.from);
        self.places[0] + part * (self.places[1] - self.places[0])
    }

    /// Round numbers of the range, from `most / 2` to `most` or so, with their texts.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let least_step = (self.to - self.from) / most.max(1) as f64;
        let power = 10f64.powf(least_step.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = (steps.into_iter())
            .find(|step| *step >= least_step * (1.0 - 1e-9))
            .unwrap_or(steps[3]);
        let first = (self.from / step - 1e-9).ceil();
        (0..)
            .map(|i| (first + f64::from(i)) * step)
            .take_while(|x| *x <= self.to + step * 1e-9)
            .map(|x| (x, rounded(x, step)))
            .collect()
    }
}

/// A multiple of a step with as many digits as the step has.
fn rounded(x: f64, step: f64) -> String {
    let x = if x.abs() < step / 2.0 { 0.0 } else { x };
    if !(1e-4..1e7).contains(&step) && x != 0.0 {
        return format!("{x:.1e}");
    }
    let digits = (-step.log10().floor()).max(0.0) as usize;
    format!("{x:.digits$}")
}

/// A number with at most two digits behind the point, for places in a picture.
pub fn number(x: f64) -> String {
    let text = format!("{x:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "-0" => "0".to_string(),
        text => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(range: [f64; 2], most: usize) -> Vec<String> {
        let ticks = Axis::new(range, [0.0, 100.0]).ticks(most);
        ticks.into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            texts([0.0, 1.0], 5),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(texts([0.0, 0.93], 5), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(texts([-3.0, 12.0], 4), ["0", "5", "10"]);
        assert_eq!(texts([0.0, 3e9], 3), ["0", "1.0e9", "2.0e9", "3.0e9"]);
        assert_eq!(texts([7.0, 7.0], 2), ["6.5", "7.0", "7.5"]);
        assert_eq!(texts([f64::NAN, 1.0], 1), ["0", "1"]);
    }

    #[test]
    fn places_go_either_way() {
        let axis = Axis::over([2.0, f64::NAN, 4.0].into_iter(), [100.0, 0.0]);
        assert_eq!([2.0, 3.0, 4.0].map(|x| axis.place(x)), [100.0, 50.0, 0.0]);
        assert_eq!(
            [1.0, 0.5, -0.001, 2.345].map(number),
            ["1", "0.5", "0", "2.35"]
        );
    }
}
