//! The file of users, from a terminal and without one.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn users_without_a_terminal() {
    let shell = Shell::new();
    let added = shell.given(&["user", "add", "ana"], b"s3cret\nmore\n");
    assert_eq!((added.code, added.out.as_str()), (Some(0), ""), "{added:?}");
    assert!(
        added.err.starts_with("reader 'ana' may log in ("),
        "{added:?}"
    );
    assert!(added.err.trim_end().ends_with("s.users)"), "{added:?}");
    let added = shell.given(&["user", "add", "bo", "--role", "owner"], b"s3cret\r\n");
    assert_eq!(added.code, Some(0), "{added:?}");
    let file = shell.0.path().join("s.users");
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert!(
        !fs::read_to_string(&file)
            .expect("a text")
            .contains("s3cret")
    );
    shell
        .run(&["user", "list", "--format", "csv"])
        .prints("name,role\nana,reader\nbo,owner\n");
    for (arguments, input, code, message) in [
        (
            &["user", "add", "ana"][..],
            "x",
            1,
            "error: users: a name that nobody has is required, got 'ana'",
        ),
        (
            &["user", "add", "cy"],
            "",
            1,
            "error: users: a password is required, got none",
        ),
        (
            &["user", "add", "c y"],
            "x",
            1,
            "a name of 1 to 63 letters, digits and _ . @ - is required, got 'c y'",
        ),
        (
            &["user", "add", "cy", "--role", "root"],
            "x",
            2,
            "[possible values: reader, analyst, owner]",
        ),
        (
            &["user", "password", "cy"],
            "x",
            1,
            "error: users: one of ana, bo is required, got 'cy'",
        ),
        (
            &["user", "list", "--users", "none"],
            "",
            1,
            "error: users: a file of users is required, got none at none",
        ),
    ] {
        shell
            .given(arguments, input.as_bytes())
            .fails(code, message);
    }
    for arguments in [
        &["user", "role", "ana", "analyst"][..],
        &["user", "password", "ana"],
        &["user", "remove", "bo"],
    ] {
        let done = shell.given(arguments, b"another\n");
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    shell
        .run(&["user", "list", "--format", "csv"])
        .prints("name,role\nana,analyst\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
    shell.run(&["user", "list"]).fails(
        1,
        "a file that only its owner may read is required, got mode 0644",
    );
    assert!(!shell.0.path().join("s").exists(), "no store is made");
}
