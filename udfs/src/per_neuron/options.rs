//! The options every clustering function shares: of the call, else of the session's settings, checked in one place.

use datafusion::common::{Result, plan_err};

use super::inputs::{InputColumns, PRE_MLP, WEIGHTED_PRE_MLP};
use super::keys::KIND;
use crate::calls::settings::PolysemaOptions;
use crate::calls::{Arguments, Parameter, RUN};
use polysema_kernels::clustering::flat_clusters::{flat_clusters, flat_clusters_at_most};
use polysema_kernels::{
    CosineDistances, FlatClusters, Linkage, Linker, MeanLinker, Step, SubClusters,
};

/// What is compared of each example: its neuron embedding, or what that is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embedding {
    /// `h * w`, element by element: the neuron embedding, of a gated neuron with the weights of its gate.
    Neuron,
    /// `h * w_up`: of a gated neuron with the weights of what its gate lets through.
    Up,
    /// Both, the one after the other.
    GateUp,
    /// `h`: what the neuron received at the key token.
    PreMlp,
    /// The neuron embedding of the key token and the tokens before it, weighted by their activations.
    Weighted,
}

impl Embedding {
    const ALL: [Self; 5] = [
        Self::Neuron,
        Self::PreMlp,
        Self::Weighted,
        Self::Up,
        Self::GateUp,
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|embedding| embedding.name() == name)
    }

    /// Name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neuron => "neuron",
            Self::PreMlp => "pre_mlp",
            Self::Weighted => "weighted",
            Self::Up => "up",
            Self::GateUp => "gate_up",
        }
    }

    /// What a function of these embeddings reads, beside other columns of `examples`.
    pub fn inputs(self, examples: Vec<&'static str>) -> InputColumns {
        InputColumns {
            examples,
            vectors: Some(match self {
                Self::Weighted => WEIGHTED_PRE_MLP,
                _ => PRE_MLP,
            }),
            weights: match self {
                Self::PreMlp => &[],
                Self::Neuron | Self::Weighted => &["w_in"],
                Self::Up => &["w_up"],
                Self::GateUp => &["w_in", "w_up"],
            },
        }
    }
}

/// The option `embedding`, which functions of distances take.
pub const EMBEDDING: Parameter = Parameter {
    name: "embedding",
    kind: "text",
    summary: "'neuron' (the neuron embedding h * w), 'pre_mlp' (the received vector h), 'weighted' (h * w with the mean of h \
              over the key token and the tokens before it in the window, weighted by the neuron's activations of the \
              example's sign there: column weighted_pre_mlp, which ingest fills with window_vectors: true) or, of gated \
              neurons, 'up' (h * w_up) and 'gate_up' (h * w_in, then h * w_up); default polysema.embedding",
};

/// How clusters are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Hierarchical clustering.
    Hac,
    /// Sub-cluster components.
    Scc,
}

impl Method {
    const ALL: [Self; 2] = [Self::Hac, Self::Scc];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hac => "hac",
            Self::Scc => "scc",
        }
    }
}

/// `a, b or c`.
fn alternatives<const N: usize>(names: [&str; N]) -> String {
    match names.split_last() {
        Some((last, [])) => (*last).to_string(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The option `method`.
const METHOD: Parameter = Parameter {
    name: "method",
    kind: "text",
    summary: "'hac' (hierarchical; the n^2 distances are held, but for average linkage of more than 4,096 examples, or of \
              more distances than the memory limit allows, which is made from cluster means in n * d memory) or 'scc' \
              (sub-cluster components, near average linkage's clusters in half of that); default polysema.method",
};

/// The option `linkage`.
pub const LINKAGE: Parameter = Parameter {
    name: "linkage",
    kind: "text",
    summary: "average, single, complete, weighted, ward, centroid or median; default polysema.linkage. The last three take \
              cosine distances for Euclidean ones, as SciPy does with any matrix: their heights are no mean cosine \
              distances, ward's may exceed 2 (cut it by n_clusters), centroid's and median's may fall from merge to merge",
};

/// The option `threshold`.
const THRESHOLD: Parameter = Parameter {
    name: "threshold",
    kind: "number in [0, 2]",
    summary: "largest merge height inside a cluster; default polysema.threshold",
};

/// The option `n_clusters`.
const N_CLUSTERS: Parameter = Parameter {
    name: "n_clusters",
    kind: "whole number, at least 1",
    summary: "in place of a threshold: the cut with at most this many clusters, fewer where merges tie",
};

/// The option `strict`.
pub const STRICT: Parameter = Parameter {
    name: "strict",
    kind: "boolean",
    summary: "join only below the threshold, not at it; default polysema.strict",
};

/// The options of every clustering.
pub const CLUSTERING: &[Parameter] = &[THRESHOLD, N_CLUSTERS, METHOD, LINKAGE, EMBEDDING, STRICT];

/// The options of a clustering that makes a tree, and its cut.
pub const TREE: &[Parameter] = &[THRESHOLD, N_CLUSTERS, LINKAGE, EMBEDDING, STRICT];

/// The options of every clustering over layers.
pub const CLUSTERS_OF_LAYERS: &[Parameter] = &joined::<8>(&[CLUSTERING, &[KIND, RUN]]);

/// The parameters of several lists, of which there are `N`.
pub const fn joined<const N: usize>(lists: &[&[Parameter]]) -> [Parameter; N] {
    let mut all = [EMBEDDING; N];
    let (mut list, mut at) = (0, 0);
    while list < lists.len() {
        let mut i = 0;
        while i < lists[list].len() {
            all[at] = lists[list][i];
            i += 1;
            at += 1;
        }
        list += 1;
    }
    assert!(at == N, "as many parameters as the lists have");
    all
}

/// Where a dendrogram is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// At this merge height, the largest inside a cluster.
    Threshold(f64),
    /// At the least merge height that leaves at most this many clusters.
    AtMost(usize),
}

impl Cut {
    /// The flat clusters of a dendrogram of `n` observations.
    pub fn flat(self, steps: &[Step], n: usize, strict: bool) -> FlatClusters {
        match self {
            Self::Threshold(threshold) => flat_clusters(steps, n, as_height(threshold), strict),
            Self::AtMost(n_clusters) => flat_clusters_at_most(steps, n, n_clusters),
        }
    }

    /// Of the call, else the setting's threshold.
    fn bind(arguments: &Arguments, settings: &PolysemaOptions) -> Result<Self> {
        let function = arguments.function();
        let threshold = arguments.number("threshold")?;
        let Some(n_clusters) = arguments.integer("n_clusters")? else {
            let threshold = threshold.unwrap_or(settings.threshold);
            require_threshold(function, threshold)?;
            return Ok(Self::Threshold(threshold));
        };
        if let Some(threshold) = threshold {
            return plan_err!(
                "{function}: either threshold or n_clusters is required, got both {threshold} and {n_clusters}"
            );
        }
        match usize::try_from(n_clusters) {
            Ok(n_clusters) if n_clusters >= 1 => Ok(Self::AtMost(n_clusters)),
            _ => plan_err!("{function}: n_clusters must be at least 1, got {n_clusters}"),
        }
    }
}

/// Bound options of a clustering function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClusterOptions {
    /// Where the dendrogram is cut.
    pub cut: Cut,
    /// How clusters are found.
    pub method: Method,
    /// How clusters are joined.
    pub linkage: Linkage,
    /// What is compared.
    pub embedding: Embedding,
    /// Join below the threshold only.
    pub strict: bool,
}

impl ClusterOptions {
    /// As [`Self::bind`], for a function of the merges, which only one method makes.
    pub(super) fn hierarchical(arguments: &Arguments, settings: &PolysemaOptions) -> Result<Self> {
        let method = PolysemaOptions::default().method;
        Self::bind(
            arguments,
            &PolysemaOptions {
                method,
                ..settings.clone()
            },
        )
    }

    /// The session's settings alone, checked.
    pub fn from_settings(function: &'static str, settings: &PolysemaOptions) -> Result<Self> {
        Self::bind(&Arguments::none(function), settings)
    }

    /// The call's options over the session's settings.
    pub(super) fn bind(arguments: &Arguments, settings: &PolysemaOptions) -> Result<Self> {
        let function = arguments.function();
        let cut = Cut::bind(arguments, settings)?;
        let method = arguments
            .text("method")?
            .unwrap_or_else(|| settings.method.clone());
        let Some(method) = Method::parse(&method) else {
            let known = alternatives(Method::ALL.map(Method::name));
            return plan_err!("{function}: method must be {known}, got '{method}'");
        };
        let linkage = arguments
            .text("linkage")?
            .unwrap_or_else(|| settings.linkage.clone());
        let Some(linkage) = Linkage::parse(&linkage) else {
            let known = Linkage::ALL.map(Linkage::name).join(", ");
            return plan_err!("{function}: linkage must be one of {known}, got '{linkage}'");
        };
        if method == Method::Scc && linkage != Linkage::Average {
            return plan_err!(
                "{function}: linkage must be average with method 'scc', got '{}'",
                linkage.name()
            );
        }
        let embedding = arguments
            .text("embedding")?
            .unwrap_or_else(|| settings.embedding.clone());
        let Some(embedding) = Embedding::parse(&embedding) else {
            let known = alternatives(Embedding::ALL.map(Embedding::name));
            return plan_err!("{function}: embedding must be {known}, got '{embedding}'");
        };
        let strict = arguments.boolean("strict")?.unwrap_or(settings.strict);
        Ok(Self {
            cut,
            method,
            linkage,
            embedding,
            strict,
        })
    }

    /// Whether `n` examples of width `d` are merged by the means of clusters, under a limit of so many bytes.
    pub(super) fn by_means(&self, n: usize, d: usize, limit: usize) -> bool {
        self.method == Method::Hac && self.linkage == Linkage::Average && by_means(n, d, limit)
    }

    /// Bytes a clustering of `n` examples of width `d` holds, where so many may be held.
    pub fn bytes(&self, n: usize, d: usize, limit: usize) -> usize {
        match self.method {
            Method::Hac if self.by_means(n, d, limit) => MeanLinker::bytes(n, d),
            Method::Hac => matrix_bytes(n, d),
            Method::Scc => SubClusters::bytes(n, d),
        }
    }

    /// Where the bytes are refused: the method that needs fewer.
    pub fn advice(&self, n: usize, d: usize, limit: usize) -> Option<String> {
        let fewer = SubClusters::bytes(n, d);
        let with = match self.linkage {
            Linkage::Average => "",
            _ => "linkage: 'average', ",
        };
        (fewer < self.bytes(n, d, limit)).then(|| format!("{with}method: 'scc' needs {fewer}"))
    }

    /// The same for a function of the merges, which only one method makes.
    pub fn advice_on_merges(&self, n: usize, d: usize, limit: usize) -> Option<String> {
        let fewer = MeanLinker::bytes(n, d);
        let linkage = self.linkage.name();
        (fewer < self.bytes(n, d, limit))
            .then(|| format!("{linkage} linkage holds all distances, average needs {fewer}"))
    }

    /// As EXPLAIN shows them.
    pub fn describe(&self) -> String {
        let cut = match self.cut {
            Cut::Threshold(threshold) => format!("threshold={threshold}"),
            Cut::AtMost(n_clusters) => format!("n_clusters={n_clusters}"),
        };
        let method = match self.method {
            Method::Hac => format!("linkage={}", self.linkage.name()),
            Method::Scc => "method=scc".to_string(),
        };
        format!(
            "{cut}, {method}, embedding={}{}",
            self.embedding.name(),
            if self.strict { ", strict" } else { "" }
        )
    }
}

/// A threshold as the float32 that merge heights are: one copied from the height of a merge is that height, so the merge
/// joins (SciPy's `fcluster` is inclusive), and does not where it is strict.
pub(super) fn as_height(threshold: f64) -> f64 {
    f64::from(threshold as f32)
}

/// Bytes held for `n` examples of width `d` where all distances are.
pub fn matrix_bytes(n: usize, d: usize) -> usize {
    CosineDistances::bytes(n, d) + Linker::bytes(n)
}

/// Most examples whose average linkage is made from all distances: beyond, means take less time
/// (`cargo bench -p polysema-kernels --bench linkage`).
const MOST_BY_MATRIX: usize = 4096;

/// Whether average linkage of `n` vectors of width `d` is made from the means of clusters, not from all distances: where
/// that is faster, and where these are more bytes than the limit.
pub fn by_means(n: usize, d: usize, limit: usize) -> bool {
    let matrix = matrix_bytes(n, d);
    (n > MOST_BY_MATRIX || matrix > limit) && MeanLinker::bytes(n, d) < matrix
}

/// Checks a cluster threshold.
pub fn require_threshold(function: &str, threshold: f64) -> Result<()> {
    if (0.0..=2.0).contains(&threshold) {
        return Ok(());
    }
    plan_err!("{function}: threshold must be in [0, 2], got {threshold}")
}

/// The option `n_tokens` of functions with a column `top_tokens`.
pub const N_TOKENS: Parameter = Parameter {
    name: "n_tokens",
    kind: "whole number, at least 1",
    summary: "most tokens in top_tokens; default 5",
};
