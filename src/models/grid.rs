//! How an image is cut into patches, a position each.

/// Sizes of an image and of its patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchGrid {
    /// Values of a pixel.
    pub channels: usize,
    /// Height and width of an image.
    pub image: [usize; 2],
    /// Height and width of a patch.
    pub patch: [usize; 2],
}

impl PatchGrid {
    /// Values of an image.
    pub fn values(self) -> usize {
        self.channels * self.image[0] * self.image[1]
    }

    /// Values of a patch.
    pub(super) fn patch_values(self) -> usize {
        self.channels * self.patch[0] * self.patch[1]
    }

    /// Patches below each other, and side by side; what is left over at the edges is in none.
    fn patches(self) -> [usize; 2] {
        [0, 1].map(|i| self.image[i] / self.patch[i])
    }

    /// Positions of an image: one of its class, then a patch each, row by row.
    pub fn positions(self) -> usize {
        let [down, across] = self.patches();
        1 + down * across
    }

    /// What stands at a position, in words: the row and column of a patch.
    pub fn token(self, pos: usize) -> String {
        match pos.checked_sub(1) {
            None => "[CLS]".to_string(),
            Some(patch) => {
                let [_, across] = self.patches();
                format!("({},{})", patch / across, patch % across)
            }
        }
    }

    /// Copies the patch at a position behind the first, `[channels, height, width]`, out of an image of that order.
    pub(super) fn cut(self, image: &[f32], pos: usize, out: &mut [f32]) {
        let ([height, width], [down, across]) = (self.image, self.patch);
        let [_, columns] = self.patches();
        let (row, column) = ((pos - 1) / columns, (pos - 1) % columns);
        for (i, line) in out.chunks_exact_mut(across).enumerate() {
            let (channel, y) = (i / down, row * down + i % down);
            let first = (channel * height + y) * width + column * across;
            line.copy_from_slice(&image[first..first + across]);
        }
    }
}
