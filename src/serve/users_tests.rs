//! A file of users as several write it, and names that nobody has.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn empty() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.users");
    (folder, path)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn error(path: &Path) -> String {
    Users::read(path).unwrap_err().strip_backtrace()
}

fn names(path: &Path) -> Vec<(String, Role)> {
    let users = Users::read(path).unwrap();
    users
        .iter()
        .map(|user| (user.name.clone(), user.role))
        .collect()
}

#[test]
fn users_come_change_and_go() {
    let (_folder, path) = empty();
    // Words that no base64 holds by chance.
    let (of_ana, of_bo) = ("of ana", "of bo");
    add(&path, "ana", Role::Reader, of_ana).unwrap();
    add(&path, "bo@lab.org", Role::Owner, of_bo).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    for password in [of_ana, of_bo] {
        assert!(!text(&path).contains(password), "{}", text(&path));
    }
    let login = |name: &str, password: &str| {
        Users::read(&path)
            .unwrap()
            .login(name)
            .with_password(password)
    };
    assert_eq!(login("ana", of_ana), Some(Role::Reader));
    assert_eq!(login("bo@lab.org", of_bo), Some(Role::Owner));
    for (name, password) in [
        ("ana", of_bo),
        ("ana", ""),
        ("Ana", of_ana),
        ("", of_ana),
        ("*", ""),
        ("nobody", of_ana),
    ] {
        assert_eq!(login(name, password), None, "{name}");
    }
    set_password(&path, "ana", "c").unwrap();
    set_role(&path, "ana", Role::Analyst).unwrap();
    assert_eq!(login("ana", of_ana), None);
    assert_eq!(login("ana", "c"), Some(Role::Analyst));
    let refused = |done: Result<()>| done.unwrap_err().strip_backtrace();
    let said = refused(add(&path, "ana", Role::Owner, "x"));
    assert_eq!(
        said,
        "Execution error: users: a name that nobody has is required, got 'ana'"
    );
    let said = refused(set_password(&path, "nobody", "x"));
    assert!(
        said.ends_with("one of ana, bo@lab.org is required, got 'nobody'"),
        "{said}"
    );
    for name in ["", "a:b", "a b", "*", "#a", "\u{e4}", &"a".repeat(64)] {
        let said = refused(add(&path, name, Role::Owner, "x"));
        assert!(said.contains("a name of 1 to 63 letters"), "{said}");
    }
    assert!(refused(add(&path, "cy", Role::Owner, "")).contains("a password is required"));
    remove(&path, "ana").unwrap();
    assert_eq!(names(&path), [("bo@lab.org".to_string(), Role::Owner)]);
    remove(&path, "bo@lab.org").unwrap();
    assert!(refused(remove(&path, "ana")).contains("a user, of whom there is none, is required"));
    assert_eq!(login("ana", "c"), None);
}

#[test]
fn what_was_written_by_hand_stays() {
    let (_folder, path) = empty();
    // An exchange of tests/reference/scram.json.
    let secret = "SCRAM-SHA-256$4096:zIOvQo7IW7pP3HukPhkyAg==$XpmwC0LzQY0rtWiFlrIhKzOhEMrNL1H+37eTDv6lHcQ=:eDHcFHsoDY43M2zG0982XDRZMHEgnt0KLcCtlcacWwc=";
    write(&path, &format!("# ours\n\nana:reader:{secret}\n# theirs\n"));
    let login = |password| {
        Users::read(&path)
            .unwrap()
            .login("ana")
            .with_password(password)
    };
    assert_eq!((login("pencil"), login("pen")), (Some(Role::Reader), None));
    add(&path, "bo", Role::Owner, "b").unwrap();
    let lines = text(&path);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[..2], ["# ours", ""]);
    assert!(lines[2].starts_with("*:unknown:"));
    assert_eq!(lines[3..5], [&format!("ana:reader:{secret}"), "# theirs"]);
    assert!(lines[5].starts_with("bo:owner:SCRAM-SHA-256$4096:") && lines.len() == 6);
    let key = lines[2].to_string();
    remove(&path, "bo").unwrap();
    assert!(text(&path).contains(&key), "the key of unknown names stays");
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let (folder, path) = empty();
    let said = error(&path);
    assert!(
        said.contains("a file of users is required, got none at"),
        "{said}"
    );
    add(&path, "ana", Role::Reader, "a").unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let required =
            format!("a file that only its owner may read is required, got mode {mode:04o}");
        assert!(error(&path).contains(&required));
        let changed = add(&path, "bo", Role::Reader, "b").unwrap_err();
        assert!(changed.to_string().contains(&required));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(names(&path).len(), 1);
    // A link is followed, and stays one when the file is written.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    add(&link, "bo", Role::Reader, "b").unwrap();
    assert!(link.is_symlink());
    assert_eq!(names(&path).len(), 2);
    assert!(error(folder.path()).contains("a file is required, got a folder"));
}

#[test]
fn wrong_lines_are_named_without_what_they_say() {
    let (_folder, path) = empty();
    let secret = ScramSecret::new("a").unwrap();
    let line = format!("ana:reader:{secret}");
    for (text, place, required) in [
        (
            "ana:hunter2",
            1,
            "a role is required: reader, analyst or owner",
        ),
        ("ana:reader:hunter2", 1, "a secret SCRAM-SHA-256$"),
        (
            "# x\n\nana hunter2:reader:x",
            3,
            "NAME:ROLE:SECRET with a name",
        ),
        ("*:unknown:hunter2", 1, "a key of 32 bytes"),
        (
            &format!("{line}\n{line}"),
            2,
            "a line for each user is required, got two of 'ana'",
        ),
    ] {
        write(&path, text);
        let said = error(&path);
        assert!(
            said.contains(&format!("s.users:{place}: {required}")),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    fs::write(&path, b"\xff").unwrap();
    assert!(error(&path).contains("UTF-8 text is required"));
}

#[test]
fn several_writers_lose_nothing() {
    let (_folder, path) = empty();
    std::thread::scope(|scope| {
        for i in 0..12 {
            let path = &path;
            scope.spawn(move || add(path, &format!("u{i}"), Role::Reader, "x").unwrap());
        }
    });
    assert_eq!(names(&path).len(), 12);
}

#[test]
fn nobody_learns_whether_a_name_is_a_users() {
    let (_folder, path) = empty();
    add(&path, "ana", Role::Reader, "a").unwrap();
    let first = |name: &str| {
        let exchange = Users::read(&path)
            .unwrap()
            .login(name)
            .begin(b"n,,n=,r=abc")
            .unwrap();
        exchange.server_first().to_string()
    };
    // Without the nonce, which is new each time: the salt of a name is the same whenever it is asked for, of each another.
    let of = |name: &str| {
        let text = first(name);
        let (nonce, rest) = text.split_once(",s=").unwrap();
        (nonce.len(), rest.len(), rest.to_string())
    };
    let (ana, eve, bob) = (of("ana"), of("eve"), of("bob"));
    assert_eq!((ana.0, ana.1), (eve.0, eve.1));
    assert!(ana.2.ends_with(",i=4096") && eve.2.ends_with(",i=4096"));
    assert_ne!(eve.2, bob.2);
    add(&path, "cy", Role::Reader, "c").unwrap();
    set_password(&path, "cy", "d").unwrap();
    assert_eq!((of("ana"), of("eve"), of("bob")), (ana.clone(), eve, bob));
    // A well-formed proof for a name that nobody has is refused as a wrong one of a user is.
    let finish = |name: &str| {
        let exchange = Users::read(&path)
            .unwrap()
            .login(name)
            .begin(b"n,,n=,r=abc")
            .unwrap();
        let nonce = exchange
            .server_first()
            .split(',')
            .next()
            .unwrap()
            .to_string();
        let proof = STANDARD.encode([7; 32]);
        exchange
            .finish(format!("c=biws,{nonce},p={proof}").as_bytes())
            .map(|(_, role)| role)
    };
    assert_eq!(finish("ana"), Err(ScramError::Refused));
    assert_eq!(finish("eve"), Err(ScramError::Refused));
    // Secrets of another shape are another's too.
    let secret = "SCRAM-SHA-256$12000:AAECAwQF$XpmwC0LzQY0rtWiFlrIhKzOhEMrNL1H+37eTDv6lHcQ=:eDHcFHsoDY43M2zG0982XDRZMHEgnt0KLcCtlcacWwc=";
    write(&path, &format!("ana:reader:{secret}\n"));
    assert!(of("eve").2.ends_with(",i=12000"));
    assert_eq!(of("eve").1, of("ana").1);
    assert_eq!(of("eve"), of("eve"));
    write(&path, "");
    assert!(of("eve").2.ends_with(",i=4096"));
}

/// Not the time is compared, which a busy machine makes as it likes, but what it is made of: the rounds of the hash.
#[test]
fn a_wrong_password_and_an_unknown_name_cost_the_same_work() {
    use crate::serve::scram::tests::ROUNDS;

    let (_folder, path) = empty();
    for name in ["ana", "bo", "cy"] {
        add(&path, name, Role::Reader, "a").unwrap();
    }
    let rounds = |name: &str, password: &str| {
        let users = Users::read(&path).unwrap();
        ROUNDS.set(0);
        let role = users.login(name).with_password(password);
        (ROUNDS.get(), role)
    };
    // Those of the password, and one for the salt of a name that nobody has, which is made for every name.
    assert_eq!(rounds("ana", "b"), (4097, None));
    let long = "x".repeat(10_000);
    for (name, password) in [
        ("eve", "a"),
        ("", "a"),
        ("ana", ""),
        ("cy", "b"),
        ("*", "b"),
        (long.as_str(), "a"),
        ("bo", long.as_str()),
    ] {
        assert_eq!(rounds(name, password), (4097, None), "{name}");
    }
    assert_eq!(rounds("ana", "a"), (4097, Some(Role::Reader)));
    // By SCRAM the client makes the rounds, and the server those of the salt.
    for name in ["ana", "eve"] {
        let users = Users::read(&path).unwrap();
        ROUNDS.set(0);
        let exchange = users.login(name).begin(b"n,,n=,r=abc").unwrap();
        let nonce = exchange
            .server_first()
            .split(',')
            .next()
            .unwrap()
            .to_string();
        let proof = STANDARD.encode([7; 32]);
        let last = format!("c=biws,{nonce},p={proof}");
        assert!(exchange.finish(last.as_bytes()).is_err());
        assert_eq!(ROUNDS.get(), 1, "{name}");
    }
}

#[test]
fn users_lie_beside_their_store() {
    let of = |store: &str| beside(Path::new(store)).map(|path| path.display().to_string());
    assert_eq!(of("/data/a.store").unwrap(), "/data/a.store.users");
    assert_eq!(of("/data/a.store/").unwrap(), "/data/a.store.users");
    assert!(
        of("polysema.store")
            .unwrap()
            .ends_with("/polysema.store.users")
    );
    assert!(of("/").unwrap_err().to_string().contains("--users"));
}

#[test]
fn roles_are_ordered_by_what_they_may_do() {
    let [reader, analyst, owner] = Role::ALL.map(Role::policy);
    assert_eq!(reader.settings, ["polysema."]);
    assert_eq!(
        Policy {
            settings: vec![],
            ..reader.clone()
        },
        Policy::nothing()
    );
    assert_eq!(
        Policy {
            create_tables: true,
            ..reader
        },
        analyst
    );
    assert_eq!(owner, Policy::everything());
    for role in Role::ALL {
        assert_eq!(Role::named(role.name()), Some(role));
    }
}
