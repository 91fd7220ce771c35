//! `polysema demo`: the bundled corpus through the bundled model into a store, then three questions.

use std::io::{Write, stdout};
use std::path::Path;

use super::answers::{integers, read};
use super::demo_data::data_folder;
use super::dendrogram;
use super::failure::Failure;
use super::interpreter::{Interpreter, ScriptSource};
use super::screen;
use crate::files::whole::write_file;
use crate::files::{disk, file_error};
use crate::text::quoted;

/// Name of the demo's run.
const RUN: &str = "demo";
const MODEL: [(&str, &[u8]); 3] = [
    (
        "config.json",
        include_bytes!("../../tests/data/demo/model/config.json"),
    ),
    (
        "model.safetensors",
        include_bytes!("../../tests/data/demo/model/model.safetensors"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../../tests/data/demo/model/tokenizer.json"),
    ),
];
const CORPUS: &[u8] = include_bytes!("../../tests/data/demo/corpus.jsonl");

/// The neurons worth a look.
const POLYSEMANTIC: &str = include_str!("../../sql/reports/polysemantic_neurons.sql");

/// Runs the demo, printing each step; `program` is the name that the program was called by.
pub async fn run(
    interpreter: &mut Interpreter,
    store: &Path,
    program: &str,
) -> Result<(), Failure> {
    say(
        "polysema demo: a corpus of 312 paragraphs around 18 ambiguous words, and a GPT-2 of 4 layers with 2,048 neurons.\n\
         The model reads the first 128 tokens of a paragraph; a short rest, which would begin inside a sentence, is left out.\n",
    )?;
    ingest(interpreter, store).await?;
    interpreter
        .run_script(
            &format!("SET polysema.run = '{RUN}'"),
            &ScriptSource::Generated,
        )
        .await?;

    say("1. Which neurons respond to several unrelated things?")?;
    ask(interpreter, POLYSEMANTIC).await?;
    let rows = read(&interpreter.session, POLYSEMANTIC).await?;
    let Some((layer, neuron)) = integers(&rows, 0)
        .first()
        .copied()
        .zip(integers(&rows, 1).first().copied())
    else {
        return Err(Failure::Error(
            "demo: a neuron with several clusters is required, got none".into(),
        ));
    };

    say(&format!(
        "2. What are the separate behaviours of layer {layer}, neuron {neuron}? The key token stands between « and ».\n   (the two first examples of every cluster of at least two)"
    ))?;
    ask(
        interpreter,
        &format!(
            "\
SELECT cluster, example, round(activation, 2) AS activation, context
FROM (SELECT *, count(*) OVER (PARTITION BY cluster) AS size,
             row_number() OVER (PARTITION BY cluster ORDER BY example) AS place
      FROM feature_clusters({layer}, {neuron}))
WHERE place <= 2 AND size >= 2
ORDER BY cluster, example"
        ),
    )
    .await?;

    say(
        "3. How do they hang together? The larger clusters, the distance at which they join, and their tokens.",
    )?;
    say(&format!("\n   SELECT * FROM linkage({layer}, {neuron})\n"))?;
    let (layer_word, colours) = (layer.to_string(), screen::has_colours());
    let drawn =
        dendrogram::of_neuron(&interpreter.session, &layer_word, neuron.into(), colours).await?;
    for line in drawn {
        say(&line)?;
    }

    let folder = store.display();
    say(&format!(
        "
The store is {folder}. Next, try:
  {program} --store {folder}
      the SQL prompt; \\? lists its commands, \\df the functions
  {program} explore --store {folder}
      the same in a browser
  {program} --store {folder} -c \"SELECT * FROM feature_clusters({layer}, {neuron})\"
  {program} --store {folder} ingest mine path/to/gpt2 texts.txt
      your own model and corpus"
    ))
}

/// Ingests the bundled data, unless the store has the run already.
async fn ingest(interpreter: &mut Interpreter, store: &Path) -> Result<(), Failure> {
    if interpreter.session.store().has(RUN) {
        return say(&format!(
            "The store {} has the run '{RUN}' already.\n",
            store.display()
        ));
    }
    let data = data_folder(store);
    let model = data.join("model");
    disk::create_folders(&model)
        .map_err(|error| Failure::Error(file_error("demo: create", &model, error).to_string()))?;
    let write = |path: &Path, bytes: &[u8]| {
        write_file(path, bytes).map_err(|error| Failure::Error(format!("demo: {error}")))
    };
    for (name, bytes) in MODEL {
        write(&model.join(name), bytes)?;
    }
    write(&data.join("corpus.jsonl"), CORPUS)?;
    let [model, corpus] =
        ["model", "corpus.jsonl"].map(|name| quoted(&data.join(name).to_string_lossy(), '\''));
    ask(
        interpreter,
        &format!("SELECT * FROM ingest('{RUN}', {model}, {corpus}, {{min_tokens: 64}})"),
    )
    .await?;
    let counts = "\
SELECT (SELECT count(*) FROM demo.documents) AS documents,
       (SELECT count(*) FROM demo.tokens) AS tokens,
       (SELECT count(*) FROM demo.neurons) AS neurons,
       (SELECT count(*) FROM demo.examples) AS examples";
    ask(interpreter, counts).await
}

/// Prints a query as a user would write it, then its answer.
async fn ask(interpreter: &mut Interpreter, query: &str) -> Result<(), Failure> {
    let lines = query.lines().filter(|line| !line.starts_with("--"));
    say(&format!(
        "\n   {};\n",
        lines.collect::<Vec<_>>().join("\n   ")
    ))?;
    interpreter
        .run_script(query, &ScriptSource::Generated)
        .await?;
    say("")
}

fn say(text: &str) -> Result<(), Failure> {
    let columns = screen::size().map(|(columns, _)| columns);
    Ok(writeln!(stdout(), "{}", screen::prose(text, columns))?)
}
