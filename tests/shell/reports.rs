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

/// A store with the run `demo`.
fn demo() -> Shell {
    let shell = Shell::new();
    let (model, corpus) = (demo_data("model"), demo_data("corpus.jsonl"));
    let said = shell.run(&["ingest", "demo", &model, &corpus, "context=64"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    shell
}

fn read(shell: &Shell, name: &str) -> String {
    let path = shell.0.path().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_report_is_a_page() {
    let shell = demo();
    let card = |place: &str, before: &[&str]| {
        let words = [
            "report", "neuron", "-v", "layer=0", "-v", "neuron=1", "--out", place,
        ];
        let said = shell.run(&[before, &words].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
        assert_eq!(said.err, format!("{place} is written\n"));
        read(&shell, place)
    };
    let page = card("card.html", &[]);
    for text in [
        "<!doctype html>",
        "<h1>What does this neuron respond to?</h1>",
        "style-src 'sha256-",
        "<title id=\"dendrogram-0-1-title\">Dendrogram of layer 0, neuron 1</title>",
        "<h2>Feature clusters</h2>",
        "FROM cluster_summary(0, 1)",
        "layer=0, neuron=1, max_examples=5",
        "<th scope=\"row\">polysema.threshold</th><td>0.5</td>",
        "<th scope=\"row\">run&#39;s architecture</th><td>gpt2</td>",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert_eq!(page.matches("<figure").count(), 4, "{page}");
    for text in ["<script", "style=", "href", "src=", "NaN"] {
        assert!(!page.contains(text), "{text}");
    }
    // The numbers are those of the query.
    let metrics = "SELECT n_clusters, mean_distance FROM neuron_polysemanticity(0, 1)";
    let said = shell.run(&["--format", "markdown", "-c", metrics]);
    let numbers = said
        .out
        .lines()
        .last()
        .expect("a row")
        .trim_matches(['|', ' ']);
    for number in numbers.split(" | ") {
        assert!(
            page.contains(&format!("<td class=\"n\"><bdi>{number}</bdi></td>")),
            "{number}"
        );
    }
    assert_eq!(card("again.html", &[]), page, "the same bytes");
    let text = card("my card.md", &["--run", "demo"]);
    for (i, what) in ["Dendrogram", "Clusters at every threshold", "Activations"]
        .iter()
        .enumerate()
    {
        let linked = format!("![{what}](my%20card-{}.svg)", i + 1);
        assert!(text.contains(&linked), "{linked}: {text}");
        let svg = read(&shell, &format!("my card-{}.svg", i + 1));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
    // The other reports are pages, too.
    for name in ["summary", "polysemantic_neurons"] {
        let said = shell.run(&["-q", "report", name, "--out", "other.html"]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        assert!(read(&shell, "other.html").contains("</html>"), "{name}");
    }
    // As tables, the parts that tables are.
    let said = shell.run(&[
        "report", "neuron", "-v", "layer=0", "-v", "neuron=1", "--format", "csv",
    ]);
    assert_eq!(said.err, "Metrics:\nFeature clusters:\nExamples:\n");
    assert!(!said.out.contains("<svg"), "{said:?}");
}

#[test]
fn a_page_that_cannot_be_is_refused() {
    let shell = demo();
    for (words, message) in [
        (
            &["report", "neuron", "-v", "layer=0", "--out", "a.html"][..],
            "neuron requires the variable neuron, got none: --var neuron=...",
        ),
        (
            &["report", "summary", "--out", "a.txt"],
            "--out: a file that ends in .html, .md or .pdf is required, got a.txt (-o FILE writes the rows alone)",
        ),
        (
            &["report", "--out", "a.html"],
            "a report is required with --out, got none",
        ),
        (
            &[
                "report",
                "image_neuron",
                "-v",
                "layer=0",
                "-v",
                "neuron=0",
                "--out",
                "a.html",
            ],
            "image_neuron requires a run whose documents have the columns pixels, got demo",
        ),
        (
            &[
                "report",
                "neuron",
                "-v",
                "layer=0",
                "-v",
                "neuron=9999",
                "--out",
                "a.html",
            ],
            "9999",
        ),
        (&["report", "summary", "--out", "nowhere/a.html"], "nowhere"),
    ] {
        shell.run(words).fails(1, message);
        assert!(!shell.0.path().join("a.html").exists(), "{words:?}");
    }
    let both = ["report", "summary", "--out", "a.html", "-o", "b.csv"];
    shell
        .run(&both)
        .fails(2, "one of them is required, got both");
}

#[test]
fn a_histogram_is_bars_of_text() {
    let shell = demo();
    let query =
        "\\histogram SELECT lower, upper, count FROM histograms WHERE layer = 0 AND neuron = 1";
    let said = shell.run(&["-c", query]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(
        said.out.lines().count() > 3 && said.out.contains(" │█"),
        "{}",
        said.out
    );
    assert!(
        !said.out.contains('\u{1b}'),
        "no colours where there is no terminal"
    );
    let said = shell.run(&["-v", "n=3", "-c", "\\histogram SELECT 'a' AS name, :n AS n"]);
    assert!(
        said.out.starts_with("a │") && said.out.ends_with(" 3\n"),
        "{said:?}"
    );
    shell
        .run(&["-c", "\\histogram"])
        .fails(1, "\\histogram: a query is required");
    shell
        .run(&["-c", "\\histogram SELECT 'a' AS x, 'b' AS y, 1 AS z"])
        .fails(1, "one column of numbers, a name and a number, or lower, upper and count are required, got x, y, z");
}
