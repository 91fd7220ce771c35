//! What stands in for what a reader has and a test has not, and the code of the pages that is not run, with the reasons.

/// Files and folders that the pages speak of, and what of the project lies in their place.
pub const FILES: &[(&str, &str)] = &[
    ("tests/data", "tests/data"),
    ("path/to/gpt2", "tests/data/demo/model"),
    ("path/to/smollm2", "tests/data/demo/model"),
    ("valid.txt", "README.md"),
    ("texts.jsonl", "tests/data/demo/corpus.jsonl"),
    ("texts.txt", "README.md"),
    ("mnist", "tests/data/mnist-tiny"),
    ("folder", "tests/data/import"),
    ("made.parquet", "tests/data/mnist-authors/examples.parquet"),
    ("file", "README.md"),
    ("password.txt", "LICENSE"),
    ("neurons.sql", "docs/examples/neurons.sql"),
    ("layers.sql", "docs/examples/layers.sql"),
];

/// Makes the run that examples of functions of images ask.
pub const IMAGES: &str = "SELECT * FROM ingest('digits', 'tests/data/mnist-tiny/mlp.safetensors', 'tests/data/mnist-tiny', \
                          {split: 'train', min_activation: 0.5})";

/// Parts of commands that are written in another way here: what the page has, what is run, why.
pub const INSTEAD: &[(&str, &str, &str)] = &[
    (
        "CREATE EXTERNAL TABLE examples STORED AS PARQUET LOCATION 'examples.parquet'",
        "SET polysema.run = 'public'; CREATE EXTERNAL TABLE examples STORED AS PARQUET LOCATION 'made.parquet'",
        "a file of one's own, in the session whose run the page sets before",
    ),
    (
        "(7, 1024",
        "(3, 417",
        "the bundled model has four layers of 512 neurons",
    ),
    (
        "layer => 7, neuron => 1024",
        "layer => 3, neuron => 417",
        "as above",
    ),
    (
        "layer = 7 AND neuron = 1024",
        "layer = 3 AND neuron = 417",
        "as above",
    ),
    ("feature_clusters(7)", "feature_clusters(3)", "as above"),
    (
        "(SELECT ...)",
        "(SELECT cluster, token FROM feature_clusters(3, 417))",
        "a query of one's own",
    ),
    (
        "polysema.run = 'name'",
        "polysema.run = 'demo'",
        "a run's name",
    ),
    ("\\d NAME", "\\d feature_clusters", "a function's name"),
    ("\\o FILE", "\\o results.txt", "a file of one's own"),
    ("\\o | COMMAND", "\\o | cat", "a command of one's own"),
    (
        "ingest(..., ",
        "ingest('vectors', 'path/to/gpt2', 'texts.jsonl', ",
        "as the page's ingest",
    ),
    (
        "{context: 128}",
        "{context: 128, replace: true}",
        "the page made the same run with the shell's command before",
    ),
    (
        "--run mine report",
        "--run demo report",
        "the run that statements ask here",
    ),
    ("run=mine", "run=demo", "a run's name"),
    ("polysema check mine", "polysema check demo", "a run's name"),
    (
        "FROM neurons n, feature_clusters",
        "SELECT * FROM neurons n, feature_clusters",
        "a part of a statement",
    ),
    (
        "'blocks.2.mlp')",
        "'blocks.2.mlp', {epochs: 1})",
        "a short training",
    ),
    (
        "{ne_loss: 0.001}",
        "{ne_loss: 0.001, epochs: 1}",
        "a short training",
    ),
    (
        "drop_run('mine', {cascade: true})",
        "drop_run('digits', {cascade: true})",
        "the page dropped the other run by DROP SCHEMA before",
    ),
    (
        "JOIN feature_clusters",
        "SELECT * FROM neurons JOIN feature_clusters",
        "a part of a statement",
    ),
];

/// Commands that are not run: how they begin, why.
pub const NOT_RUN: &[(&str, &str)] = &[
    (
        "cargo install",
        "a release build; the binary it makes is the one tested here",
    ),
    (
        "cargo bench",
        "measures for minutes; that the benchmark exists is checked",
    ),
    ("cargo build", "builds programs that tests run"),
    (
        "cargo test",
        "this is it; that the target exists is checked",
    ),
    (
        "cargo clippy",
        "the continuous integration runs it; that it does is checked",
    ),
    (
        "cargo fmt",
        "the continuous integration runs it; that it does is checked",
    ),
    (
        "cargo doc",
        "the continuous integration runs it; that it does is checked",
    ),
    ("UPDATE_PAGES=1 cargo test", "writes these pages"),
    (
        "SELECT * FROM activations(model, corpus, hook)",
        "a signature",
    ),
    (
        "SELECT * FROM cancel_job(id)",
        "a signature; tests/jobs.rs ends jobs",
    ),
    (
        "polysema jobs --cancel",
        "a job's id; tests/jobs.rs ends jobs",
    ),
    ("FROM 'clusters.parquet'", "a statement of DuckDB"),
    (
        "polysema serve",
        "waits for clients; tests/serve.rs and .ci/clients are some",
    ),
    (
        "polysema upload",
        "of the feature cloud; tests/cloud.rs uploads",
    ),
    (
        "polysema --store s3:",
        "of the feature cloud; tests/cloud.rs asks buckets",
    ),
    (
        "polysema worker",
        "of the feature distributed; tests/distributed.rs starts some",
    ),
    (
        "polysema --workers",
        "of the feature distributed; tests/distributed.rs asks some",
    ),
    (
        "polysema explore",
        "waits for a browser; tests/explore.rs is one",
    ),
    ("psql ", "a client; .ci/clients runs it"),
    ("curl ", "a client; tests/serve.rs sends the same"),
    (
        "polysema --run demo --format arrows",
        "its reader is pyarrow; python/tests/test_files.py reads the same",
    ),
    (
        "polysema --run demo report summary --out summary.pdf",
        "needs a browser; tests/shell/printed.rs prints with one",
    ),
    (
        "\\i",
        "a file of one's own; tests/shell/pipeline.rs runs some",
    ),
    ("CALL f(..)", "any function"),
    ("SELECT * FROM f(..)", "any function"),
];

/// Blocks of code that are no commands: the page, how they begin, what they are.
pub const NOT_COMMANDS: &[(&str, &str, &str)] = &[
    ("ARCHITECTURE.md", "kernels ", "the floors"),
    ("ARCHITECTURE.md", "polysema.store/", "a folder"),
    (
        "docs/serve.md",
        "curl ",
        "requests; tests/serve.rs sends the same",
    ),
    (
        "docs/explore.md",
        "curl ",
        "a request; tests/explore.rs sends the same",
    ),
    (
        "docs/reports.md",
        "cd docs/examples && make ",
        "tests/shell/examples.rs runs it",
    ),
    (
        "docs/store.md",
        "run mine: damaged",
        "what is said of damage; tests/shell/checked.rs compares it",
    ),
    (
        "docs/scale.md",
        "python3 scripts/scale.py",
        "it computes the page's own tables",
    ),
    (
        "docs/distributed.md",
        "python3 scripts/workers.py",
        "it computes the page's own tables",
    ),
    (
        "CONTRIBUTING.md",
        "POLYSEMA_KILLS",
        "the tests themselves, longer",
    ),
    (
        "CONTRIBUTING.md",
        "scripts/archive",
        "a release build, and of a tree without changes",
    ),
    (
        "CONTRIBUTING.md",
        "cargo install cargo-fuzz",
        "a nightly toolchain and an hour a target",
    ),
    (
        "CONTRIBUTING.md",
        ".ci/fuzz",
        "a nightly toolchain and an hour a target",
    ),
    ("docs/definitions.md", "e = h", "a formula"),
    ("docs/definitions.md", "d(a, b)", "a formula"),
    ("docs/definitions.md", "a = relu", "a formula"),
    ("docs/definitions.md", "activation_map ", "formulas"),
    ("docs/definitions.md", "folded: effect", "formulas"),
    ("docs/definitions.md", "drop(p) = ", "formulas"),
    ("docs/definitions.md", "X [n, d]", "formulas"),
    ("udfs/README.md", "[dependencies]", "a part of Cargo.toml"),
    (
        "udfs/README.md",
        "use datafusion",
        "udfs/tests/examples.rs runs it",
    ),
    ("udfs/README.md", "SELECT neuron", "what that prints"),
    ("udfs/README.md", "+---", "what another prints"),
];
