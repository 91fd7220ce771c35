//! Which documents may still become dataset examples of a range of neurons, in one pass over the corpus.
//!
//! A document stays a candidate while nothing seen so far rules it out, so the final rule, applied to the candidates
//! alone, gives the exact examples:
//!
//! - below `activation_threshold` times the *running* maximum it is out, because the maximum only grows;
//! - if `max_examples` earlier documents are at least as active it is out, because whatever the final threshold,
//!   these come first (and under order `top`, too).
//!
//! The second rule keeps about `max_examples * (1 + ln(documents / max_examples))` candidates of a neuron.

use datafusion::error::Result;
use polysema_kernels::network::statistics::Peak;

use super::options::{ACTIVATION_THRESHOLD, MAX_EXAMPLES, MIN_ACTIVATION, ORDER, Order, Pick};
use crate::files::numbers::{NumbersReader, NumbersWriter};

/// The key token of a document that may become an example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// The document.
    pub(super) doc_id: u32,
    /// Its key token.
    pub(super) pos: u32,
    /// The neuron's activation there.
    pub(super) activation: f32,
    /// Where the layer spools the vector received at (doc_id, pos).
    pub(super) vector: u32,
    /// Where the layer spools the activations around it.
    pub(super) window: u32,
}

/// What activation makes an example.
#[derive(Debug, Clone)]
enum Threshold {
    /// This share of the running maximum.
    Share(f32),
    /// The same share of given maxima, or a given activation. `[width]`
    Fixed(Vec<f32>),
}

/// The candidates of a range of neurons.
#[derive(Debug)]
pub(super) struct Candidates {
    rule: Threshold,
    /// The `max_examples`-th highest activation among documents before the current block; at first 0, since
    /// inactive documents are no examples. `[width]`
    cutoffs: Vec<f32>,
    lists: Vec<Vec<Candidate>>,
    /// Neurons with candidates from the current block. `[width]`
    touched: Vec<bool>,
    most: usize,
    order: Order,
}

impl Candidates {
    /// No candidates of neurons `first..first + width` of a layer.
    pub(super) fn new(layer: usize, first: usize, width: usize, pick: Pick<'_>) -> Result<Self> {
        let options = pick.options;
        let share = options.get(ACTIVATION_THRESHOLD) as f32;
        let rule = if let Some(least) = options.get(MIN_ACTIVATION) {
            Threshold::Fixed(vec![least as f32; width])
        } else if let Some(maxima) = pick.maxima {
            let floors = (first..first + width).map(|neuron| {
                let max = maxima.get(layer, neuron)?;
                // Nothing reaches infinity: a neuron that is never active has no examples.
                Ok(if max > 0.0 {
                    share * max
                } else {
                    f32::INFINITY
                })
            });
            Threshold::Fixed(floors.collect::<Result<_>>()?)
        } else {
            Threshold::Share(share)
        };
        Ok(Self {
            rule,
            cutoffs: vec![0.0; width],
            lists: vec![vec![]; width],
            touched: vec![false; width],
            most: options.get(MAX_EXAMPLES),
            order: options.get(ORDER),
        })
    }

    /// Whether a document of this peak may become an example. `max` are the neurons' maxima, with it.
    pub(super) fn admits(&self, neuron: usize, peak: Peak, max: &[f32]) -> bool {
        peak.activation > self.cutoffs[neuron] && peak.activation >= self.floor(neuron, max)
    }

    pub(super) fn add(&mut self, neuron: usize, candidate: Candidate) {
        self.touched[neuron] = true;
        self.lists[neuron].push(candidate);
    }

    /// Drops what is ruled out by now. All documents of later blocks must come later in the corpus.
    pub(super) fn end_block(&mut self, max: &[f32]) {
        let mut highest = vec![];
        for neuron in 0..self.lists.len() {
            if !std::mem::take(&mut self.touched[neuron]) {
                continue;
            }
            let floor = self.floor(neuron, max);
            let list = &mut self.lists[neuron];
            list.retain(|c| c.activation >= floor);
            if list.len() >= self.most {
                highest.clear();
                highest.extend(list.iter().map(|c| c.activation));
                let (_, cutoff, _) =
                    highest.select_nth_unstable_by(self.most - 1, |a, b| b.total_cmp(a));
                self.cutoffs[neuron] = *cutoff;
                if self.order == Order::Top {
                    list.sort_unstable_by(by_activation);
                    list.truncate(self.most);
                }
            }
        }
    }

    /// The examples of a neuron, after the last block.
    pub(super) fn select(&self, neuron: usize, max: &[f32]) -> Vec<Candidate> {
        let floor = self.floor(neuron, max);
        let mut examples = self.lists[neuron].clone();
        examples.retain(|c| c.activation >= floor);
        match self.order {
            Order::Corpus => examples.sort_unstable_by_key(|c| c.doc_id),
            Order::Top => examples.sort_unstable_by(by_activation),
        }
        examples.truncate(self.most);
        examples
    }

    /// Writes down what may still become an example.
    pub(super) fn save(&self, out: &mut NumbersWriter) -> Result<()> {
        out.put(&self.cutoffs)?;
        for (list, touched) in self.lists.iter().zip(&self.touched) {
            out.put(&[list.len() as u32, u32::from(*touched)])?;
            for c in list {
                let activation = c.activation.to_bits();
                out.put(&[c.doc_id, c.pos, activation, c.vector, c.window])?;
            }
        }
        Ok(())
    }

    /// Gives them back what was written down.
    pub(super) fn restore(&mut self, saved: &mut NumbersReader) -> Result<()> {
        saved.fill(&mut self.cutoffs)?;
        for (list, touched) in self.lists.iter_mut().zip(&mut self.touched) {
            let [n, was_touched] = saved.next::<[u32; 2]>()?;
            *touched = was_touched != 0;
            let candidates = saved.list::<[u32; 5]>(n as usize)?.into_iter();
            let candidates =
                candidates.map(|[doc_id, pos, activation, vector, window]| Candidate {
                    doc_id,
                    pos,
                    activation: f32::from_bits(activation),
                    vector,
                    window,
                });
            *list = candidates.collect();
        }
        Ok(())
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Candidate> {
        self.lists.iter().flatten()
    }

    /// Takes over those of later documents, whose vectors and windows are spooled behind so many records of these.
    pub(super) fn follow(&mut self, later: Self, [vectors, windows]: [u32; 2]) {
        let lists = self.lists.iter_mut().zip(&mut self.touched);
        for ((list, touched), later) in lists.zip(later.lists) {
            *touched |= !later.is_empty();
            list.extend(later.into_iter().map(|candidate| Candidate {
                vector: candidate.vector + vectors,
                window: candidate.window + windows,
                ..candidate
            }));
        }
    }

    /// Number of candidates of all neurons.
    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    fn floor(&self, neuron: usize, max: &[f32]) -> f32 {
        match &self.rule {
            Threshold::Share(share) => share * max[neuron],
            Threshold::Fixed(floors) => floors[neuron],
        }
    }
}

/// Highest first, the earlier document on ties.
fn by_activation(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    let ties = || a.doc_id.cmp(&b.doc_id);
    b.activation.total_cmp(&a.activation).then_with(ties)
}

#[cfg(test)]
mod tests {
    use polysema_kernels::network::statistics::Activity;

    use super::*;
    use crate::options::Options;
    use crate::runs::MaxActivations;
    use crate::runs::options::Sign;

    fn pick(options: &Options) -> Pick<'_> {
        Pick {
            options,
            maxima: None,
            sign: Sign::Positive,
            longest: 1,
            skip: 0,
        }
    }

    /// Sends one document's activation after the other through a single neuron; documents of a block in reverse.
    fn examples(peaks: &[f32], block: usize, pick: Pick<'_>) -> (Vec<u32>, usize) {
        let mut activity = Activity::new(1);
        let mut candidates = Candidates::new(0, 0, 1, pick).unwrap();
        let mut most = 0;
        for (at, peaks) in peaks.chunks(block).enumerate() {
            for (i, activation) in peaks.iter().enumerate().rev() {
                let mut peak = [Peak::NONE];
                assert!(activity.observe(&[*activation], 1, 0, 0..1, &mut peak));
                if candidates.admits(0, peak[0], &activity.max) {
                    let candidate = Candidate {
                        doc_id: (at * block + i) as u32,
                        pos: 0,
                        activation: *activation,
                        vector: 0,
                        window: 0,
                    };
                    candidates.add(0, candidate);
                }
            }
            candidates.end_block(&activity.max);
            most = most.max(candidates.len());
        }
        let selected = candidates.select(0, &activity.max);
        (selected.iter().map(|c| c.doc_id).collect(), most)
    }

    /// The definition, applied to everything at once.
    fn naive(peaks: &[f32], pick: Pick<'_>) -> Vec<u32> {
        let share = pick.options.get(ACTIVATION_THRESHOLD) as f32;
        let max = peaks.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let floor = match (pick.options.get(MIN_ACTIVATION), pick.maxima) {
            (Some(least), _) => least as f32,
            (None, Some(given)) => share * given.get(0, 0).unwrap(),
            (None, None) => share * max,
        };
        let mut documents: Vec<u32> = (0..peaks.len() as u32)
            .filter(|d| peaks[*d as usize] > 0.0 && peaks[*d as usize] >= floor)
            .collect();
        if pick.options.get(ORDER) == Order::Top {
            documents.sort_by(|a, b| peaks[*b as usize].total_cmp(&peaks[*a as usize]));
        }
        documents.truncate(pick.options.get(MAX_EXAMPLES));
        documents
    }

    fn peaks(seed: u64, n: usize) -> Vec<f32> {
        let mut state = seed;
        let step = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Few distinct values, so that ties are common.
            (state >> 33) as f32 % 64.0 / 16.0 - 0.5
        };
        (0..n).map(step).collect()
    }

    #[test]
    fn one_pass_equals_the_definition() {
        for seed in 0..200 {
            let peaks = peaks(seed, 300);
            for order in [Order::Corpus, Order::Top] {
                for (max_examples, activation_threshold) in [(1, 0.75), (5, 0.3), (40, 1.0)] {
                    let options = Options::default()
                        .with(ORDER, order)
                        .with(MAX_EXAMPLES, max_examples)
                        .with(ACTIVATION_THRESHOLD, activation_threshold);
                    for block in [1, 7, 300] {
                        let found = examples(&peaks, block, pick(&options)).0;
                        assert_eq!(found, naive(&peaks, pick(&options)));
                    }
                    let maxima = MaxActivations::new([(0, 0, 2.0)]);
                    let given = Pick {
                        maxima: Some(&maxima),
                        ..pick(&options)
                    };
                    assert_eq!(examples(&peaks, 7, given).0, naive(&peaks, given));
                    let options = options.clone().with(MIN_ACTIVATION, Some(1.0));
                    let found = examples(&peaks, 7, pick(&options)).0;
                    assert_eq!(found, naive(&peaks, pick(&options)));
                }
            }
        }
    }

    #[test]
    fn candidates_stay_few() {
        let peaks: Vec<f32> = peaks(1, 100_000).iter().map(|p| p + 10.0).collect();
        let options = Options::default().with(MAX_EXAMPLES, 10);
        let (found, most) = examples(&peaks, 100, pick(&options));
        assert_eq!(found, naive(&peaks, pick(&options)));
        assert!(most < 250, "{most} candidates");
    }

    #[test]
    fn neurons_that_are_never_active_have_no_examples() {
        let options = Options::default();
        let none = pick(&options);
        assert!(examples(&[-1.0, 0.0, -0.5], 2, none).0.is_empty());
        let maxima = MaxActivations::new([(0, 0, -3.0)]);
        let given = Pick {
            maxima: Some(&maxima),
            ..none
        };
        assert!(examples(&[1.0, 2.0], 2, given).0.is_empty());
        let maxima = MaxActivations::new([(0, 1, 1.0)]);
        let given = Pick {
            maxima: Some(&maxima),
            ..none
        };
        let error = Candidates::new(0, 0, 1, given).unwrap_err();
        assert!(
            error
                .strip_backtrace()
                .contains("got none for layer 0 neuron 0")
        );
    }
}
