//! What the program says of itself.

use super::*;

#[test]
fn the_program_describes_itself_without_a_store() {
    let shell = Shell::new();
    let version = shell.run(&["--version"]);
    let words: Vec<&str> = version.out.split_whitespace().collect();
    assert_eq!(words[..2], ["polysema", env!("CARGO_PKG_VERSION")]);
    let datafusion = format!(", DataFusion {})\n", datafusion::DATAFUSION_VERSION);
    assert!(version.out.ends_with(&datafusion), "{version:?}");
    for (arguments, parts) in [
        (
            &["completions", "bash"][..],
            ["_polysema()", "--memory-limit", "completions"],
        ),
        (
            &["completions", "zsh"],
            ["#compdef polysema", "--memory-limit", "completions"],
        ),
        (
            &["completions", "fish"],
            ["complete -c polysema", "memory-limit", "completions"],
        ),
        (
            &["man"],
            [".TH polysema 1", "memory\\-limit", "POLYSEMA_STORE"],
        ),
        (
            &["man", "ingest"],
            [".TH polysema-ingest 1", "KEY=VALUE", "POLYSEMA_STORE"],
        ),
    ] {
        let page = shell.run(arguments);
        assert_eq!((page.code, page.err.as_str()), (Some(0), ""), "{page:?}");
        for part in parts {
            assert!(
                page.out.contains(part),
                "{arguments:?} has {part}: {}",
                page.out
            );
        }
    }
    let made = fs::read_dir(shell.0.path()).expect("a folder").count();
    assert_eq!(made, 0, "no store is made");
    shell
        .run(&["completions", "csh"])
        .fails(2, "[possible values: bash, elvish, fish, powershell, zsh]");
    let worker = if cfg!(feature = "distributed") {
        "worker, "
    } else {
        ""
    };
    let upload = if cfg!(feature = "cloud") {
        "upload, "
    } else {
        ""
    };
    shell.run(&["man", "inges"]).fails(
        2,
        &format!(
            "one of demo, report, ingest, jobs, check, user, serve, explore, publish, {upload}{worker}completions, man, help is \
             required, got 'inges'"
        ),
    );
}
