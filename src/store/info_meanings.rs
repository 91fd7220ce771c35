//! What the columns of the tables of `info` and of the views mean, for people who look at one.

/// Columns of the views that mean the same in each.
const VIEWS: [(&str, &str); 19] = [
    ("layer", "number of the layer, from 0"),
    ("name", "the layer's name"),
    ("neuron", "number of the neuron in its layer, from 0"),
    (
        "cluster",
        "number of the feature cluster, by decreasing size",
    ),
    ("size", "number of its examples"),
    (
        "share",
        "its share of the neuron's clustered examples, in (0, 1]",
    ),
    ("max_activation", "largest activation of all tokens"),
    ("mean_activation", "mean activation over all tokens"),
    ("n_examples", "number of the neuron's dataset examples"),
    ("n_clusters", "number of its feature clusters"),
    ("n_neurons", "number of the layer's neurons"),
    (
        "n_without_examples",
        "how many of them have no dataset example",
    ),
    ("n_monosemantic", "how many have one feature cluster"),
    ("n_polysemantic", "how many have two or more"),
    (
        "mean_n_clusters",
        "mean number of feature clusters over them",
    ),
    (
        "max_distance",
        "largest cosine distance of two examples, in [0, 2]",
    ),
    (
        "mean_distance",
        "mean cosine distance over pairs of examples, in [0, 2]",
    ),
    ("intra_cluster_distance", "mean over pairs of one cluster"),
    ("inter_cluster_distance", "mean over pairs of two clusters"),
];

const FUNCTIONS: [(&str, &str); 5] = [
    ("name", "the function's name"),
    ("chapter", "what it is about"),
    ("kind", "scalar, aggregate or table, which stands in FROM"),
    (
        "signature",
        "the call; what may be left out stands in brackets",
    ),
    ("summary", "what it gives"),
];

const JOBS: [(&str, &str); 9] = [
    ("id", "what cancel_job takes"),
    ("function", "the function that was called"),
    ("detail", "what it is about"),
    (
        "state",
        "running, done, failed, cancelled or, where its process ended, lost",
    ),
    (
        "progress",
        "share that is done, in [0, 1]; NULL where unknown",
    ),
    ("started_at", "when it began, UTC"),
    ("ended_at", "when it ended, UTC; NULL while it runs"),
    ("owner", "number of its process and name of the machine"),
    ("message", "what it told last, or the error that ended it"),
];

const MODELS: [(&str, &str); 7] = [
    ("model_hash", "hash of its weights"),
    ("model", "where it was read from"),
    ("architecture", "its family: gpt2, llama, mlp or another"),
    (
        "weight_types",
        "types of its weights' numbers in the file, that of most first, as Q4_1, F32; NULL where unknown",
    ),
    ("layers", "number of its layers"),
    ("neurons", "number of its neurons"),
    ("runs", "the runs that were made with it"),
];

const RUNS: [(&str, &str); 20] = [
    ("run", "the run's name, which is its schema"),
    ("model", "where its model was read from"),
    ("model_hash", "hash of the model's weights"),
    ("architecture", "its family: gpt2, llama, mlp or another"),
    (
        "weight_types",
        "types of its weights' numbers in the file, that of most first, as Q4_1, F32; NULL where unknown",
    ),
    ("corpus", "where its corpus was read from"),
    ("corpus_hash", "hash of the corpus"),
    (
        "layer_norm",
        "what the vectors are: folded, raw or tl_folded",
    ),
    ("options", "every option, given or default, as JSON"),
    ("documents", "number of documents"),
    ("tokens", "number of tokens of all documents"),
    ("layers", "number of layers"),
    ("neurons", "number of neurons of all layers"),
    ("examples", "number of dataset examples of all neurons"),
    ("vectors", "number of stored vectors of all layers"),
    ("seconds", "how long it took to make"),
    ("created_at", "when it was made, UTC"),
    ("polysema_version", "what wrote it"),
    ("datafusion_version", "with which DataFusion"),
    ("problem", "why it cannot be read; NULL where it can"),
];

const SAES: [(&str, &str); 17] = [
    (
        "run",
        "the run that has its latents as a layer; NULL where none has",
    ),
    ("layer", "number of that layer"),
    ("name", "its name and that of the layer"),
    ("d_in", "width of the vectors it reads"),
    ("d_out", "width of the vectors it gives back"),
    ("d_sae", "number of its latents"),
    ("variant", "relu, topk, batch_topk, jump_relu or gated"),
    (
        "format",
        "the format it was imported from; NULL of one trained here",
    ),
    (
        "hook",
        "place in the model whose vectors it reads; NULL of a table's",
    ),
    (
        "hook_out",
        "place whose values a transcoder gives back; NULL of an autoencoder",
    ),
    ("source", "what it was trained on"),
    ("options", "every option, given or default, as JSON"),
    ("steps", "number of steps of its training"),
    ("rows", "number of vectors seen in it"),
    (
        "mse",
        "mean squared error over rows and dimensions of what it was trained on",
    ),
    ("seconds", "how long the training took"),
    ("created_at", "when it was made, UTC"),
];

const SAE_TRAINING: [(&str, &str); 15] = [
    ("run", "the run that has the autoencoder"),
    ("sae", "the autoencoder's name"),
    ("step", "the last step that the row is of, from 1"),
    (
        "n_steps",
        "number of steps that the row is of: numbers without another meaning are means over them",
    ),
    (
        "rows_seen",
        "vectors seen until then, those seen again included",
    ),
    ("loss", "what the optimizer makes small"),
    ("mse", "mean squared error over rows and dimensions"),
    ("l1", "sum of the activations over the batch"),
    (
        "sparsity",
        "what the option l1 multiplies: l1, of a jump_relu active latents, of a gated one what its gates let through",
    ),
    (
        "ne_loss",
        "sum over active latents of the cosine distance to the latent's average embedding; 0 while switched off",
    ),
    (
        "auxiliary",
        "weighted: reconstruction by dead latents, or of a gated one by its gates",
    ),
    ("l0", "active latents of a row"),
    (
        "dead_percent",
        "latents without activity for dead_after steps, at the last step",
    ),
    (
        "explained_variance",
        "of the batch's rows; NULL where they do not vary",
    ),
    ("learning_rate", "of the last step"),
];

const TABLES: [(&str, &str); 6] = [
    ("schema", "the table's schema"),
    ("table", "its name in that"),
    ("rows", "number of its rows"),
    ("size_bytes", "bytes on the disk"),
    ("written_at", "when it was last written, UTC"),
    ("problem", "why it cannot be read; NULL where it can"),
];

/// What a column of a view, or of a table of `info`, means.
pub fn meaning(is_view: bool, table: &str, column: &str) -> Option<&'static str> {
    let known: &[(&str, &str)] = match (is_view, table) {
        (true, _) => &VIEWS,
        (false, "functions") => &FUNCTIONS,
        (false, "jobs") => &JOBS,
        (false, "models") => &MODELS,
        (false, "runs") => &RUNS,
        (false, "sae_training") => &SAE_TRAINING,
        (false, "saes") => &SAES,
        (false, "tables") => &TABLES,
        _ => &[],
    };
    let (_, meaning) = known.iter().find(|(name, _)| *name == column)?;
    Some(meaning)
}
