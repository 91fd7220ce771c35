//! The condensed form of a symmetric matrix: the pairs (0,1), (0,2), .. (0,n-1), (1,2), .. as SciPy's `pdist` gives them.

/// Where the pairs `(i, i+1), (i, i+2), ..` of `n` observations begin in a condensed matrix.
pub(crate) fn condensed_row(n: usize, i: usize) -> usize {
    i * (2 * n - i - 1) / 2
}

/// Sets the length without the spare room of amortised growth, so that the bytes a kernel states hold.
pub(crate) fn resize<T: Copy>(buffer: &mut Vec<T>, len: usize, value: T) {
    buffer.reserve_exact(len.saturating_sub(buffer.len()));
    buffer.resize(len, value);
}
