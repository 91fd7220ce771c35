//! The examples print what udfs/README.md shows of them, which also has the source of the first.

use std::path::Path;

#[path = "../examples/group_by.rs"]
#[allow(dead_code, reason = "an example's main is for the program")]
mod group_by;
#[path = "../examples/vectors.rs"]
#[allow(dead_code, reason = "an example's main is for the program")]
mod vectors;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).expect("a file of the crate")
}

#[tokio::test]
async fn the_page_shows_the_examples() {
    let page = read("README.md");
    for (name, printed) in [
        ("vectors", vectors::answers().await),
        ("group_by", group_by::answers().await),
    ] {
        let printed = printed.expect("answers");
        assert!(
            page.contains(&printed),
            "README.md shows of {name}:\n{printed}"
        );
    }
    let source = read("examples/vectors.rs");
    let (_, source) = source.split_once("\n\n").expect("a module doc first");
    assert!(
        page.contains(source.trim_end()),
        "README.md has examples/vectors.rs"
    );
}
