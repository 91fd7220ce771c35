//! `docs/security.md` names the tests of what it says: each is there, and each of these files is named.

use std::fs;
use std::path::Path;

#[test]
fn the_tests_that_the_page_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/security.md")).expect("the page");
    let mut named = 0;
    for name in page.split('`').filter(|part| part.contains(".rs::")) {
        let (file, test) = name.split_once("::").expect("a file and a test");
        let text = fs::read_to_string(root.join(file));
        let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains(&format!("fn {test}(")), "{name} is not there");
        named += 1;
    }
    assert!(named > 30, "{named}");
    for entry in fs::read_dir(root.join("tests/security")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("text");
        let file = path
            .strip_prefix(root)
            .expect("below the root")
            .display()
            .to_string();
        let tests = text.matches("#[test]").count();
        assert!(
            tests == 0 || page.contains(&file) || file.ends_with("page.rs"),
            "{file} is not named"
        );
    }
}
