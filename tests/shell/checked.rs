//! `polysema check`: what it says of a store, and its exit code.

use super::*;

fn generation(shell: &Shell) -> PathBuf {
    let entries = fs::read_dir(shell.0.path().join("s/runs/demo")).expect("a folder");
    let mut folders = entries.map(|entry| entry.expect("an entry").path());
    folders.find(|path| path.is_dir()).expect("a generation")
}

#[test]
fn a_whole_store_takes_a_line_and_a_damaged_one_is_named() {
    let shell = with_run();
    for words in [&["check"][..], &["check", "demo"]] {
        let said = shell.run(words);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        assert!(said.out.ends_with(" s: all whole\n"), "{said:?}");
        assert_eq!(said.out.lines().count(), 1);
    }
    let said = shell.run(&["check", "--quiet"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
    shell
        .run(&["check", "demo", "others"])
        .fails(1, "got 'others'; known runs: demo");

    let path = generation(&shell).join("examples-1.arrow");
    let mut bytes = fs::read(&path).expect("a file");
    bytes[600] ^= 1;
    fs::write(&path, bytes).expect("writable");
    let said = shell.run(&["check"]);
    assert_eq!(said.code, Some(1));
    let named = "examples-1.arrow: bytes 0 to 16384 have another checksum; lost: examples of layer 1, neurons 0 to ";
    assert!(said.out.contains(named), "{}", said.out);
    let whole =
        "  whole: documents, histograms, layers, neurons, tokens, vectors; examples of layer";
    assert!(said.out.contains(whole), "{}", said.out);
    assert!(
        said.err
            .contains("a whole store is required, got 1 file damaged in "),
        "{}",
        said.err
    );
    let query = "SELECT sum(activation) FROM examples WHERE layer = 1";
    shell.run(&["-c", query]).fails(
        1,
        "examples-1.arrow damaged: bytes 0 to 16384 have another checksum",
    );
}

#[test]
fn an_empty_store_is_whole() {
    let said = Shell::new().run(&["check"]);
    assert!(
        said.out.starts_with("0 files, 0 bytes read in "),
        "{said:?}"
    );
    assert_eq!(said.code, Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_check_is_interrupted() {
    let shell = with_run();
    let folder = shell.0.path().join("s/models/large");
    fs::create_dir_all(folder.join("gen-1")).expect("writable");
    // A hole of a tebibyte, which takes minutes to read.
    let bytes = 1u64 << 40;
    let file = fs::File::create(folder.join("gen-1/hole")).expect("a file");
    file.set_len(bytes).expect("a hole");
    let model = format!(
        "{{\"format\":{},\"generation\":\"gen-1\",\"files\":[{{\"name\":\"hole\",\"size_bytes\":{bytes},\"checksum\":0}}]}}",
        polysema::store::FORMAT
    );
    fs::write(folder.join("model.json"), model).expect("writable");
    let child = shell.spawn(&["check"]);
    let read = || {
        let text = fs::read_to_string(format!("/proc/{}/io", child.id())).expect("a process");
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    while read() < 1 << 28 {
        std::thread::sleep(Duration::from_millis(10));
    }
    interrupt(&child);
    let said = ended(child);
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", "cancelled\n"));
}
