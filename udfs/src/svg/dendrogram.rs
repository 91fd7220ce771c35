//! A dendrogram: a tree from left to right whose leaves are the lines of their texts, with the cut and the clusters.
//!
//! Where there are more leaves than fit, each subtree under the cut is one triangle with its size and its central text;
//! where there are more clusters than fit, the tree is drawn down to fewer subtrees, some of several clusters. Above 400 lines: one
//! picture with its tests.

use std::fmt::Write;

use polysema_kernels::{FlatClusters, Step, flat_clusters_at_most, ordered_parts};

use super::axis::{Axis, number};
use super::palette::Ink;
use super::picture::{About, Anchor, Picture};
use super::text::{first_columns, last_columns, visible};

/// A text around its key token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyInContext {
    /// What comes before the key token.
    pub before: String,
    /// The key token.
    pub key: String,
    /// What comes after it.
    pub after: String,
}

/// What is drawn.
pub struct Dendrogram<'a> {
    /// The merges of the observations.
    pub steps: &'a [Step],
    /// Their flat clusters at the cut.
    pub clusters: &'a FlatClusters,
    /// The central observation of each cluster.
    pub medoids: &'a [u32],
    /// Where the tree is cut; `None` for a cut that has no one height.
    pub threshold: Option<f64>,
    /// The text of an observation.
    pub text: &'a dyn Fn(u32) -> KeyInContext,
    /// What else an observation is called, for its tip.
    pub name: &'a dyn Fn(u32) -> String,
    /// Leaves that are drawn one by one at most.
    pub max_leaves: usize,
    /// What is said below the tree.
    pub notes: &'a [String],
}

const ROW: f64 = 18.0;
const MARGIN: f64 = 12.0;
/// Places of the heights, greatest and 0.
const HEIGHTS: [f64; 2] = [MARGIN + 8.0, 380.0];
const TOP: f64 = 46.0;
/// Where cluster numbers end, and where key tokens begin.
const NUMBERS: f64 = 412.0;
const KEYS: f64 = 620.0;
const WIDTH: f64 = 960.0;
/// Columns of text before the key token and from its beginning on; about 7 units each.
const BEFORE: usize = 28;
const AFTER: usize = 46;

/// A row of the picture.
#[derive(Debug, PartialEq)]
enum Row {
    /// One observation.
    Leaf(u32),
    /// A subtree of several: its height, its members, its clusters and one of them.
    Group {
        height: f64,
        members: u32,
        clusters: u32,
        cluster: u32,
    },
}

/// A node as it was drawn.
#[derive(Clone, Copy)]
struct Drawn {
    x: f64,
    y: f64,
}

/// The picture of a dendrogram.
pub fn dendrogram(about: &About, tree: &Dendrogram) -> String {
    let n = tree.clusters.labels.len();
    let layout = Layout::of(tree);
    let height = TOP + layout.rows.len().max(1) as f64 * ROW;
    let notes = tree.notes.len() as f64 * ROW;
    let mut picture = Picture::new(about, [WIDTH, height + 2.0 * MARGIN + notes]);
    if n == 0 {
        let at = [MARGIN, TOP + ROW / 2.0];
        picture.text(Ink::Faint, Anchor::Start, at, "no example has a direction");
    } else {
        let axis = scale(tree);
        ruler(&mut picture, tree, &axis, height);
        branches(&mut picture, tree, &layout, &axis);
        texts(&mut picture, tree, &layout.rows, height);
    }
    for (i, note) in tree.notes.iter().enumerate() {
        let at = [MARGIN, height + MARGIN + (i as f64 + 0.5) * ROW];
        picture.text(Ink::Faint, Anchor::Start, at, note);
    }
    picture.finish()
}

fn scale(tree: &Dendrogram) -> Axis {
    let heights = tree.steps.iter().map(|step| f64::from(step.dissimilarity));
    let highest = heights.fold(0.0, f64::max);
    let cut = tree.threshold.unwrap_or(0.0);
    // All in one place, or one leaf: some scale.
    let highest = Some(highest.max(cut)).filter(|&h| h > 0.0).unwrap_or(1.0);
    let [left, right] = HEIGHTS;
    Axis::new([0.0, highest], [right, left])
}

fn ruler(picture: &mut Picture, tree: &Dendrogram, axis: &Axis, height: f64) {
    let [left, right] = HEIGHTS;
    let at = [right, 10.0];
    picture.text(
        Ink::Faint,
        Anchor::End,
        at,
        "distance at which clusters join",
    );
    for (x, text) in axis.ticks(8) {
        let x = axis.place(x);
        picture.line(Ink::Grid, [x, TOP - 8.0], [x, height], false);
        picture.text(Ink::Faint, Anchor::Middle, [x, TOP - 16.0], &text);
    }
    picture.line(Ink::Faint, [left, TOP - 8.0], [right, TOP - 8.0], false);
    if let Some(threshold) = tree.threshold {
        let x = axis.place(threshold);
        picture.line(Ink::Accent, [x, TOP - 8.0], [x, height], true);
        let anchor = if x > (left + right) / 2.0 {
            Anchor::End
        } else {
            Anchor::Start
        };
        let text = format!("cut at {}", (threshold * 1e6).round() / 1e6);
        picture.text(Ink::Accent, anchor, [x, height + MARGIN / 2.0], &text);
    }
}

/// Which node of the tree is which row.
struct Layout {
    rows: Vec<Row>,
    /// The row of each node that is one.
    row_of: Vec<Option<usize>>,
    /// The parts of each merge, in order.
    parts: Vec<[u32; 2]>,
    /// The nodes to draw, parts before what they make.
    order: Vec<u32>,
}

impl Layout {
    fn of(tree: &Dendrogram) -> Self {
        let n = tree.clusters.labels.len();
        let parts = ordered_parts(tree.steps, n);
        let mut layout = Self {
            rows: Vec::new(),
            row_of: vec![None; n + parts.len()],
            parts,
            order: Vec::new(),
        };
        if n == 0 {
            return layout;
        }
        let groups = match n > tree.max_leaves {
            true if tree.clusters.sizes.len() > tree.max_leaves => {
                Some(flat_clusters_at_most(tree.steps, n, tree.max_leaves))
            }
            true => Some(tree.clusters.clone()),
            false => None,
        };
        // The group that all of a node's observations are in.
        let group_of = groups.as_ref().map(|groups| of_nodes(tree.steps, groups));
        // A stack in place of recursion: a tree of single linkage may be as deep as it has leaves.
        let mut stack = vec![(layout.row_of.len() as u32 - 1, false)];
        while let Some((node, parts_done)) = stack.pop() {
            let step = (node as usize).checked_sub(n);
            let group = group_of.as_ref().and_then(|of| of[node as usize]);
            if parts_done {
                layout.order.push(node);
                continue;
            }
            match (step, group, &groups) {
                (None, ..) => layout.row(node, Row::Leaf(node)),
                (Some(step), Some(group), Some(groups)) => {
                    let row = collapsed(tree, groups, group, step);
                    layout.row(node, row);
                }
                (Some(step), ..) => {
                    let [first, second] = layout.parts[step];
                    stack.extend([(node, true), (second, false), (first, false)]);
                }
            }
        }
        layout
    }

    fn row(&mut self, node: u32, row: Row) {
        self.row_of[node as usize] = Some(self.rows.len());
        self.rows.push(row);
        self.order.push(node);
    }
}

/// The subtree of a group of several observations as one row.
fn collapsed(tree: &Dendrogram, groups: &FlatClusters, group: u32, step: usize) -> Row {
    let labels = groups.labels.iter().zip(&tree.clusters.labels);
    let mut clusters: Vec<u32> = labels
        .filter(|(of, _)| **of == group)
        .map(|(_, cluster)| *cluster)
        .collect();
    let members = clusters.len() as u32;
    clusters.sort_unstable();
    clusters.dedup();
    Row::Group {
        height: f64::from(tree.steps[step].dissimilarity),
        members,
        clusters: clusters.len() as u32,
        cluster: clusters[0],
    }
}

/// The cluster that all observations of a node are in, for every node.
fn of_nodes(steps: &[Step], clusters: &FlatClusters) -> Vec<Option<u32>> {
    let mut of: Vec<Option<u32>> = clusters.labels.iter().map(|&label| Some(label)).collect();
    for step in steps {
        let [a, b] = [step.cluster1, step.cluster2].map(|part| of[part as usize]);
        of.push(if a == b { a } else { None });
    }
    of
}

fn branches(picture: &mut Picture, tree: &Dendrogram, layout: &Layout, axis: &Axis) {
    let n = tree.clusters.labels.len();
    let cluster_of = of_nodes(tree.steps, tree.clusters);
    let ink = |node: u32| match cluster_of[node as usize] {
        Some(number) => cluster(tree, number),
        None => Ink::Faint,
    };
    let mut drawn = vec![Drawn { x: 0.0, y: 0.0 }; layout.row_of.len()];
    for &node in &layout.order {
        let row = layout.row_of[node as usize];
        let place = match row.map(|row| (&layout.rows[row], middle(row))) {
            Some((Row::Leaf(_), y)) => Drawn {
                x: axis.place(0.0),
                y,
            },
            Some((Row::Group { height, .. }, y)) => {
                let (x, end) = (axis.place(*height), axis.place(0.0));
                let [x, end, top, bottom] = [x.min(end - 6.0), end, y - 7.0, y + 7.0].map(number);
                let triangle = format!("M{x} {}L{end} {top}V{bottom}Z", number(y));
                picture.shape(
                    ink(node),
                    &triangle,
                    Some(&format!("joins up to {height:.3}")),
                );
                Drawn {
                    x: axis.place(*height),
                    y,
                }
            }
            None => {
                let step = node as usize - n;
                let [a, b] = layout.parts[step].map(|part| drawn[part as usize]);
                let height = f64::from(tree.steps[step].dissimilarity);
                let x = axis.place(height);
                let mut commands = String::new();
                let _ = write!(
                    commands,
                    "M{} {}H{}V{}H{}",
                    number(a.x),
                    number(a.y),
                    number(x),
                    number(b.y),
                    number(b.x)
                );
                let tip = format!("{height:.3}: {} examples", tree.steps[step].size);
                picture.path(ink(node), &commands, 1.5, Some(&tip));
                Drawn {
                    x,
                    y: (a.y + b.y) / 2.0,
                }
            }
        };
        drawn[node as usize] = place;
    }
    // A tree of one row has no branch: a line says where it lies.
    if let [Row::Leaf(leaf)] = layout.rows[..] {
        let y = middle(0);
        let [left, right] = HEIGHTS;
        picture.path(ink(leaf), &format!("M{left} {y}H{right}"), 1.5, None);
    }
}

fn cluster(tree: &Dendrogram, number: u32) -> Ink {
    let size = tree.clusters.sizes[number as usize];
    Ink::Cluster { number, size }
}

fn middle(row: usize) -> f64 {
    TOP + (row as f64 + 0.5) * ROW
}

fn texts(picture: &mut Picture, tree: &Dendrogram, rows: &[Row], height: f64) {
    for (i, row) in rows.iter().enumerate() {
        let number = match row {
            Row::Leaf(leaf) => tree.clusters.labels[*leaf as usize],
            Row::Group { cluster, .. } => *cluster,
        };
        let ink = cluster(tree, number);
        let central = matches!(row, Row::Leaf(leaf) if tree.medoids[number as usize] == *leaf);
        let tip = match row {
            Row::Leaf(leaf) => (tree.name)(*leaf),
            Row::Group { .. } => (tree.name)(tree.medoids[number as usize]),
        };
        let (several, number) = match row {
            Row::Group { clusters, .. } if *clusters > 1 => (true, format!("{number}+")),
            _ => (false, number.to_string()),
        };
        let ink = if several { Ink::Faint } else { ink };
        picture.circle(
            ink,
            [HEIGHTS[1] + 8.0, middle(i)],
            if central { 5.0 } else { 3.0 },
            Some(&tip),
        );
        picture.spans(
            ink,
            Anchor::End,
            [NUMBERS, middle(i)],
            &[(&number, central)],
        );
    }
    // Texts are as wide as their letters turn out.
    let size = [KEYS - NUMBERS - 8.0, height];
    picture.within([NUMBERS + 8.0, 0.0], size, |picture| {
        for (i, row) in rows.iter().enumerate() {
            let (ink, before) = match row {
                Row::Leaf(leaf) => {
                    let before = visible(&(tree.text)(*leaf).before);
                    (Ink::Faint, last_columns(&before, BEFORE))
                }
                Row::Group {
                    members, clusters, ..
                } if *clusters > 1 => (
                    Ink::Text,
                    format!("{members} examples in {clusters} clusters "),
                ),
                Row::Group { members, .. } => (Ink::Text, format!("{members} examples around ")),
            };
            picture.text(ink, Anchor::End, [size[0] - 2.0, middle(i)], &before);
        }
    });
    picture.within([KEYS, 0.0], [WIDTH - KEYS - MARGIN, height], |picture| {
        for (i, row) in rows.iter().enumerate() {
            let observation = match row {
                Row::Leaf(leaf) => *leaf,
                Row::Group { cluster, .. } => tree.medoids[*cluster as usize],
            };
            let text = (tree.text)(observation);
            let key = first_columns(&visible(&text.key), AFTER);
            let left = AFTER.saturating_sub(super::text::columns(&key));
            let after = first_columns(&visible(&text.after), left.max(1));
            let parts = [(key.as_str(), true), (after.as_str(), false)];
            picture.spans(Ink::Text, Anchor::Start, [2.0, middle(i)], &parts);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use polysema_kernels::flat_clusters;

    fn step(cluster1: u32, cluster2: u32, dissimilarity: f32, size: u32) -> Step {
        Step {
            cluster1,
            cluster2,
            dissimilarity,
            size,
        }
    }

    fn drawn(steps: &[Step], threshold: f64, max_leaves: usize) -> (Vec<Row>, String) {
        let clusters = flat_clusters(steps, steps.len() + 1, threshold, false);
        let medoids: Vec<u32> = clusters.members().iter().map(|of| of[0]).collect();
        let tree = Dendrogram {
            steps,
            clusters: &clusters,
            medoids: &medoids,
            threshold: Some(threshold),
            text: &|i| KeyInContext {
                before: format!("before {i} "),
                key: "<b>\u{202e}".to_string(),
                after: " & after".to_string(),
            },
            name: &|i| format!("example {i}"),
            max_leaves,
            notes: &["one note".to_string()],
        };
        let about = About {
            id: "d".to_string(),
            ..About::default()
        };
        (Layout::of(&tree).rows, dendrogram(&about, &tree))
    }

    /// 0 and 1 join at 0.1, 2 and 3 at 0.2, the four at 0.6, with 4 at 0.9.
    fn tree() -> [Step; 4] {
        [
            step(0, 1, 0.1, 2),
            step(2, 3, 0.2, 2),
            step(5, 6, 0.6, 4),
            step(4, 7, 0.9, 5),
        ]
    }

    #[test]
    fn leaves_come_in_the_order_of_the_tree_in_the_colours_of_their_clusters() {
        let (rows, svg) = drawn(&tree(), 0.5, 150);
        assert_eq!(rows, [0, 1, 2, 3, 4].map(Row::Leaf));
        let count = |text: &str| svg.matches(text).count();
        assert_eq!(count("<path"), 4);
        assert_eq!(count("<path class=\"cluster c0\""), 1);
        assert_eq!(count("<path class=\"cluster c1\""), 1);
        assert_eq!(count("<path class=\"faint\""), 2, "above the cut");
        assert_eq!(count("<circle class=\"cluster single\""), 1);
        assert_eq!(count("&lt;b&gt;\\u{202e}"), 5);
        assert!(!svg.contains("style="), "a strict policy refuses it");
        assert!(svg.contains("cut at 0.5") && svg.contains("one note"));
    }

    #[test]
    fn subtrees_under_the_cut_collapse_and_several_clusters_where_there_are_too_many() {
        let (rows, svg) = drawn(&tree(), 0.5, 3);
        let group = |height, members, clusters, cluster| Row::Group {
            height: f64::from(height),
            members,
            clusters,
            cluster,
        };
        let pairs = [group(0.1f32, 2, 1, 0), group(0.2f32, 2, 1, 1), Row::Leaf(4)];
        assert_eq!(rows, pairs);
        assert!(svg.contains("2 examples around"), "{svg}");
        let (rows, svg) = drawn(&tree(), 0.5, 2);
        assert_eq!(rows, [group(0.6f32, 4, 2, 0), Row::Leaf(4)]);
        assert!(svg.contains("4 examples in 2 clusters"), "{svg}");
    }

    #[test]
    fn one_leaf_and_a_chain_of_many_are_trees_too() {
        let (rows, svg) = drawn(&[], 0.5, 150);
        assert_eq!(rows, [Row::Leaf(0)]);
        assert!(svg.ends_with("</svg>\n"));
        let n = 20_000;
        let mut chain = vec![step(0, 1, 0.0, 2)];
        chain.extend((2..n).map(|i| step(i, n + i - 2, i as f32 / n as f32, i + 1)));
        let (rows, _) = drawn(&chain, 0.5, 150);
        assert_eq!(rows.len(), 150);
    }
}
