//! What a site's script reads beside the pages: the rows of a layer's table, and the feature clusters that have a word among
//! their key tokens, in files by the words' hashes.
//!
//! A page that was opened from a disk may load scripts and nothing else, so each file is a script that hands its data on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int32Type};
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use polysema_udfs::arrow::memory::hold;
use serde_json::{Value, json};

/// Neurons whose rows stand in one file.
pub const NEURONS_OF_PART: i32 = 4096;
/// Files of words.
const FILES_OF_WORDS: u32 = 256;
/// The most clusters of a word: what comes after is of it least.
const CLUSTERS_OF_WORD: usize = 200;

/// The rows of a layer's table.
pub const COLUMNS: &str = "p.neuron, p.sign, p.n_clusters, p.n_examples, p.mean_distance, p.max_distance,\n       \
                           n.max_activation, n.frac_active";

/// How many files a layer of so many neurons has.
pub fn parts(n_neurons: i32) -> i32 {
    (n_neurons + NEURONS_OF_PART - 1) / NEURONS_OF_PART
}

/// Where the rows of a part of a layer stand.
pub fn part_file(layer: i32, part: i32) -> String {
    format!("layers/{layer}-{part}.js")
}

/// A script that hands the rows of a table on.
pub fn rows_script(rows: impl Iterator<Item = Value>) -> String {
    let rows: Vec<String> = rows.map(|row| row.to_string()).collect();
    format!("polysema.rows([\n{}\n]);\n", rows.join(",\n"))
}

/// A number with as many digits as a reader needs.
fn short(number: f64) -> Value {
    let written = format!("{number:.4e}").parse().ok();
    written
        .filter(|n: &f64| n.is_finite())
        .map_or(Value::Null, |n| json!(n))
}

/// The rows of a layer's table, each with its neuron.
pub fn table_rows(batch: &RecordBatch) -> Result<Vec<(i32, Value)>> {
    let neurons = batch.column(0).as_primitive::<Int32Type>();
    let signs = cast(batch.column(1), &DataType::Utf8)?;
    let signs = signs.as_string::<i32>();
    let numbers: Vec<Float64Array> = (2..batch.num_columns())
        .map(|column| {
            Ok(cast(batch.column(column), &DataType::Float64)?
                .as_primitive::<Float64Type>()
                .clone())
        })
        .collect::<Result<_>>()?;
    let row = |row: usize| {
        let neuron = neurons.value(row);
        let sign = signs.is_valid(row).then(|| signs.value(row));
        let numbers = numbers.iter().map(|column| match column.is_valid(row) {
            true => short(column.value(row)),
            false => Value::Null,
        });
        let values = [json!(neuron), json!(sign)].into_iter().chain(numbers);
        (neuron, Value::Array(values.collect()))
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

/// One of a neuron's feature clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ClusterName {
    layer: i32,
    neuron: i32,
    cluster: i32,
}

/// Which words are the key tokens of which clusters.
#[derive(Debug)]
pub struct WordIndex {
    memory: MemoryReservation,
    /// Bytes of the words and the tokens.
    text: usize,
    words: Vec<String>,
    /// The words' places, and those of tokens that are written otherwise.
    places: HashMap<String, u32>,
    matches: HashMap<(u32, ClusterName), u32>,
    sizes: HashMap<ClusterName, u32>,
}

impl WordIndex {
    /// No words yet; what they take comes from a pool.
    pub fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        Self {
            memory: MemoryConsumer::new("words of a site").register(pool),
            text: 0,
            words: vec![],
            places: HashMap::new(),
            matches: HashMap::new(),
            sizes: HashMap::new(),
        }
    }

    /// Reserves what it has room for, and the lists that its files are made of.
    fn hold(&self) -> Result<()> {
        let clusters = self.sizes.capacity() * (size_of::<(ClusterName, u32)>() + 1);
        let matches = self.matches.capacity() * (size_of::<((u32, ClusterName), u32)>() + 1);
        let lists = self.matches.len() * 2 * size_of::<(ClusterName, u32, u32)>();
        let words = self.places.capacity() * (size_of::<(String, u32)>() + 1)
            + self.words.capacity() * (size_of::<String>() + size_of::<Vec<u8>>());
        let of = format_args!(
            "the words of {} feature clusters (fewer neurons need fewer)",
            self.sizes.len()
        );
        hold(
            &self.memory,
            self.text + clusters + matches + lists + words,
            of,
        )
    }

    /// Adds examples, as columns layer, neuron, cluster and token, of the neurons that `has` names.
    pub fn add(&mut self, batch: &RecordBatch, has: impl Fn(i32, i32) -> bool) -> Result<()> {
        let numbers = |column: usize| cast(batch.column(column), &DataType::Int32);
        let [layers, neurons, clusters] = [numbers(0)?, numbers(1)?, numbers(2)?];
        let [layers, neurons, clusters] =
            [&layers, &neurons, &clusters].map(|column| column.as_primitive::<Int32Type>());
        let tokens = cast(batch.column(3), &DataType::Utf8)?;
        let tokens = tokens.as_string::<i32>();
        for row in 0..batch.num_rows() {
            let cluster = ClusterName {
                layer: layers.value(row),
                neuron: neurons.value(row),
                cluster: clusters.value(row),
            };
            if clusters.is_null(row) || !has(cluster.layer, cluster.neuron) {
                continue;
            }
            *self.sizes.entry(cluster).or_default() += 1;
            if tokens.is_valid(row)
                && let Some(word) = self.place(tokens.value(row))
            {
                *self.matches.entry((word, cluster)).or_default() += 1;
            }
        }
        self.hold()
    }

    /// The place of a token's word: without regard to case and to spaces around it.
    fn place(&mut self, token: &str) -> Option<u32> {
        if let Some(place) = self.places.get(token) {
            return Some(*place);
        }
        let word = token.trim().to_lowercase();
        if word.is_empty() {
            return None;
        }
        let next = u32::try_from(self.words.len()).ok()?;
        let place = match self.places.entry(word.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => {
                self.text += 2 * word.len();
                self.words.push(word);
                *free.insert(next)
            }
        };
        self.text += token.len();
        self.places.insert(token.to_string(), place);
        Some(place)
    }

    /// The files and their texts: of each word how many clusters have it, and the clusters that have it most, as layer, neuron,
    /// cluster, size and matches.
    pub fn files(self) -> impl Iterator<Item = (String, String)> {
        let mut of_word: Vec<Vec<(ClusterName, u32, u32)>> = vec![vec![]; self.words.len()];
        for ((word, cluster), n) in self.matches {
            let size = self.sizes.get(&cluster).copied().unwrap_or(n);
            of_word[word as usize].push((cluster, size, n));
        }
        let mut files: Vec<Vec<String>> = vec![vec![]; FILES_OF_WORDS as usize];
        for (word, mut clusters) in self.words.into_iter().zip(of_word) {
            let n_found = clusters.len();
            // As the explorer orders them: matches by share, then size, then name.
            let rank = |size: u32, n: u32| f64::from(n) * f64::from(n) / f64::from(size);
            clusters.sort_by(|(a, size_a, n_a), (b, size_b, n_b)| {
                let by_rank = rank(*size_b, *n_b).total_cmp(&rank(*size_a, *n_a));
                let name = |of: &ClusterName| (of.layer, of.neuron, of.cluster);
                by_rank.then(size_b.cmp(size_a)).then(name(a).cmp(&name(b)))
            });
            clusters.truncate(CLUSTERS_OF_WORD);
            let rows = clusters
                .into_iter()
                .map(|(of, size, n)| json!([of.layer, of.neuron, of.cluster, size, n]));
            let found = json!([n_found, rows.collect::<Vec<_>>()]);
            files[(hash(&word) % FILES_OF_WORDS) as usize]
                .push(format!("[{},{found}]", json!(word)));
        }
        files.into_iter().enumerate().map(|(at, mut words)| {
            words.sort();
            let text = format!("polysema.words([\n{}\n]);\n", words.join(",\n"));
            (format!("search/{at:02x}.js"), text)
        })
    }
}

/// The hash by which a word's file is found: FNV-1a, which the script computes too.
fn hash(word: &str) -> u32 {
    word.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int32Array, StringArray};
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    #[test]
    fn words_are_found_by_their_hash_with_the_clusters_that_have_them_most() {
        // http://www.isthe.com/chongo/src/fnv/test_fnv.c
        assert_eq!(
            [hash(""), hash("a"), hash("foobar")],
            [0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968]
        );
        let columns: [(&str, ArrayRef); 4] = [
            ("layer", Arc::new(Int32Array::from(vec![0; 6]))),
            ("neuron", Arc::new(Int32Array::from(vec![1, 1, 1, 2, 2, 9]))),
            (
                "cluster",
                Arc::new(Int32Array::from(vec![
                    Some(0),
                    Some(0),
                    Some(1),
                    Some(0),
                    None,
                    Some(0),
                ])),
            ),
            (
                "token",
                Arc::new(StringArray::from(vec![
                    " Cat", "dog", "cat ", "CAT", "cat", "cat",
                ])),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let pool = |bytes| -> Arc<dyn MemoryPool> { Arc::new(GreedyMemoryPool::new(bytes)) };
        let mut index = WordIndex::new(&pool(100));
        let error = index
            .add(&batch, |_, _| true)
            .unwrap_err()
            .strip_backtrace();
        assert!(error.contains("the words of 4 feature clusters"), "{error}");
        let mut index = WordIndex::new(&pool(10_000));
        index.add(&batch, |_, neuron| neuron != 9).unwrap();
        let files: Vec<_> = index.files().collect();
        assert_eq!(files.len(), 256);
        let name = format!("search/{:02x}.js", hash("cat") % 256);
        let (_, text) = files.iter().find(|(file, _)| *file == name).unwrap();
        // Whole clusters first, of those the larger, then half of one of two.
        assert_eq!(
            text,
            "polysema.words([\n[\"cat\",[3,[[0,1,1,1,1],[0,2,0,1,1],[0,1,0,2,1]]]]\n]);\n"
        );
    }
}
