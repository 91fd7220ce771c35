//! A dendrogram drawn in text: one line a cluster, branches to the right at the distance where they join.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Float32Type, Int32Type};
use polysema_kernels::{Step, ordered_parts};

use super::answers::{integers, read};
use super::failure::Failure;
use super::screen;
use crate::session::Session;

/// Leaves of the drawn dendrogram at most, to fit a screen. Chosen, not tuned.
const MAX_LEAVES: usize = 16;
/// Columns the branches take at most, and at least where the terminal is narrow.
const WIDTH: usize = 48;
const LEAST_WIDTH: usize = 16;
/// What stands behind the scale.
const UNIT: &str = "  distance";

/// What a terminal is told to colour the first clusters, in the order of the pictures' colours, and what comes after a
/// coloured part. The terminal's own palette, which is read on its ground.
const COLOURS: [&str; 7] = ["94", "33", "32", "35", "93", "36", "31"];
const GRAY: &str = "90";
const PLAIN: &str = "\u{1b}[0m";

/// Joins of the tree above the leaves; a leaf is a row of the drawing.
enum Node {
    Leaf(usize),
    Join(f32, Box<Node>, Box<Node>),
}

/// Lines of a dendrogram over groups of observations, with a scale below.
///
/// `group_of[i]` is the row that observation `i` belongs to, if it is drawn; `labels[row]` stands before the row. A
/// group is one subtree of `merges`, which are numbered as `linkage` does. Rows are put in the order of the tree, so that no
/// branches cross: the larger branch first. Lines are no longer than `columns`, the terminal's. A row has the colour in
/// `colours`, if it has one there, up to where its branch joins another.
pub fn draw(
    merges: &[Step],
    group_of: &[Option<usize>],
    labels: &[String],
    colours: &[&str],
    columns: Option<usize>,
) -> Vec<String> {
    let Some(root) = tree(merges, group_of) else {
        return Vec::new();
    };
    let mut order = Vec::new();
    leaves(&root, &mut order);
    let highest = merges
        .iter()
        .map(|merge| merge.dissimilarity)
        .fold(f32::MIN_POSITIVE, f32::max);
    let beside = 1 + UNIT.len();
    let most = columns.map(|columns| columns.saturating_sub(beside + LEAST_WIDTH).max(1));
    let labels: Vec<String> = labels.iter().map(|label| shortened(label, most)).collect();
    let margin = labels.iter().map(|label| label.chars().count()).max();
    let margin = margin.unwrap_or(0);
    let free = columns.map(|columns| columns.saturating_sub(beside + margin));
    let width = free.map_or(WIDTH, |free| free.clamp(LEAST_WIDTH, WIDTH));
    let mut canvas = Canvas {
        highest,
        width,
        rows: vec![vec![0; width]; order.len()],
    };
    let mut next_row = 0;
    canvas.node(&root, &mut next_row);
    let mut lines: Vec<String> = order
        .iter()
        .zip(&canvas.rows)
        .map(|(&row, cells)| {
            let pad = " ".repeat(margin - labels[row].chars().count());
            let branches: String = cells.iter().map(|&sides| glyph(sides)).collect();
            let branches = branches.trim_end();
            let Some(colour) = colours.get(row) else {
                return format!("{}{pad} {branches}", labels[row]);
            };
            let joins = branches.find(|c| c != '─').unwrap_or(branches.len());
            let (own, joined) = branches.split_at(joins);
            format!("\u{1b}[{colour}m{}{pad} {own}{PLAIN}{joined}", labels[row])
        })
        .collect();
    let end = format!("{highest:.2}");
    let gap = width.saturating_sub(1 + end.len());
    lines.push(format!(
        "{} 0{}{end}{UNIT}",
        " ".repeat(margin),
        " ".repeat(gap)
    ));
    lines
}

/// The lines of a neuron's dendrogram: its larger clusters with their tokens, and where they join; of a gated neuron one
/// for each sign of its examples. `layer` is a number or a name in quotes. They fit the terminal that stdout is, and with
/// `has_colours` each cluster has one.
pub async fn of_neuron(
    session: &Session,
    layer: &str,
    neuron: i64,
    has_colours: bool,
) -> Result<Vec<String>, Failure> {
    let place = format!("{layer}, {neuron}");
    let signs = format!("SELECT DISTINCT sign FROM cluster_summary({place}) ORDER BY sign DESC");
    let mut lines = vec![];
    for batch in read(session, &signs).await? {
        for sign in batch.column(0).as_string::<i32>() {
            lines.extend(sign.map(|sign| format!("{sign}:")));
            lines.extend(of_sign(session, &place, sign, has_colours).await?);
        }
    }
    Ok(lines)
}

/// Those of the examples of one sign, or of a neuron whose examples have none.
async fn of_sign(
    session: &Session,
    place: &str,
    sign: Option<&str>,
    has_colours: bool,
) -> Result<Vec<String>, Failure> {
    let (of_sign, of_activation) = match sign {
        None => ("true", "true"),
        Some("negative") => ("sign = 'negative'", "activation < 0"),
        Some(_) => ("sign = 'positive'", "activation >= 0"),
    };
    let merges = format!(
        "SELECT cluster1, cluster2, dissimilarity, size FROM linkage({place}) WHERE {of_sign} ORDER BY step"
    );
    let merges = read(session, &merges).await?;
    let heights = merges.iter().flat_map(|batch| {
        batch
            .column(2)
            .as_primitive::<Float32Type>()
            .values()
            .to_vec()
    });
    let merges: Vec<Step> = integers(&merges, 0)
        .into_iter()
        .zip(integers(&merges, 1))
        .zip(integers(&merges, 3))
        .zip(heights)
        .map(|(((a, b), size), dissimilarity)| Step {
            cluster1: a as u32,
            cluster2: b as u32,
            dissimilarity,
            size: size as u32,
        })
        .collect();
    let members = format!(
        "SELECT cluster FROM feature_clusters({place}) WHERE {of_activation} ORDER BY example"
    );
    let members = read(session, &members).await?;
    let summary = format!(
        "SELECT size, array_to_string(top_tokens, ' '), cluster FROM cluster_summary({place}, {{n_tokens: 4}})
         WHERE {of_sign} ORDER BY cluster"
    );
    let summary = read(session, &summary).await?;
    let tokens = summary.iter().flat_map(|batch| {
        let column = batch.column(1).as_string::<i32>();
        (0..column.len())
            .map(|i| column.value(i).replace('\n', "↵"))
            .collect::<Vec<_>>()
    });
    let clusters = integers(&summary, 2);
    let first = clusters.first().copied().unwrap_or(0);
    let sizes = integers(&summary, 0);
    let colour = |(cluster, size): (&i32, &i32)| match *size {
        ..=1 => GRAY,
        _ => colour_of(*cluster),
    };
    let colours: Vec<&str> = match has_colours {
        true => clusters.iter().zip(&sizes).map(colour).collect(),
        false => vec![],
    };
    let labels: Vec<String> = sizes
        .into_iter()
        .zip(tokens)
        .zip(&clusters)
        .map(|((size, tokens), cluster)| format!("{cluster:>3} ({size:>3}) {tokens}"))
        .collect();
    let groups: Vec<Option<usize>> = members
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int32Type>()
                .iter()
                .collect::<Vec<_>>()
        })
        .map(|cluster| Some((i64::from(cluster?) - i64::from(first)) as usize))
        .map(|cluster| cluster.filter(|&c| c < MAX_LEAVES))
        .collect();
    let shown = labels.len().min(MAX_LEAVES);
    let columns = screen::size().map(|(columns, _)| columns);
    Ok(draw(&merges, &groups, &labels[..shown], &colours, columns))
}

/// The colour of a cluster of several examples.
fn colour_of(cluster: i32) -> &'static str {
    let known = usize::try_from(cluster).ok();
    known.and_then(|at| COLOURS.get(at)).unwrap_or(&GRAY)
}

/// The first characters of a label, at most so many.
fn shortened(label: &str, most: Option<usize>) -> String {
    match most {
        Some(most) if label.chars().count() > most => {
            label.chars().take(most - 1).chain(['…']).collect()
        }
        _ => label.to_string(),
    }
}

fn tree(merges: &[Step], group_of: &[Option<usize>]) -> Option<Node> {
    let mut nodes: HashMap<usize, Node> = group_of
        .iter()
        .enumerate()
        .filter_map(|(i, group)| Some((i, Node::Leaf((*group)?))))
        .collect();
    let parts = ordered_parts(merges, group_of.len());
    for (step, (merge, [a, b])) in merges.iter().zip(parts).enumerate() {
        let height = merge.dissimilarity;
        let joined = match (nodes.remove(&(a as usize)), nodes.remove(&(b as usize))) {
            (Some(Node::Leaf(x)), Some(Node::Leaf(y))) if x == y => Node::Leaf(x),
            (Some(x), Some(y)) => Node::Join(height, Box::new(x), Box::new(y)),
            (Some(x), None) | (None, Some(x)) => x,
            (None, None) => continue,
        };
        nodes.insert(group_of.len() + step, joined);
    }
    nodes
        .into_iter()
        .max_by_key(|(label, _)| *label)
        .map(|(_, node)| node)
}

fn leaves(node: &Node, order: &mut Vec<usize>) {
    match node {
        Node::Leaf(row) => order.push(*row),
        Node::Join(_, a, b) => {
            leaves(a, order);
            leaves(b, order);
        }
    }
}

const LEFT: u8 = 1;
const RIGHT: u8 = 2;
const UP: u8 = 4;
const DOWN: u8 = 8;

struct Canvas {
    highest: f32,
    width: usize,
    rows: Vec<Vec<u8>>,
}

impl Canvas {
    /// Draws a node and returns where its branch leaves to the right: (row, column).
    fn node(&mut self, node: &Node, next_row: &mut usize) -> (usize, usize) {
        match node {
            Node::Leaf(_) => {
                *next_row += 1;
                (*next_row - 1, 0)
            }
            Node::Join(height, a, b) => {
                let (upper, lower) = (self.node(a, next_row), self.node(b, next_row));
                let last = self.width - 1;
                let place = (height / self.highest * last as f32).round() as usize;
                let column = place.max(upper.1 + 1).max(lower.1 + 1).min(last);
                for (row, from) in [upper, lower] {
                    for x in from..column {
                        self.rows[row][x] |= RIGHT | if x > from { LEFT } else { 0 };
                    }
                    self.rows[row][column] |= LEFT;
                }
                for y in upper.0..lower.0 {
                    self.rows[y][column] |= DOWN;
                    self.rows[y + 1][column] |= UP;
                }
                ((upper.0 + lower.0) / 2, column)
            }
        }
    }
}

fn glyph(sides: u8) -> char {
    const LEFT_RIGHT: u8 = LEFT | RIGHT;
    const UP_DOWN: u8 = UP | DOWN;
    match (sides & LEFT_RIGHT, sides & UP_DOWN) {
        (0, 0) => ' ',
        (_, 0) => '─',
        (0, _) => '│',
        (LEFT, DOWN) => '┐',
        (LEFT, UP) => '┘',
        (RIGHT, DOWN) => '┌',
        (RIGHT, UP) => '└',
        (LEFT, _) => '┤',
        (RIGHT, _) => '├',
        (_, DOWN) => '┬',
        (_, UP) => '┴',
        _ => '┼',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merges<const N: usize>(merges: [(u32, u32, f32); N]) -> [Step; N] {
        merges.map(|(cluster1, cluster2, dissimilarity)| Step {
            cluster1,
            cluster2,
            dissimilarity,
            size: 0,
        })
    }

    #[test]
    fn branches_join_at_their_distance() {
        // 0 and 1 are one group; it joins 2 at half the height of the root.
        let merges = merges([(0, 1, 0.1), (2, 4, 0.5), (3, 5, 1.0)]);
        let labels = ["a", "b", "cc"].map(String::from);
        let lines = draw(
            &merges,
            &[Some(0), Some(0), Some(1), Some(2)],
            &labels,
            &[],
            None,
        );
        let dash = |n: usize| "─".repeat(n);
        assert_eq!(
            lines,
            [
                format!("a  {}┬{}┐", dash(24), dash(22)),
                format!("b  {}┘{}│", dash(24), " ".repeat(22)),
                format!("cc {}┘", dash(47)),
                format!("   0{}1.00  distance", " ".repeat(43)),
            ]
        );
    }

    #[test]
    fn groups_left_out_do_not_leave_gaps() {
        let merges = merges([(0, 1, 0.2), (2, 3, 0.8)]);
        let lines = draw(
            &merges,
            &[Some(0), None, Some(1)],
            &["x".into(), "y".into()],
            &[],
            None,
        );
        assert_eq!(lines.len(), 3);
        assert!(draw(&[], &[], &[], &[], None).is_empty());
    }

    #[test]
    fn lines_fit_the_terminal() {
        let merges = merges([(0, 1, 0.5), (2, 3, 1.0)]);
        let groups = [Some(0), Some(1), Some(2)];
        let labels = ["short".to_string(), "e".repeat(40), "é".repeat(70)];
        for columns in [30, 60, 80] {
            let lines = draw(&merges, &groups, &labels, &[], Some(columns));
            let longest = lines.iter().map(|line| line.chars().count()).max();
            assert_eq!(longest, Some(columns), "{lines:?}");
        }
        let lines = draw(&merges, &groups, &labels, &[], Some(200));
        assert_eq!(lines, draw(&merges, &groups, &labels, &[], None));
    }

    #[test]
    fn a_row_has_its_colour_up_to_where_it_joins() {
        let merges = merges([(0, 1, 0.5), (2, 3, 1.0)]);
        let groups = [Some(0), Some(1), Some(2)];
        let labels = ["a", "b", "cc"].map(String::from);
        let plain = draw(&merges, &groups, &labels, &[], None);
        let lines = draw(&merges, &groups, &labels, &["94", "33", "90"], None);
        let dash = |n: usize| "─".repeat(n);
        assert_eq!(
            lines[0],
            format!("\u{1b}[94ma  {}\u{1b}[0m┬{}┐", dash(24), dash(22))
        );
        assert_eq!(lines[2], format!("\u{1b}[90mcc {}\u{1b}[0m┘", dash(47)));
        for (line, plain) in lines.iter().zip(&plain) {
            assert_eq!(&console::strip_ansi_codes(line), plain);
        }
        assert_eq!(lines.last(), plain.last());
        assert_eq!(["94", "31", "90"], [0, 6, 7].map(colour_of));
    }
}
