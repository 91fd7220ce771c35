//! Nonlinearities of MLP neurons in place, with the bias of the layer before added in the same pass over memory.
//!
//! ```text
//! relu        max(x, 0)
//! relu2       max(x, 0)^2
//! gelu        x Phi(x),  Phi(x) = erfc(-x / sqrt(2)) / 2
//! gelu_new    x / 2 (1 + tanh(s)) = x / (1 + exp(-2 s)),  s = sqrt(2 / pi) (x + 0.044715 x^3)
//! quick_gelu  x / (1 + exp(-1.702 x))
//! silu        x / (1 + exp(-x))
//! ```
//!
//! Source: Hendrycks and Gimpel 2016; So et al. 2021 (relu2). Polynomials: tests/reference/activation_coefficients.py.

use crate::simd::widest;

/// A nonlinearity, under the names Hugging Face configurations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The tanh approximation GPT-2 was trained with.
    GeluNew,
    /// The exact form, by the error function.
    Gelu,
    /// Rectified linear unit.
    Relu,
    /// Its square.
    Relu2,
    /// The logistic approximation of CLIP.
    QuickGelu,
    /// Sigmoid linear unit, also called swish.
    Silu,
}

impl Activation {
    /// Every name [`Activation::parse`] accepts; the first one of a nonlinearity is [`Activation::name`].
    const WORDS: [(&'static str, Self); 11] = [
        ("gelu_new", Self::GeluNew),
        ("gelu_pytorch_tanh", Self::GeluNew),
        ("gelu_fast", Self::GeluNew),
        ("gelu_accurate", Self::GeluNew),
        ("gelu", Self::Gelu),
        ("relu", Self::Relu),
        ("relu2", Self::Relu2),
        ("quick_gelu", Self::QuickGelu),
        ("silu", Self::Silu),
        ("swish", Self::Silu),
        ("relu_squared", Self::Relu2),
    ];

    /// Names [`Activation::parse`] accepts.
    pub const NAMES: [&'static str; 11] = {
        let mut names = [""; 11];
        let mut i = 0;
        while i < names.len() {
            names[i] = Self::WORDS[i].0;
            i += 1;
        }
        names
    };

    /// The nonlinearity of a configuration's name.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == name);
        found.map(|(_, activation)| *activation)
    }

    /// `gelu_new`, `gelu`, `relu`, `relu2`, `quick_gelu` or `silu`.
    pub fn name(self) -> &'static str {
        let first = Self::WORDS.iter().find(|(_, known)| *known == self);
        first.map_or("", |(name, _)| name)
    }

    /// Replaces every value `x` of `rows` by the activation of `x + bias`. An empty bias adds nothing; otherwise
    /// the rows are as wide as it.
    pub fn apply(self, bias: &[f32], rows: &mut [f32]) {
        widest!(apply_as(self, bias, rows));
    }

    /// Replaces every gate `g` of `gates` by the activation of `g + b` times its neighbour in `ups`: what a gated neuron
    /// gives. An empty bias adds nothing; otherwise the rows are as wide as it.
    pub fn gate(self, bias: &[f32], gates: &mut [f32], ups: &[f32]) {
        self.apply(bias, gates);
        for (gate, up) in gates.iter_mut().zip(ups) {
            *gate *= up;
        }
    }
}

#[inline(always)]
fn apply_as<const FMA: bool>(activation: Activation, bias: &[f32], rows: &mut [f32]) {
    match activation {
        Activation::GeluNew => map(bias, rows, gelu_new::<FMA>),
        Activation::Gelu => map(bias, rows, gelu::<FMA>),
        Activation::Relu => map(bias, rows, relu),
        Activation::Relu2 => map(bias, rows, |x| relu(x) * relu(x)),
        Activation::QuickGelu => map(bias, rows, |x| x / (1.0 + exp::<FMA>(-1.702 * x))),
        Activation::Silu => map(bias, rows, |x| x / (1.0 + exp::<FMA>(-x))),
    }
}

#[inline(always)]
fn map(bias: &[f32], rows: &mut [f32], f: impl Fn(f32) -> f32) {
    if bias.is_empty() {
        rows.iter_mut().for_each(|x| *x = f(*x));
        return;
    }
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x = f(*x + b);
        }
    }
}

/// A comparison, so that not-a-number stays visible.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn gelu_new<const FMA: bool>(x: f32) -> f32 {
    const LINEAR: f32 = -2.0 * 0.797_884_6;
    const CUBIC: f32 = LINEAR * 0.044_715;
    let exponent = x * fused::<FMA>(CUBIC, x * x, LINEAR);
    x / (1.0 + exp::<FMA>(exponent))
}

#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / fused::<FMA>(0.5, z, 1.0);
    let tail = 0.5 * t * polynomial::<FMA, 9>(&ERFCX, t) * exp::<FMA>(-0.5 * x * x);
    // The small tail is computed, never the difference of two numbers near 1.
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

const EXP: [f32; 7] = [
    1.0,
    1.0,
    0.5,
    1.666_641_5e-1,
    4.166_635e-2,
    8.375_21e-3,
    1.394_121_3e-3,
];
/// `erfcx(z) / t` in powers of `t = 1 / (1 + z / 2)`.
const ERFCX: [f32; 9] = [
    2.820_812_4e-1,
    2.824_812_6e-1,
    2.422_181_5e-1,
    2.066_418e-1,
    -3.698_936_5e-2,
    2.944_803_6e-1,
    -5.026_364e-1,
    2.925_036_2e-1,
    -6.078_072_3e-2,
];

/// `exp(x)` to 2 units in the last place for x in [-87, 88]; beyond, the value at the nearer end.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // ln 2 in two parts, so that n times the first is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = fused::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fused::<FMA>(n, -LN2_LOW, fused::<FMA>(n, -LN2_HIGH, x));
    let p = polynomial::<FMA, 7>(&EXP, r);
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    coefficients
        .iter()
        .rev()
        .fold(0.0, |sum, c| fused::<FMA>(sum, x, *c))
}

/// `a b + c`; `mul_add` only where it is one instruction, since elsewhere it is a library call.
#[inline(always)]
pub(crate) fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x, gelu, gelu_new in float64: tests/reference/activation_values.py.
    const VALUES: [(f32, f64, f64); 19] = [
        (-12.0, -2.131778534493e-32, -1.635985449353e-61),
        (-8.5, -8.057604598873e-17, -1.017444730860e-24),
        (-5.0, -1.433257859396e-06, -2.291796196630e-07),
        (-3.0, -4.049694094890e-03, -3.637392081773e-03),
        (-2.0, -4.550026389636e-02, -4.540230591222e-02),
        (-1.25, -1.320622170836e-01, -1.322857970303e-01),
        (-0.75, -1.699705142827e-01, -1.700394448344e-01),
        (-0.5, -1.542687693630e-01, -1.542859901749e-01),
        (-0.125, -5.628272189624e-02, -5.628280137578e-02),
        (-0.001, -4.996010577861e-04, -4.996010577864e-04),
        (0.0, 0.000000000000e+00, 0.000000000000e+00),
        (0.001, 5.003989422139e-04, 5.003989422136e-04),
        (0.125, 6.871727810376e-02, 6.871719862422e-02),
        (0.5, 3.457312306370e-01, 3.457140098251e-01),
        (1.0, 8.413447460685e-01, 8.411919906083e-01),
        (2.0, 1.954499736104e+00, 1.954597694088e+00),
        (4.0, 3.999873315033e+00, 3.999929754052e+00),
        (9.0, 9.000000000000e+00, 9.000000000000e+00),
        (30.0, 3.000000000000e+01, 3.000000000000e+01),
    ];

    /// x, silu, quick_gelu, relu2 in float64: tests/reference/activation_values.py.
    const MORE_VALUES: [(f32, f64, f64, f64); 11] = [
        (
            -40.0,
            -1.699341702117e-16,
            -1.084655101815e-28,
            0.000000000000e+00,
        ),
        (
            -12.0,
            -7.373009522658e-05,
            -1.618641783585e-08,
            0.000000000000e+00,
        ),
        (
            -3.0,
            -1.422776195327e-01,
            -1.807130970779e-02,
            0.000000000000e+00,
        ),
        (
            -1.25,
            -2.783751735316e-01,
            -1.330656985568e-01,
            0.000000000000e+00,
        ),
        (
            -0.125,
            -5.859882832828e-02,
            -5.587652662190e-02,
            0.000000000000e+00,
        ),
        (
            0.0,
            0.000000000000e+00,
            0.000000000000e+00,
            0.000000000000e+00,
        ),
        (
            0.001,
            5.002499999792e-04,
            5.004254998973e-04,
            1.000000000000e-06,
        ),
        (
            0.5,
            3.112296656009e-01,
            3.503884366064e-01,
            2.500000000000e-01,
        ),
        (
            1.0,
            7.310585786300e-01,
            8.457957659328e-01,
            1.000000000000e+00,
        ),
        (
            4.0,
            3.928055160152e+00,
            3.995585275860e+00,
            1.600000000000e+01,
        ),
        (
            30.0,
            3.000000000000e+01,
            3.000000000000e+01,
            9.000000000000e+02,
        ),
    ];

    fn grid() -> Vec<f32> {
        (-1300..=1300).map(|i| i as f32 / 100.0).collect()
    }

    fn of(activation: Activation, x: &[f32]) -> Vec<f32> {
        let mut out = x.to_vec();
        activation.apply(&[], &mut out);
        out
    }

    #[test]
    fn agrees_with_scipy() {
        for (x, gelu, gelu_new) in VALUES {
            for (activation, expected) in
                [(Activation::Gelu, gelu), (Activation::GeluNew, gelu_new)]
            {
                let came = f64::from(of(activation, &[x])[0]);
                let tolerance = 1e-5 * expected.abs() + 1e-30;
                assert!(
                    (came - expected).abs() <= tolerance,
                    "{}({x}) = {came}, required {expected}",
                    activation.name()
                );
            }
        }
    }

    #[test]
    fn the_others_agree_with_numpy() {
        for (x, silu, quick_gelu, relu2) in MORE_VALUES {
            for (activation, expected) in [
                (Activation::Silu, silu),
                (Activation::QuickGelu, quick_gelu),
                (Activation::Relu2, relu2),
            ] {
                let came = f64::from(of(activation, &[x])[0]);
                let tolerance = 1e-6 * expected.abs() + 1e-25;
                assert!(
                    (came - expected).abs() <= tolerance,
                    "{}({x}) = {came}, required {expected}",
                    activation.name()
                );
            }
        }
    }

    #[test]
    fn a_gate_multiplies_its_neighbour() {
        let mut gates = [1.0, -2.0, 0.5, 3.0];
        Activation::Relu.gate(&[0.0, 3.0], &mut gates, &[2.0, -4.0, 1.0, 0.5]);
        assert_eq!(gates, [2.0, -4.0, 0.5, 3.0]);
    }

    #[test]
    fn instruction_sets_agree() {
        for (_, activation) in Activation::WORDS {
            let fast = of(activation, &grid());
            let mut plain = grid();
            apply_as::<false>(activation, &[], &mut plain);
            for (a, b) in fast.iter().zip(&plain) {
                assert!(
                    (a - b).abs() <= 1e-5 * b.abs(),
                    "{}: {a} {b}",
                    activation.name()
                );
            }
        }
    }

    #[test]
    fn bias_is_added_per_column() {
        for (_, activation) in Activation::WORDS {
            let mut rows = vec![0.5, -1.0, 2.0, 1.5, 0.0, -3.0];
            activation.apply(&[1.0, -1.0, 0.25], &mut rows);
            assert_eq!(rows, of(activation, &[1.5, -2.0, 2.25, 2.5, -1.0, -2.75]));
        }
    }

    #[test]
    fn exp_agrees_with_the_standard_library() {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let expected = x.exp();
            assert!(
                (exp::<false>(x) - expected).abs() <= 3e-7 * expected,
                "exp({x})"
            );
        }
        assert!(exp::<false>(-1e30) < 2e-38 && exp::<false>(1e30) > 1e38);
    }

    #[test]
    fn not_a_number_stays_visible() {
        for (_, activation) in Activation::WORDS {
            assert!(of(activation, &[f32::NAN])[0].is_nan());
            assert_eq!(of(activation, &[f32::INFINITY])[0], f32::INFINITY);
        }
    }

    #[test]
    fn every_name_parses() {
        for name in Activation::NAMES {
            let activation = Activation::parse(name).expect("a listed name");
            assert_eq!(Activation::parse(activation.name()), Some(activation));
        }
        assert_eq!(Activation::parse("gelu_python"), None);
    }
}
