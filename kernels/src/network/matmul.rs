//! Matrix products on slices: the bounds that make the `gemm` crate's pointers safe, checked once.

pub use gemm::Parallelism;

/// A strided view of a matrix.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `cols` values that begin `row_stride` apart.
    pub fn new(values: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        // What wraps would pass for a small matrix and be read far outside.
        let last = (rows.max(1) - 1)
            .checked_mul(row_stride)
            .and_then(|start| start.checked_add(cols));
        assert!(
            last.is_some_and(|last| last <= values.len()),
            "a matrix lies inside its slice"
        );
        Self {
            values,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// `n` rows from row `start` on.
    pub fn rows(self, start: usize, n: usize) -> Self {
        assert!(
            start <= self.rows && n <= self.rows - start,
            "rows lie inside their matrix"
        );
        Self {
            values: &self.values[start * self.row_stride..],
            rows: n,
            ..self
        }
    }

    /// The same values with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// Whether a product is added to what the output holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// It is overwritten.
    Replace,
    /// It is added to.
    Accumulate,
}

/// `out = scale lhs rhs`, or `out += scale lhs rhs`; `out` is row-major and exactly filled.
pub fn multiply(
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    scale: f32,
    output: Output,
    out: &mut [f32],
    parallelism: Parallelism,
) {
    let exact = lhs.rows.checked_mul(rhs.cols) == Some(out.len());
    assert!(exact, "the output of a product is exactly filled");
    multiply_within(lhs, rhs, scale, output, out, rhs.cols, parallelism);
}

/// As [`multiply`] into rows that begin `row_stride` values apart; what lies between them stays.
pub fn multiply_within(
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    scale: f32,
    output: Output,
    out: &mut [f32],
    row_stride: usize,
    parallelism: Parallelism,
) {
    let (m, k, n) = (lhs.rows, lhs.cols, rhs.cols);
    assert!(
        k == rhs.rows && n <= row_stride,
        "the shapes of a product fit"
    );
    // The bounds of a matrix, checked as those of the others.
    Matrix::new(out, m, n, row_stride);
    // SAFETY: both views lie inside their slices by construction, so do the m rows of n values of `out` that begin
    // `row_stride` apart, and none overlap because `out` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            row_stride as isize,
            output == Output::Accumulate,
            lhs.values.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// How a weight lies in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[d_in, d_out]`, as GPT-2's Conv1D.
    InOut,
    /// `[d_out, d_in]`, as torch's Linear.
    OutIn,
}

/// `x W` of rows of width `d_in` on all threads, into or onto `out`, which is exactly filled.
pub fn product(
    x: &[f32],
    weight: &[f32],
    layout: Layout,
    d_in: usize,
    output: Output,
    out: &mut [f32],
) {
    let d_out = weight.len() / d_in;
    let exact = (x.len() / d_in).checked_mul(d_out) == Some(out.len());
    assert!(exact, "the output of a product is exactly filled");
    product_within(x, weight, layout, d_in, output, out, d_out);
}

/// As [`product`] into rows that begin `row_stride` values apart; what lies between them stays.
pub fn product_within(
    x: &[f32],
    weight: &[f32],
    layout: Layout,
    d_in: usize,
    output: Output,
    out: &mut [f32],
    row_stride: usize,
) {
    let d_out = weight.len() / d_in;
    let weight = match layout {
        Layout::InOut => Matrix::new(weight, d_in, d_out, d_out),
        Layout::OutIn => Matrix::new(weight, d_out, d_in, d_in).transposed(),
    };
    let lhs = Matrix::new(x, x.len() / d_in, d_in, d_in);
    let threads = Parallelism::Rayon(0);
    multiply_within(lhs, weight, 1.0, output, out, row_stride, threads);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a matrix lies inside its slice")]
    fn a_stride_whose_rows_wrap_is_refused() {
        // 2 * 2^63 is 0 in 64 bits.
        Matrix::new(&[1.0; 4], 3, 4, 1 << (usize::BITS - 1));
    }

    #[test]
    #[should_panic(expected = "rows lie inside their matrix")]
    fn a_start_that_wraps_is_refused() {
        Matrix::new(&[1.0; 4], 2, 2, 2).rows(usize::MAX, 2);
    }

    #[test]
    fn a_strided_product_equals_the_plain_sums() {
        let a = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0];
        let b = [5.0, 6.0, 7.0, 8.0];
        let (a, b) = (Matrix::new(&a, 2, 2, 3), Matrix::new(&b, 2, 2, 2));
        let mut out = [1.0; 4];
        multiply(
            a,
            b.transposed(),
            2.0,
            Output::Accumulate,
            &mut out,
            Parallelism::None,
        );
        assert_eq!(out, [35.0, 47.0, 79.0, 107.0]);
    }

    #[test]
    fn rows_apart_leave_what_lies_between() {
        let mut out = [9.0; 7];
        product_within(
            &[1.0, 2.0],
            &[3.0, 5.0],
            Layout::OutIn,
            1,
            Output::Replace,
            &mut out[1..],
            3,
        );
        assert_eq!(out, [9.0, 3.0, 5.0, 9.0, 6.0, 10.0, 9.0]);
    }
}
