//! A neuron's merges as a drawing: leaves side by side, the larger part first, each join as high as its distance.

use std::fmt::Write;

use serde::Deserialize;

/// A merge as `neuron_profile` gives it.
#[derive(Debug, Clone, Deserialize)]
pub struct MergeStep {
    cluster1: usize,
    cluster2: usize,
    dissimilarity: f32,
}

/// The most leaves that are drawn; more are drawn as the subtrees that the highest merges join.
const LEAVES: usize = 240;

/// A leaf: an example, or a subtree of several.
#[derive(Debug, Clone, PartialEq)]
struct Leaf {
    /// The least of its examples.
    example: i64,
    size: usize,
}

/// A join of two nodes: leaves by their places from the left, then joins by their order.
#[derive(Debug, Clone, PartialEq)]
struct Join {
    parts: [usize; 2],
    height: f32,
}

/// What is drawn of one list of examples.
#[derive(Debug, Clone)]
pub struct Tree {
    leaves: Vec<Leaf>,
    joins: Vec<Join>,
    /// Pairs inside the leaves, and the sum of their distances.
    inside: (f64, f64),
    /// The highest merge inside a leaf: the tree can be cut at no less.
    least: f32,
}

/// A node while the tree is laid out.
#[derive(Clone)]
struct Laid {
    first: i64,
    size: usize,
    parts: Option<[usize; 2]>,
}

impl Tree {
    /// The tree of a list of `examples`, in their order, from its merges; none where nothing is merged.
    pub fn new(examples: &[i64], merges: &[MergeStep]) -> Option<Self> {
        let n = examples.len();
        let mut nodes: Vec<Laid> = examples
            .iter()
            .map(|example| Laid {
                first: *example,
                size: 1,
                parts: None,
            })
            .collect();
        let drawn_from = merges.len().saturating_sub(LEAVES - 1);
        let (mut inside, mut least) = ((0.0, 0.0), 0.0_f32);
        for (step, merge) in merges.iter().enumerate() {
            let (one, other) = (nodes.get(merge.cluster1)?, nodes.get(merge.cluster2)?);
            let pairs = one.size as f64 * other.size as f64;
            let mut parts = [merge.cluster1, merge.cluster2];
            // Never another order between two visits: that of the kernels' `ordered_parts`.
            parts.sort_by_key(|part| (std::cmp::Reverse(nodes[*part].size), nodes[*part].first));
            let is_drawn = step >= drawn_from;
            if !is_drawn {
                inside.0 += pairs;
                inside.1 += pairs * f64::from(merge.dissimilarity);
                least = least.max(merge.dissimilarity);
            }
            nodes.push(Laid {
                first: one.first.min(other.first),
                size: one.size + other.size,
                parts: is_drawn.then_some(parts),
            });
        }
        if merges.is_empty() {
            return None;
        }
        // From the root down, leaves in the order in which they are met; one that was merged and is not drawn is a leaf.
        let mut place = vec![usize::MAX; nodes.len()];
        let (mut leaves, mut open) = (vec![], vec![nodes.len() - 1]);
        while let Some(node) = open.pop() {
            match nodes[node].parts {
                Some([left, right]) => open.extend([right, left]),
                None => {
                    place[node] = leaves.len();
                    leaves.push(Leaf {
                        example: nodes[node].first,
                        size: nodes[node].size,
                    });
                }
            }
        }
        let n_leaves = leaves.len();
        let mut joins = vec![];
        for (step, merge) in merges.iter().enumerate().skip(drawn_from) {
            let [left, right] = nodes[n + step].parts?;
            place[n + step] = n_leaves + joins.len();
            joins.push(Join {
                parts: [place[left], place[right]],
                height: merge.dissimilarity,
            });
        }
        Some(Self {
            leaves,
            joins,
            inside,
            least,
        })
    }

    /// The height of the drawing: above the highest join, a round number.
    pub fn top(&self) -> f64 {
        let highest = self
            .joins
            .iter()
            .map(|join| join.height)
            .fold(0.0, f32::max);
        ((f64::from(highest) * 10.0).floor() + 1.0) / 10.0
    }

    /// The least threshold at which it can be cut.
    pub fn least(&self) -> f32 {
        self.least
    }

    /// Whether its leaves are subtrees.
    pub fn is_cut_short(&self) -> bool {
        self.leaves.iter().any(|leaf| leaf.size > 1)
    }

    /// How many leaves are drawn.
    pub fn n_leaves(&self) -> usize {
        self.leaves.len()
    }

    /// The clusters at a threshold, a number for each node: that of its cluster, or none above the cut. The largest is
    /// `first`, those of one size in the order of their first examples.
    pub fn clusters(&self, threshold: f64, first: usize) -> Vec<Option<usize>> {
        let n = self.leaves.len();
        let mut whole = vec![true; n + self.joins.len()];
        let mut root: Vec<usize> = (0..whole.len()).collect();
        for (at, join) in self.joins.iter().enumerate() {
            let [left, right] = join.parts;
            whole[n + at] = f64::from(join.height) <= threshold && whole[left] && whole[right];
        }
        for (at, join) in self.joins.iter().enumerate().rev() {
            if whole[n + at] {
                for part in join.parts {
                    root[part] = root[n + at];
                }
            }
        }
        let mut sizes: Vec<(usize, usize, i64)> = vec![];
        for (leaf, of) in self.leaves.iter().zip(&root) {
            match sizes.iter_mut().find(|(node, ..)| node == of) {
                Some((_, size, example)) => {
                    *size += leaf.size;
                    *example = leaf.example.min(*example);
                }
                None => sizes.push((*of, leaf.size, leaf.example)),
            }
        }
        sizes.sort_by_key(|(_, size, example)| (std::cmp::Reverse(*size), *example));
        let number = |node: &usize| sizes.iter().position(|(of, ..)| of == node);
        root.iter()
            .zip(&whole)
            .map(|(of, whole)| number(of).filter(|_| *whole).map(|at| first + at))
            .collect()
    }

    /// The drawing, cut at a threshold.
    pub fn svg(&self, threshold: f64, first: usize) -> String {
        let (n, top) = (self.leaves.len(), self.top());
        let (width, height) = (10 * n, 200.0);
        let clusters = self.clusters(threshold, first);
        let y = |distance: f64| height * (1.0 - distance / top);
        let mut svg = format!(
            "<svg class=\"tree\" viewBox=\"0 0 {width} 212\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
        );
        let mut x: Vec<f64> = (0..n).map(|leaf| 10.0 * leaf as f64 + 5.0).collect();
        let mut ys = vec![height; n];
        for (at, join) in self.joins.iter().enumerate() {
            let [left, right] = join.parts;
            let at_height = y(f64::from(join.height));
            let _ = write!(
                svg,
                "<path class=\"join {}\" d=\"M{:.1} {:.1}V{at_height:.1}H{:.1}V{:.1}\"/>",
                class(clusters[n + at]),
                x[left],
                ys[left],
                x[right],
                ys[right]
            );
            x.push((x[left] + x[right]) / 2.0);
            ys.push(at_height);
        }
        for (at, leaf) in self.leaves.iter().enumerate() {
            let _ = write!(
                svg,
                "<rect class=\"leaf {}\" data-example=\"{}\" x=\"{}\" y=\"203\" width=\"9\" height=\"9\"/>",
                class(clusters[at]),
                leaf.example,
                10 * at
            );
        }
        let _ = write!(
            svg,
            "<path class=\"cut\" d=\"M0 {:.1}H{width}\"/></svg>",
            y(threshold.min(top))
        );
        svg
    }

    /// What the script re-cuts it from, as JSON: leaves (example, size), joins (parts, height), what is inside the leaves.
    pub fn data(&self) -> String {
        let leaves: Vec<_> = (self.leaves.iter())
            .map(|leaf| (leaf.example, leaf.size))
            .collect();
        let joins: Vec<_> = (self.joins.iter())
            .map(|join| (join.parts[0], join.parts[1], join.height))
            .collect();
        let data = serde_json::json!({
            "leaves": leaves, "joins": joins, "inside": self.inside, "top": self.top(), "least": self.least
        });
        data.to_string()
    }

    /// The longest range of thresholds without a merge that gives two clusters at least: from, to, clusters.
    pub fn plateau(&self) -> Option<(f32, f32, usize)> {
        let mut heights: Vec<f32> = self.joins.iter().map(|join| join.height).collect();
        heights.sort_by(f32::total_cmp);
        let n = heights.len();
        let ranges = heights.windows(2).enumerate();
        let ranges = ranges.map(|(at, pair)| (pair[0], pair[1], n - at));
        let longest = ranges.max_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0)));
        longest.filter(|(from, to, _)| to > from)
    }
}

/// The class of a cluster's colour: eight have their own, the others one; `up` is above the cut.
pub fn class(cluster: Option<usize>) -> String {
    match cluster {
        Some(cluster) if cluster < 8 => format!("c{cluster}"),
        Some(_) => "cx".to_string(),
        None => "up".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merges(of: &[(usize, usize, f32)]) -> Vec<MergeStep> {
        let step = |(cluster1, cluster2, dissimilarity): &(usize, usize, f32)| MergeStep {
            cluster1: *cluster1,
            cluster2: *cluster2,
            dissimilarity: *dissimilarity,
        };
        of.iter().map(step).collect()
    }

    #[test]
    fn a_cut_joins_at_the_threshold_and_numbers_the_largest_first() {
        // 1 and 3 join at a quarter, 0 and 2 at a half, 4 joins the latter, then all.
        let steps = merges(&[(1, 3, 0.25), (0, 2, 0.5), (4, 6, 0.625), (5, 7, 0.75)]);
        let tree = Tree::new(&[0, 1, 2, 3, 4], &steps).unwrap();
        let order: Vec<i64> = tree.leaves.iter().map(|leaf| leaf.example).collect();
        assert_eq!(order, [0, 2, 4, 1, 3]);
        let leaves = |threshold| tree.clusters(threshold, 0)[..5].to_vec();
        let some = |numbers: [usize; 5]| numbers.map(Some).to_vec();
        assert_eq!(leaves(0.5), some([0, 0, 2, 1, 1]));
        assert_eq!(leaves(0.49), some([1, 2, 3, 0, 0]));
        assert_eq!(leaves(0.75), some([0; 5]));
        assert_eq!(
            tree.clusters(0.625, 3)[5..],
            [Some(4), Some(3), Some(3), None]
        );
        assert_eq!(tree.top(), 0.8);
        let svg = tree.svg(0.625, 0);
        assert_eq!(svg.matches("class=\"join c0\"").count(), 2);
        assert_eq!(svg.matches("class=\"join up\"").count(), 1);
        assert_eq!(tree.plateau(), Some((0.25, 0.5, 4)));
        assert!(Tree::new(&[7], &[]).is_none());
    }

    #[test]
    fn a_large_tree_is_drawn_from_its_highest_merges() {
        let n = 1000;
        // Each example joins all before it.
        let steps: Vec<_> = (1..n)
            .map(|at| {
                (
                    if at == 1 { 0 } else { n + at - 2 },
                    at,
                    at as f32 / n as f32,
                )
            })
            .collect();
        let examples: Vec<i64> = (0..n as i64).collect();
        let tree = Tree::new(&examples, &merges(&steps)).unwrap();
        assert_eq!(tree.n_leaves(), LEAVES);
        assert!(tree.is_cut_short());
        assert_eq!(tree.leaves[0].size, n - LEAVES + 1);
        assert_eq!(tree.leaves.iter().map(|leaf| leaf.size).sum::<usize>(), n);
        let pairs = (n - LEAVES + 1) * (n - LEAVES) / 2;
        assert_eq!(tree.inside.0, pairs as f64);
        assert!(tree.svg(0.9, 0).len() < 40_000);
    }
}
