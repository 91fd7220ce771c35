//! Reports print the same bytes, however often they are asked and by however many threads.

use super::*;

/// Those that need nothing but a run.
const REPORTS: [&str; 4] = ["polysemantic_neurons", "scc_agreement", "senses", "table1"];

#[test]
fn reports_print_the_same_bytes() {
    let shell = Shell::new();
    let (model, corpus) = (demo_data("model"), demo_data("corpus.jsonl"));
    let said = shell.run(&["ingest", "demo", &model, &corpus, "context=64"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let answers = |threads: usize| {
        let set = format!("SET datafusion.execution.target_partitions = {threads}");
        let files =
            REPORTS.map(|name| format!("{}/sql/reports/{name}.sql", env!("CARGO_MANIFEST_DIR")));
        let mut words = vec![
            "--format",
            "csv",
            "-v",
            "min_examples=3",
            "-v",
            "n_clusters=20",
            "-c",
            &set,
        ];
        for _ in 0..3 {
            words.extend(files.iter().flat_map(|file| ["-f", file]));
            words.extend([
                "-c",
                "SELECT * FROM layer_summary",
                "-c",
                "SELECT 'end' AS last",
            ]);
        }
        let said = shell.run(&words);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        let answers: Vec<String> = said.out.split("last\nend\n").map(String::from).collect();
        assert_eq!(answers.len(), 4);
        answers[..3].to_vec()
    };
    let one = answers(1);
    assert!(one[0].contains("\nthreshold,all,neuron,"), "{}", one[0]);
    for answer in one.iter().chain(&answers(2)).chain(&answers(7)) {
        assert_eq!(answer, &one[0]);
    }
}
