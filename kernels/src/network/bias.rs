//! Sums of rows: a bias under every row, a residual stream joined with what a layer adds to it.

/// Adds `bias` to every row; the rows are as wide as it.
pub fn add_bias(bias: &[f32], rows: &mut [f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x += b;
        }
    }
}

/// `out = x + bias` of every row.
pub fn with_bias(x: &[f32], bias: &[f32], out: &mut [f32]) {
    for (x, out) in x
        .chunks_exact(bias.len())
        .zip(out.chunks_exact_mut(bias.len()))
    {
        add(x, bias, out);
    }
}

/// `out = a + b`, equally long.
pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        *o = a + b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let mut rows = x;
        add_bias(&[10.0, 20.0], &mut rows);
        assert_eq!(rows, [11.0, 22.0, 13.0, 24.0]);
        let mut out = [0.0; 4];
        with_bias(&x, &[10.0, 20.0], &mut out);
        assert_eq!(out, rows);
        add(&x, &rows, &mut out);
        assert_eq!(out, [12.0, 24.0, 16.0, 28.0]);
    }
}
