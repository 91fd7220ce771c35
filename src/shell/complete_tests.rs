//! What is offered at which place.

use super::*;

fn offered(text: &str) -> Vec<String> {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| word.to_string())
            .collect::<Vec<String>>()
    };
    let vocabulary = Vocabulary {
        tables: words(&["examples", "neurons", "other.examples"]),
        columns: vec![
            ("examples".into(), "layer".into()),
            ("examples".into(), "token".into()),
            ("neurons".into(), "layer".into()),
        ],
        functions: words(&["exp", "vector_norm"]),
        table_functions: words(&["feature_clusters"]),
        options: [
            ("ingest", "context"),
            ("ingest", "window"),
            ("linkage", "linkage"),
            ("linkage", "run"),
        ]
        .map(|(function, option)| (function.into(), option.into()))
        .to_vec(),
        settings: words(&["polysema.run", "polysema.threshold", "datafusion.x"]),
        runs: words(&["demo", "other"]),
        current: Some("demo".into()),
    };
    candidates(&vocabulary, text)
        .1
        .into_iter()
        .map(|pair| pair.replacement)
        .collect()
}

#[test]
fn the_place_decides() {
    assert_eq!(
        offered("select * from "),
        ["examples", "neurons", "other.examples", "feature_clusters("]
    );
    assert_eq!(offered("SELECT lay"), ["layer"]);
    assert_eq!(
        offered("select ex"),
        [
            "examples", "exp(", "except", "exclude", "execute", "exists", "explain", "external"
        ]
    );
    assert_eq!(offered("SEL"), ["SELECT"]);
    assert_eq!(offered("sel"), ["select"]);
    assert_eq!(offered("SELECT examples."), ["layer", "token"]);
    assert_eq!(offered("SELECT * FROM other.e"), ["examples"]);
    assert!(offered("SELECT ").is_empty());
}

#[test]
fn braces_of_a_call_take_its_options() {
    let call = "SELECT * FROM ingest('r', 'm (a', 'c.txt', {";
    assert_eq!(offered(call), ["context: ", "window: "]);
    assert_eq!(offered(&format!("{call}context: 64, w")), ["window: "]);
    assert_eq!(
        offered(&format!("{call}context: wi")),
        ["window", "with", "within"]
    );
    assert_eq!(offered("SELECT * FROM linkage({l"), ["linkage: "]);
    assert!(offered("SELECT {").is_empty());
}

#[test]
fn settings_runs_schemas_and_aliases_are_completed() {
    assert_eq!(offered("SET polysema.t"), ["polysema.threshold"]);
    assert_eq!(offered("set polysema.run = "), ["'demo'", "'other'"]);
    assert_eq!(offered("SET run = 'o"), ["'other'"]);
    assert_eq!(offered("SHOW polysema.r"), ["run"]);
    assert_eq!(offered("SELECT * FROM demo.n"), ["neurons"]);
    assert_eq!(offered("SELECT * FROM other.l"), ["linkage("]);
    assert_eq!(offered("SELECT * FROM other.linkage({r"), ["run: "]);
    assert_eq!(offered("SELECT * FROM examples AS e WHERE e.t"), ["token"]);
    assert_eq!(
        offered("SELECT * FROM neurons n JOIN examples e ON n."),
        ["layer"]
    );
}

#[test]
fn commands_are_completed() {
    assert_eq!(offered("\\d"), ["\\d", "\\dendrogram", "\\df"]);
    assert_eq!(offered("\\d n"), ["neurons"]);
    assert_eq!(offered("\\df vec"), ["vector_norm"]);
    assert_eq!(
        offered("\\format "),
        [
            "arrow", "arrows", "csv", "json", "markdown", "ndjson", "parquet", "table", "tsv",
            "xlsx"
        ]
    );
}
