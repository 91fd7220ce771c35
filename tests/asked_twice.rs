//! One question asked two ways has one answer: a random question of a random function in its short form and as a filter,
//! with options and with settings, in one partition and in many, from the store and from tables, joined, and cut into what a
//! condition holds for, does not, and is unknown for. The variable POLYSEMA_QUESTIONS says how many questions there are, and
//! POLYSEMA_SEED which.

use crate::database::{Db, root};
use crate::random::{Random, given, seeded};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;

/// Questions without POLYSEMA_QUESTIONS.
const QUESTIONS: u64 = 250;
/// The functions of a neuron, and the options that they take besides `embedding`.
const FUNCTIONS: [(&str, &[&str]); 11] = [
    ("dataset_examples", &[]),
    ("neuron_embeddings", &[]),
    ("feature_clusters", CLUSTERING),
    ("cluster_summary", CLUSTERING),
    ("cluster_centroids", CLUSTERING),
    ("central_examples", CLUSTERING),
    ("neuron_polysemanticity", CLUSTERING),
    ("feature_splits", &["linkage", "strict"]),
    ("rare_features", CLUSTERING),
    ("linkage", &["linkage"]),
    ("pairwise_distances", &[]),
];
const CLUSTERING: &[&str] = &["threshold", "linkage", "strict"];
/// Without one that has no examples.
const LAYERS: usize = 4;
const NEURONS: usize = 40;
const NUMBERS: [&str; 7] = ["0", "1", "2", "5", "0.25", "0.6", "-1"];

fn one_of<'a, T>(random: &mut Random, all: &'a [T]) -> &'a T {
    &all[random.index(all.len())]
}

/// Two times of three.
fn often(random: &mut Random) -> bool {
    random.index(3) > 0
}

/// A question, which may be asked in many ways.
struct Question {
    function: &'static str,
    layer: usize,
    /// Not of a whole layer.
    neuron: Option<usize>,
    /// Names and values, which are settings of the same names.
    options: Vec<(&'static str, String)>,
    columns: String,
    condition: String,
}

impl Question {
    fn new(random: &mut Random, columns: &dyn Fn(&str) -> Schema) -> Self {
        let (function, takes) = *one_of(random, &FUNCTIONS);
        let mut options = vec![];
        for name in takes.iter().copied().chain(["embedding"]) {
            if function == "neuron_embeddings" || function == "dataset_examples" || often(random) {
                continue;
            }
            let value = match name {
                "threshold" => format!("0.{}", random.index(100)),
                "strict" => one_of(random, &["true", "false"]).to_string(),
                "linkage" => format!(
                    "'{}'",
                    one_of(random, &["average", "single", "complete", "ward"])
                ),
                _ => format!("'{}'", one_of(random, &["neuron", "pre_mlp"])),
            };
            options.push((name, value));
        }
        let schema = columns(function);
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let wanted = match random.index(4) {
            0 => vec!["*"],
            1 => vec!["layer", "neuron"],
            _ => names.iter().copied().filter(|_| often(random)).collect(),
        };
        let wanted = if wanted.is_empty() {
            vec!["neuron"]
        } else {
            wanted
        };
        Self {
            function,
            layer: random.index(LAYERS),
            neuron: often(random).then(|| random.index(NEURONS)),
            options,
            columns: wanted.join(", "),
            condition: condition(random, &schema, 2),
        }
    }

    fn options(&self, more: &[String]) -> String {
        let said = self
            .options
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        let all: Vec<String> = said.chain(more.iter().cloned()).collect();
        if all.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", all.join(", "))
        }
    }

    /// The function with these arguments before its options.
    fn call(&self, places: &[String], options: String) -> String {
        let arguments = places
            .iter()
            .cloned()
            .chain(Some(options).filter(|o| !o.is_empty()));
        format!(
            "{}({})",
            self.function,
            arguments.collect::<Vec<_>>().join(", ")
        )
    }

    fn places(&self) -> Vec<String> {
        [Some(self.layer), self.neuron]
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect()
    }

    /// The neurons meant, as a condition.
    fn here(&self) -> String {
        let neuron = match self.neuron {
            Some(neuron) => format!("neuron = {neuron}"),
            // A part of a layer, which a filter may pick as well.
            None => format!("neuron < {NEURONS}"),
        };
        format!("layer = {} AND {neuron}", self.layer)
    }

    fn of(&self, from: &str, condition: &str) -> String {
        format!(
            "SELECT {} FROM {from} f WHERE {} AND {condition}",
            self.columns,
            self.here()
        )
    }

    /// It as it is asked first, for a way of asking it again.
    fn short(&self, way: usize) -> String {
        let from = self.call(&self.places(), self.options(&[]));
        // All that a condition holds for, does not, or is unknown for.
        let condition = if way == 5 { "true" } else { &self.condition };
        self.of(&from, condition)
    }

    /// It in another way, with statements that come before it and after it.
    fn otherwise(&self, way: usize) -> (Vec<String>, String, Vec<String>) {
        let plain = |sql| (vec![], sql, vec![]);
        let options = self.options(&[]);
        match way {
            0 => plain(self.of(&self.call(&[], options), &self.condition)),
            1 => {
                let set = self
                    .options
                    .iter()
                    .map(|(name, value)| format!("SET polysema.{name} = {value}"));
                let reset = self
                    .options
                    .iter()
                    .map(|(name, _)| format!("RESET polysema.{name}"));
                let sql = self.of(&self.call(&self.places(), String::new()), &self.condition);
                (set.collect(), sql, reset.collect())
            }
            2 => {
                let options = self.options(&["run: 'copy'".to_string()]);
                plain(self.of(&self.call(&self.places(), options), &self.condition))
            }
            // A limit that nothing reaches keeps conditions above it.
            3 => {
                let all = format!(
                    "(SELECT * FROM {} LIMIT 1000000)",
                    self.call(&self.places(), options)
                );
                plain(self.of(&all, &self.condition))
            }
            4 => {
                let call = self.call(&["n.layer".into(), "n.neuron".into()], options);
                let picked = format!(
                    "(SELECT layer AS layer, neuron AS neuron FROM neurons n WHERE {})",
                    self.here()
                );
                let columns = match self.columns.as_str() {
                    "*" => "f.*".to_string(),
                    columns => columns
                        .split(", ")
                        .map(|c| format!("f.{c}"))
                        .collect::<Vec<_>>()
                        .join(", "),
                };
                plain(format!(
                    "SELECT {columns} FROM {picked} n, LATERAL {call} f WHERE {}",
                    self.condition
                ))
            }
            5 => {
                let from = self.call(&self.places(), options);
                let p = &self.condition;
                let parts = [p.clone(), format!("NOT {p}"), format!("{p} IS NULL")];
                plain(parts.map(|part| self.of(&from, &part)).join(" UNION ALL "))
            }
            _ => {
                let one = "SET datafusion.execution.target_partitions = 1".to_string();
                (
                    vec![one],
                    self.short(way),
                    vec!["SET datafusion.execution.target_partitions = 4".to_string()],
                )
            }
        }
    }
}

/// A random condition of a function's columns, in parentheses.
fn condition(random: &mut Random, schema: &Schema, depth: usize) -> String {
    if depth > 0 && often(random) {
        let [a, b] = [0, 1].map(|_| condition(random, schema, depth - 1));
        return match random.index(3) {
            0 => format!("({a} AND {b})"),
            1 => format!("({a} OR {b})"),
            _ => format!("(NOT {a})"),
        };
    }
    let field = one_of(random, schema.fields());
    let name = format!("f.{}", field.name());
    let number = *one_of(random, &NUMBERS);
    match field.data_type() {
        kind if kind.is_numeric() => match random.index(6) {
            0 => format!("({name} = {number})"),
            1 => format!("({name} < {number})"),
            2 => format!("({name} >= {number})"),
            3 => format!("({name} BETWEEN {number} AND 3)"),
            4 => format!("({name} IN (0, 1, {number}))"),
            _ => format!("({name} IS NULL)"),
        },
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => match random.index(3) {
            0 => format!("({name} LIKE '%a%')"),
            1 => format!("({name} > ' m')"),
            _ => format!("({name} IS NOT NULL)"),
        },
        DataType::Boolean => name,
        _ => format!("({name} IS NOT NULL)"),
    }
}

/// A small run with a copy of its tables in memory, in four partitions.
async fn two_copies() -> Db {
    let db = Db::new().await;
    let (model, corpus) = (
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    );
    let options = "{max_documents: 16, context: 32, max_examples: 7}";
    let (model, corpus) = (model.display(), corpus.display());
    for sql in [
        format!("SELECT * FROM ingest('demo', '{model}', '{corpus}', {options})"),
        "SET polysema.run = 'demo'".into(),
        "CREATE SCHEMA copy".into(),
        "CREATE TABLE copy.examples AS SELECT * FROM demo.examples".into(),
        "CREATE TABLE copy.neurons AS SELECT * FROM demo.neurons".into(),
        "CREATE TABLE copy.layers AS SELECT * FROM demo.layers".into(),
        "SET datafusion.execution.target_partitions = 4".into(),
    ] {
        db.query(&sql).await;
    }
    db
}

/// The rows as text, in an order of their own.
fn lines(rows: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(rows).expect("printable").to_string();
    let mut lines: Vec<String> = text
        .lines()
        .skip(3)
        .map(|line| {
            // Columns are as wide as their widest cell.
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_asked_two_ways_has_one_answer() {
    let db = two_copies().await;
    let mut schemas = std::collections::HashMap::new();
    for (function, _) in FUNCTIONS {
        let rows = db
            .session
            .query(&format!("SELECT * FROM {function}(0, 0)"))
            .await;
        schemas.insert(function, Schema::clone(&rows.expect(function).schema()));
    }
    let questions = given("POLYSEMA_QUESTIONS", QUESTIONS);
    let mut random = seeded();
    let (mut answers, mut rows) = ([0; 7], 0);
    for n in 0..questions {
        let question = Question::new(&mut random, &|function| schemas[function].clone());
        let way = random.index(7);
        let short = question.short(way);
        let (before, other, after) = question.otherwise(way);
        let expected = lines(&db.query(&short).await);
        for sql in before {
            db.query(&sql).await;
        }
        let found = lines(&db.query(&other).await);
        for sql in after {
            db.query(&sql).await;
        }
        assert!(
            found == expected,
            "question {n}, way {way}:\n{short};\n{other};\n{} and {} rows",
            expected.len(),
            found.len()
        );
        answers[way] += usize::from(!expected.is_empty());
        rows += expected.len();
    }
    println!("{questions} questions, {rows} rows, answers that are not empty by way: {answers:?}");
    assert!(answers.iter().all(|n| *n > 0), "{answers:?}");
}
