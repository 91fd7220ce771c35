//! What `\d` and `\df` say.

use super::*;

#[test]
fn tables_and_functions_describe_themselves() {
    let shell = Shell::new();
    let csv = |command: &str| shell.run(&["--format", "csv", "-c", command]);
    csv("\\d").prints(
        "schema,table,kind,kept in\ninfo,functions,table,store\ninfo,jobs,table,store\ninfo,models,table,store\n\
         info,runs,table,store\ninfo,sae_training,table,store\ninfo,saes,table,store\ninfo,tables,table,store\n",
    );
    let functions = csv("\\df");
    let named = csv("SELECT count(*) AS n FROM info.functions").out;
    assert_eq!(named, format!("n\n{}\n", functions.out.lines().count() - 1));
    assert!(
        functions.out.contains("\nmodel,table,\"ingest("),
        "{}",
        functions.out
    );
    let clusters = csv("\\df *cluster*");
    assert_eq!(clusters.out.lines().count(), 4, "{}", clusters.out);
    let columns = csv("\\d info.functions");
    assert!(
        columns
            .out
            .starts_with("column,type,null,meaning\nname,Utf8,"),
        "{}",
        columns.out
    );
    let documentation = csv("\\d feature_clusters");
    for part in [
        "feature_clusters([layer]",
        "\narguments\n",
        "\noptions\n",
        "\nexample\n",
    ] {
        assert!(
            documentation.out.contains(part),
            "{part}: {}",
            documentation.out
        );
    }
    let said = shell.run(&["demo"]);
    let tree: Vec<_> = said
        .out
        .lines()
        .skip_while(|line| !line.contains("linkage("))
        .skip(2)
        .collect();
    let drawn = shell.run(&["-c", "\\dendrogram 2 423"]);
    assert_eq!(drawn.out.lines().count(), 6, "{drawn:?}");
    assert_eq!(
        drawn.out.lines().collect::<Vec<_>>(),
        tree[..drawn.out.lines().count()]
    );
    csv("\\dendrogram 3").fails(
        1,
        "\\dendrogram: a layer and a neuron are required, got '3'",
    );
    csv("\\dendrogram 3 5000").fails(1, "5000");
    let columns = csv("\\d tokens");
    columns.prints(
        "column,type,null,meaning\ndoc_id,Int32,no,\"number of the document in the corpus, from 0\"\n\
         pos,Int32,no,\"place of the token in its document, from 0\"\n\
         token_id,Int32,yes,number of the token in the vocabulary\n\
         token,Utf8,yes,\"the token's text; a part of a character as its bytes, <0xE6>\"\n",
    );
    // So has every column of the views and of what is over all runs.
    for table in csv("\\d").out.lines().skip(1) {
        let [schema, name, kind] = [0, 1, 2].map(|i| table.split(',').nth(i).expect("a cell"));
        if schema == "info" || kind == "view" {
            let columns = csv(&format!("\\d {schema}.{name}")).out;
            let unknown = columns.lines().find(|column| column.ends_with(','));
            assert_eq!(
                (unknown, columns.contains(",meaning\n")),
                (None, true),
                "{name}"
            );
        }
    }
    let example = csv("\\d ingest").out;
    assert!(
        example.contains("'s/demo-data/model', 's/demo-data/corpus.jsonl'"),
        "{example}"
    );
    assert!(csv("\\d train_mlp").out.contains("'path/to/mnist-tiny'"));
    csv("\\d nosuch").fails(1, "\\d: a table or function is required, got nosuch");
}
