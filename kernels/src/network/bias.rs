//! Sums of rows: a bias under every row, a residual stream joined with what a layer adds to it.

/// Adds `bias` to every row; the rows are as wide as it. An empty bias adds nothing.
pub fn add_bias(bias: &[f32], rows: &mut [f32]) {
    if bias.is_empty() {
        return;
    }
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x += b;
        }
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
        add_bias(&[], &mut rows);
        assert_eq!(rows, [11.0, 22.0, 13.0, 24.0]);
        let mut out = [0.0; 4];
        add(&x, &rows, &mut out);
        assert_eq!(out, [12.0, 24.0, 16.0, 28.0]);
    }
}
