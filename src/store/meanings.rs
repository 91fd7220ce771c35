//! What the columns of a run's tables mean, for people who look at one.

use super::table::Table;

/// Columns that mean the same in every table.
const SHARED: [(&str, &str); 4] = [
    ("layer", "number of the layer, from 0"),
    ("neuron", "number of the neuron in its layer, from 0"),
    ("doc_id", "number of the document in the corpus, from 0"),
    ("pos", "place of the token in its document, from 0"),
];

const LAYERS: [(&str, &str); 5] = [
    (
        "name",
        "the layer's name, of an autoencoder's latents its name",
    ),
    ("kind", "mlp, or sae for latents"),
    ("d_in", "width of what its neurons receive"),
    ("n_neurons", "number of its neurons"),
    ("activation_function", "what a pre-activation goes through"),
];

const NEURONS: [(&str, &str); 10] = [
    (
        "w_in",
        "what the received vector is multiplied with, of a gated neuron for its gate",
    ),
    (
        "b_in",
        "added to that product, which gives the pre-activation",
    ),
    (
        "w_up",
        "what the received vector is multiplied with for what the gate lets through; NULL of a plain neuron",
    ),
    ("b_up", "added to that product; NULL of a plain neuron"),
    ("w_out", "what the activation writes"),
    ("max_activation", "largest activation of all tokens"),
    (
        "least_activation",
        "least activation of all tokens; NULL where no examples of the least are kept",
    ),
    ("mean_activation", "mean activation over all tokens"),
    ("frac_active", "share of tokens with an activation above 0"),
    ("n_examples", "number of its dataset examples"),
];

const DOCUMENTS: [(&str, &str); 5] = [
    ("text", "the document's text"),
    ("n_tokens", "number of its tokens"),
    (
        "source_file",
        "file of the corpus it is from, in its folder; NULL of the rows of a table",
    ),
    ("source_row", "row of that file or table, from 0"),
    ("chunk", "which of the chunks of the row's text, from 0"),
];

const TOKENS: [(&str, &str); 2] = [
    ("token_id", "number of the token in the vocabulary"),
    (
        "token",
        "the token's text; a part of a character as its bytes, <0xE6>",
    ),
];

const EXAMPLES: [(&str, &str); 9] = [
    (
        "example",
        "number of the dataset example, in corpus order or by activation",
    ),
    (
        "sign",
        "of gated neurons: whether the activation is one of the greatest (positive) or of the least (negative)",
    ),
    ("token", "the key token, where the activation is largest"),
    ("activation", "activation at the key token"),
    ("window_start", "place of the first token of the window"),
    ("window_tokens", "tokens around the key token"),
    ("window_activations", "the neuron's activations at them"),
    ("pre_mlp", "vector the neuron received at the key token"),
    (
        "weighted_pre_mlp",
        "mean of those from window_start to pos, weighted by the activations above 0",
    ),
];

const HISTOGRAMS: [(&str, &str); 4] = [
    (
        "bucket",
        "number of the bucket, from the smallest activations up",
    ),
    ("lower", "the bucket holds activations above this"),
    ("upper", "and at most this"),
    ("count", "number of tokens in the bucket"),
];

impl Table {
    /// What a column of its means; none of the corpus's own columns.
    pub fn meaning(self, column: &str) -> Option<&'static str> {
        let own: &[(&str, &str)] = match self {
            Table::Layers => &LAYERS,
            Table::Neurons => &NEURONS,
            Table::Documents => &DOCUMENTS,
            Table::Tokens => &TOKENS,
            Table::Examples => &EXAMPLES,
            Table::Histograms => &HISTOGRAMS,
            Table::Vectors => &[],
        };
        let mut known = own.iter().chain(&SHARED);
        let (_, meaning) = known.find(|(name, _)| *name == column)?;
        Some(meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_meaning() {
        for table in Table::CANONICAL {
            for field in table.sql_schema().fields() {
                let meaning = table.meaning(field.name());
                assert!(meaning.is_some(), "{}.{}", table.name(), field.name());
            }
        }
        for field in super::super::schema::origins().fields() {
            assert!(Table::Documents.meaning(field.name()).is_some(), "{field}");
        }
    }
}
