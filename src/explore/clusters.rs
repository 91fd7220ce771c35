//! A neuron's examples as its page has them: their lists with trees, their clusters, each example with its tokens.

use std::collections::HashMap;

use serde::Deserialize;

use super::show;
use super::tokens::{Shades, shaded};
use super::tree::{MergeStep, Tree, class};

/// A row of `neuron_profile`: of a gated neuron one for each sign.
#[derive(Deserialize)]
pub struct ProfileLine {
    pub sign: Option<String>,
    pub n_examples: i64,
    pub n_clusters: Option<i64>,
    pub max_distance: Option<f64>,
    pub mean_distance: Option<f64>,
    pub intra_cluster_distance: Option<f64>,
    pub inter_cluster_distance: Option<f64>,
    pub members: Option<Vec<MemberLine>>,
    pub merges: Option<Vec<MergeStep>>,
}

/// An example as a member of a cluster.
#[derive(Deserialize)]
pub struct MemberLine {
    pub example: i64,
    pub cluster: Option<i64>,
    pub is_central: Option<bool>,
}

/// One list of examples with its tree and metrics.
pub struct ExampleList {
    pub line: ProfileLine,
    pub tree: Option<Tree>,
    /// The number of its first cluster.
    pub first: usize,
}

/// A row of `cluster_summary`.
#[derive(Deserialize)]
pub struct SummaryLine {
    pub cluster: i64,
    pub size: i64,
    pub central_example: i64,
    pub top_tokens: Option<Vec<Option<String>>>,
    pub mean_activation: Option<f64>,
    pub mean_distance: Option<f64>,
    pub sign: Option<String>,
}

/// A row of `examples`.
#[derive(Deserialize)]
pub struct ExampleLine {
    pub example: i64,
    pub doc_id: i64,
    pub pos: i64,
    pub token: Option<String>,
    pub activation: Option<f64>,
    pub window_start: Option<i64>,
    pub window_tokens: Option<Vec<Option<String>>>,
    pub window_activations: Option<Vec<Option<f64>>>,
}

/// A cluster with those of its examples that are shown; `central` is the central one's text.
pub struct ClusterShown {
    pub line: SummaryLine,
    pub class: String,
    pub examples: Vec<ExampleShown>,
    pub central: Option<String>,
    /// Of images, the mean of its examples.
    pub mean: Option<String>,
    /// And what its pixels come to for the neuron.
    pub weighted: Option<String>,
    /// What people call it.
    pub labels: Vec<String>,
    /// How many more a script unpacks.
    pub n_packed: i64,
}

/// An example with its tokens as HTML.
pub struct ExampleShown {
    pub line: ExampleLine,
    pub is_central: bool,
    pub text: String,
}

/// The lists with their trees, their clusters numbered through.
pub fn example_lists(lines: Vec<ProfileLine>) -> Vec<ExampleList> {
    let mut first = 0;
    lines
        .into_iter()
        .map(|mut line| {
            // Each list's own begin at 0; those of the second are numbered on everywhere else.
            for member in line.members.iter_mut().flatten() {
                member.cluster = member
                    .cluster
                    .map(|at| at + i64::try_from(first).unwrap_or(0));
            }
            let members = line.members.as_deref().unwrap_or_default();
            let examples: Vec<i64> = members.iter().map(|member| member.example).collect();
            let merges = line.merges.as_deref().unwrap_or_default();
            let list = ExampleList {
                tree: Tree::new(&examples, merges),
                first,
                line,
            };
            first += list
                .line
                .n_clusters
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(0);
            list
        })
        .collect()
}

/// The clusters with their examples, and the examples in none.
pub fn shown(
    summary: Vec<SummaryLine>,
    examples: Vec<ExampleLine>,
    lists: &[ExampleList],
    shades: Shades,
    is_own_scale: bool,
    pictures: &HashMap<i64, String>,
) -> (Vec<ClusterShown>, Vec<ExampleShown>) {
    let mut clusters: Vec<ClusterShown> = summary
        .into_iter()
        .map(|line| ClusterShown {
            class: class(usize::try_from(line.cluster).ok()),
            line,
            examples: vec![],
            central: None,
            mean: None,
            weighted: None,
            labels: vec![],
            n_packed: 0,
        })
        .collect();
    let members = lists
        .iter()
        .flat_map(|list| list.line.members.iter().flatten());
    let of: HashMap<i64, &MemberLine> = members.map(|member| (member.example, member)).collect();
    let mut without = vec![];
    for line in examples {
        let member = of.get(&line.example);
        let is_central = member.is_some_and(|member| member.is_central == Some(true));
        let cluster = member.and_then(|member| member.cluster);
        let mut text = line.text(shades, is_own_scale);
        if let Some(picture) = pictures.get(&line.doc_id) {
            // The picture stands before the tokens: of an image they are its class.
            let begin = text.find('>').map_or(0, |at| at + 1);
            text.insert_str(begin, picture);
        }
        let example = ExampleShown {
            is_central,
            text,
            line,
        };
        let found = clusters
            .iter_mut()
            .find(|shown| Some(shown.line.cluster) == cluster);
        match found {
            Some(shown) => {
                if example.line.example == shown.line.central_example {
                    shown.central = Some(example.text.clone());
                }
                shown.examples.push(example);
            }
            None => without.push(example),
        }
    }
    (clusters, without)
}

impl ExampleLine {
    /// Whether the corpus of the run has no text.
    pub fn is_without_text(&self) -> bool {
        let tokens = self.window_tokens.as_deref().unwrap_or_default();
        tokens.iter().all(Option::is_none)
    }

    /// Its window, or what there is where a corpus has no text.
    pub fn text(&self, shades: Shades, is_own_scale: bool) -> String {
        let tokens = self.window_tokens.as_deref().unwrap_or_default();
        if self.is_without_text() {
            return match &self.token {
                Some(token) => shaded(
                    "text",
                    &[Some(token.clone())],
                    &[self.activation],
                    Some(0),
                    shades,
                ),
                None => String::new(),
            };
        }
        let activations = self.window_activations.as_deref().unwrap_or_default();
        let key = self.pos - self.window_start.unwrap_or(self.pos);
        let own = || {
            activations
                .iter()
                .flatten()
                .copied()
                .map(f64::abs)
                .fold(0.0, f64::max)
        };
        let shades = match is_own_scale {
            true => Shades {
                most: own(),
                least: shades.least.map(|_| -own()),
            },
            false => shades,
        };
        shaded(
            "text",
            tokens,
            activations,
            usize::try_from(key).ok(),
            shades,
        )
    }
}

impl ClusterShown {
    /// Its share of the examples as a bar.
    pub fn share(&self, all: &Option<i64>) -> String {
        let all = all.unwrap_or(0).max(1) as f64;
        let part = (self.line.size as f64 / all * 100.0).clamp(0.0, 100.0);
        format!(
            "<svg class=\"share\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"all\" width=\"100\" height=\"4\"/><rect class=\"{}\" width=\"{part:.1}\" height=\"4\"/></svg>",
            self.class
        )
    }

    /// Its most frequent key tokens.
    pub fn tokens(&self) -> Vec<&str> {
        let tokens = self.line.top_tokens.as_deref().unwrap_or_default();
        tokens.iter().flatten().map(String::as_str).collect()
    }

    /// How many of its examples are not shown.
    pub fn n_hidden(&self) -> i64 {
        let shown = i64::try_from(self.examples.len()).unwrap_or(i64::MAX);
        (self.line.size - shown - self.n_packed).max(0)
    }
}

impl ExampleList {
    /// Its drawing, cut at a threshold.
    pub fn svg(&self, threshold: &f64) -> String {
        let tree = self.tree.as_ref();
        tree.map_or(String::new(), |tree| tree.svg(*threshold, self.first))
    }

    /// The longest way without a merge, in words.
    pub fn plateau(&self) -> String {
        let plateau = self.tree.as_ref().and_then(Tree::plateau);
        plateau.map_or(String::new(), |(from, to, n)| {
            format!(
                " The longest way without a merge is from {from:.3} to {to:.3}, with {n} clusters."
            )
        })
    }

    /// What the script re-cuts the drawing from.
    pub fn data(&self) -> String {
        self.tree.as_ref().map_or(String::new(), Tree::data)
    }

    /// The marks of its axis, from the top.
    pub fn marks(&self) -> Vec<String> {
        let top = self.tree.as_ref().map_or(0.0, Tree::top);
        (0..5)
            .rev()
            .map(|quarter| show::fixed(Some(top * f64::from(quarter) / 4.0), 2))
            .collect()
    }
}
