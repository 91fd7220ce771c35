//! Ingest against a brute-force reading of the definition, against the golden results, and on bad input.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::ingest_support::*;
use polysema::corpus::{BATCH_SIZE, BOS, CONTEXT, MAX_DOCUMENTS, MIN_TOKENS};
use polysema::jobs::JobContext;
use polysema::models::LayerNorm;
use polysema::options::Options;
use polysema::runs::{
    ACTIVATION_THRESHOLD, INGEST, IngestRequest, LAYER_NORM, MAX_EXAMPLES, MIN_ACTIVATION,
    MaxActivations, ORDER, Order, Progress, REPLACE, WINDOW, ingest,
};
use polysema::store::Store;

/// Examples of two sources agree: documents and positions exactly, activations to 1e-5.
fn assert_same(found: &BTreeMap<(i32, i32), Vec<Example>>, expected: &Brute) {
    let mut exceptions = 0;
    assert_eq!(
        found.len(),
        expected.examples.len(),
        "neurons with examples"
    );
    for (neuron, expected_list) in &expected.examples {
        let keys =
            |list: &[Example]| -> Vec<_> { list.iter().map(|e| (e.doc_id, e.pos)).collect() };
        let found_list = &found[neuron];
        if keys(found_list) != keys(expected_list) {
            // The reference reads one document at a time, so its sums may round otherwise.
            assert!(expected.borderline.contains(neuron), "{neuron:?}");
            exceptions += 1;
            continue;
        }
        for (found, expected) in found_list.iter().zip(expected_list) {
            assert!(close(found.activation, expected.activation, 1e-5));
            assert_eq!(found.window_start, expected.window_start);
            assert_eq!(found.window.len(), expected.window.len());
            for (a, b) in found.window.iter().zip(&expected.window) {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} {b}");
            }
        }
    }
    assert!(exceptions <= 4, "{exceptions} neurons differ at a border");
}

fn check_against_brute_force(options: Options) {
    check(&request("r", options));
}

fn check(request: &IngestRequest) {
    let run = Ingested::of(request);
    let expected = brute_force(&demo_texts(), request);
    assert_same(&run.examples(), &expected);
    for (neuron, stored) in run.neurons() {
        let computed = &expected.neurons[&neuron];
        assert!(close(stored.max, computed.max, 1e-5), "{neuron:?}");
        let mean_error = (stored.mean - computed.mean).abs();
        assert!(mean_error <= 1e-5, "{neuron:?} mean off by {mean_error}");
        assert!((stored.frac_active - computed.frac_active).abs() < 1e-4);
        let listed = expected.examples.get(&neuron).map_or(0, Vec::len);
        let borderline = expected.borderline.contains(&neuron);
        assert!(stored.n_examples as usize == listed || borderline);
    }
}

#[test]
fn examples_equal_the_definition() {
    check_against_brute_force(Options::default());
}

#[test]
fn examples_equal_the_definition_under_other_options() {
    check_against_brute_force(
        Options::default()
            .with(BOS, Some(true))
            .with(CONTEXT, 32)
            .with(MIN_TOKENS, 8)
            .with(MAX_EXAMPLES, 20)
            .with(WINDOW, 3)
            .with(MAX_DOCUMENTS, Some(300))
            .with(LAYER_NORM, LayerNorm::Raw),
    );
    check_against_brute_force(
        Options::default()
            .with(ORDER, Order::Top)
            .with(MAX_EXAMPLES, 7)
            .with(ACTIVATION_THRESHOLD, 0.5)
            .with(MAX_DOCUMENTS, Some(300)),
    );
    let maxima = (0..4).flat_map(|l| (0..512).map(move |n| (l, n, (n % 5) as f32 - 1.0)));
    check(&IngestRequest {
        max_activations: Some(MaxActivations::new(maxima)),
        ..request("r", Options::default().with(MAX_DOCUMENTS, Some(300)))
    });
    check_against_brute_force(
        Options::default()
            .with(MIN_ACTIVATION, Some(1.5))
            .with(MAX_DOCUMENTS, Some(300)),
    );
}

#[test]
fn batch_size_does_not_change_results() {
    let run = |batch_size| {
        let options = Options::default()
            .with(BATCH_SIZE, batch_size)
            .with(MAX_DOCUMENTS, Some(200));
        Ingested::demo(options)
    };
    let (one, reference) = (run(1), run(32));
    for other in [&one, &run(3)] {
        let (a, b) = (other.examples(), reference.examples());
        assert_eq!(a.len(), b.len());
        for (neuron, list) in &a {
            assert_eq!(list.len(), b[neuron].len(), "{neuron:?}");
            for (x, y) in list.iter().zip(&b[neuron]) {
                assert_eq!((x.doc_id, x.pos), (y.doc_id, y.pos), "{neuron:?}");
                assert!(close(x.activation, y.activation, 1e-5));
                assert_eq!(x.token, y.token);
            }
        }
    }
}

#[test]
fn every_example_satisfies_the_identity() {
    for layer_norm in [LayerNorm::Folded, LayerNorm::Raw, LayerNorm::TlFolded] {
        let run = Ingested::demo(
            Options::default()
                .with(LAYER_NORM, layer_norm)
                .with(MAX_DOCUMENTS, Some(150)),
        );
        let neurons = run.neurons();
        let mut checked = 0;
        for ((layer, neuron), examples) in run.examples() {
            let weights = &neurons[&(layer, neuron)];
            for example in examples {
                let sum = dot(&example.pre_mlp, &weights.w_in);
                let activation = gelu_new(sum + f64::from(weights.b_in));
                let error = (activation - f64::from(example.activation)).abs();
                assert!(error < 1e-4, "{layer_norm:?} {layer} {neuron}: {error}");
                checked += 1;
            }
        }
        assert!(checked > 10_000, "{checked} examples");
    }
}

#[test]
fn tables_describe_the_corpus() {
    let run = Ingested::demo(Options::default());
    let rows = run.strings("SELECT text, word, sense, n_tokens FROM documents ORDER BY doc_id");
    let mut joined: Vec<String> = vec![];
    let mut begins = true;
    for row in &rows {
        match (begins, joined.last_mut()) {
            (false, Some(text)) => text.push_str(&row[0]),
            _ => joined.push(row[0].clone()),
        }
        begins = row[3] != "128";
    }
    let texts = demo_texts();
    assert_eq!(joined.concat(), texts.concat());
    assert_eq!(rows[0][1], "bank");
    assert_eq!(rows[0][2], "bank/finance");
    let tokens = run.strings("SELECT count(*), count(distinct doc_id) FROM tokens");
    let counts = run.manifest.counts;
    assert_eq!(tokens[0][0], counts.tokens.to_string());
    assert_eq!(tokens[0][1], counts.documents.to_string());
    let totals = run.strings("SELECT min(n), max(n) FROM (SELECT sum(count) AS n FROM histograms GROUP BY layer, neuron)");
    assert_eq!(
        totals[0],
        [counts.tokens.to_string(), counts.tokens.to_string()]
    );
    let mismatched = run.strings(
        "SELECT count(*) FROM examples e JOIN tokens t ON e.doc_id = t.doc_id AND e.pos = t.pos
         WHERE e.token <> t.token OR e.window_activations[e.pos - e.window_start + 1] <> e.activation",
    );
    assert_eq!(mismatched[0][0], "0");
    assert_eq!(run.manifest.options["max_examples"], 100);
    assert_eq!(run.manifest.layer_norm, "folded");
    assert_eq!(run.manifest.corpus.hash.len(), 64);
}

#[test]
fn progress_names_its_phases_and_ends_with_the_totals() {
    let run = Ingested::demo(Options::default());
    let mut phases: Vec<_> = run.progress.iter().map(|p| p.phase).collect();
    phases.dedup();
    assert_eq!(phases, ["tokenize", "forward", "write", "done"]);
    let last = run.progress.last().unwrap();
    assert_eq!(last.documents, run.manifest.counts.documents);
    assert_eq!(last.tokens, run.manifest.counts.tokens);
    let forward = run.progress.iter().rfind(|p| p.phase == "forward").unwrap();
    assert_eq!(forward.total_documents, Some(last.documents));
}

#[test]
fn a_cancelled_ingest_leaves_no_run_and_keeps_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let few = Options::default().with(MAX_DOCUMENTS, Some(5));
    for (name, phase) in [("new", "tokenize"), ("new", "forward"), ("new", "write")] {
        let cancelled = JobContext::default();
        let mut stop = |p: Progress| {
            if p.phase == phase {
                cancelled.cancel();
            }
        };
        let error = ingest(&store, &request(name, few.clone()), &cancelled, &mut stop).unwrap_err();
        assert!(error.strip_backtrace().contains("got cancelled in phase"));
        assert!(store.runs().unwrap().is_empty());
    }
    let go = JobContext::default();
    ingest(&store, &request("old", few.clone()), &go, &mut |_| {}).unwrap();
    let again = ingest(&store, &request("old", few.clone()), &go, &mut |_| {}).unwrap_err();
    assert!(again.strip_backtrace().contains("which exists in"));
    let replacing = Options::default()
        .with(REPLACE, true)
        .with(MAX_DOCUMENTS, Some(6));
    let stopped = JobContext::default();
    stopped.cancel();
    ingest(
        &store,
        &request("old", replacing.clone()),
        &stopped,
        &mut |_| {},
    )
    .unwrap_err();
    let documents = |store: &Store| store.run("old").unwrap().manifest().counts.documents;
    assert_eq!(documents(&store), 5);
    ingest(&store, &request("old", replacing), &go, &mut |_| {}).unwrap();
    assert_eq!(documents(&store), 6);
}

fn refused(corpus: &Path, model: &Path, pairs: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let options = Options::of_words(&INGEST, pairs.iter().copied()).unwrap();
    let mut request = request("r", options);
    request.corpus = corpus.to_path_buf();
    request.model = model.to_path_buf();
    let error = ingest(&store, &request, &JobContext::default(), &mut |_| {}).unwrap_err();
    assert!(store.runs().unwrap().is_empty());
    error.strip_backtrace()
}

#[test]
fn bad_input_is_refused_with_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.txt");
    fs::write(&empty, "").unwrap();
    let message = refused(&empty, &demo_model(), &[]);
    assert!(
        message.contains(
            "a corpus with a document of at least min_tokens, 1, is required, got none in"
        )
    );
    assert!(message.contains("empty.txt"));
    // A column of what has none says nothing, even under its usual name.
    let message = refused(&empty, &demo_model(), &[("column", "text")]);
    assert!(message.contains("column must come with a corpus of rows, got "));
    let short = folder.path().join("short.jsonl");
    fs::write(&short, "{\"text\": \"two words\"}\n{\"text\": \"\"}\n").unwrap();
    let message = refused(&short, &demo_model(), &[("min_tokens", "100")]);
    assert!(message.contains("at least min_tokens, 100, is required"));
    let message = refused(&demo_corpus(), &demo_model(), &[("context", "129")]);
    assert!(message.contains("context must be at most the model's 128 positions, got 129"));
    let message = refused(&demo_corpus(), &demo_model(), &[("column", "body")]);
    assert!(
        message
            .contains("line 1: the text column 'body' is required, got the keys word, sense, text")
    );
    let message = refused(&folder.path().join("nowhere.txt"), &demo_model(), &[]);
    assert!(message.contains("nowhere.txt"));
    let message = refused(&demo_corpus(), &demo_model(), &[("max_activations", "t")]);
    assert!(message.contains("got 't' unread"));
    let bare = folder.path().join("model");
    fs::create_dir(&bare).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(demo_model().join(file), bare.join(file)).unwrap();
    }
    let message = refused(&demo_corpus(), &bare, &[]);
    assert!(message.contains("a tokenizer is required, got no tokenizer.json in"));
}

#[test]
fn long_texts_have_the_tokens_of_the_whole() {
    let model = polysema::models::load(&demo_model()).unwrap();
    let tokenizer = model.tokenizer.as_ref().unwrap();
    let texts = demo_texts().join("\n\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.txt");
    fs::write(&path, &texts).unwrap();
    let options = Options::default().with(MAX_EXAMPLES, 1).with(CONTEXT, 64);
    let run = Ingested::of(&IngestRequest {
        corpus: path,
        ..request("r", options)
    });
    let stored = run.strings("SELECT token_id FROM tokens ORDER BY doc_id, pos");
    let stored: Vec<u32> = stored.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(stored, tokenizer.encode(&texts).unwrap());
}
