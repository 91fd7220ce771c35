//! Guesses at passwords, and an exchange by hand: what a client says with its name is as it likes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use polysema::serve::scram::ScramSecret;
use polysema::serve::users::Role;
use ring::{digest, hmac, pbkdf2};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::place::{Place, base64};
use super::server::{Running, conversation};
use super::wire::{METRICS, frame, message, startup};

/// Logs in by SCRAM-SHA-256 with what is said at the start; the connection, or what was refused.
pub async fn log_in(
    server: &Running,
    said: &[(&str, &str)],
    password: &str,
) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(server.postgres).await.expect("a server");
    stream
        .write_all(&startup(said))
        .await
        .expect("a server that reads");
    let bare = "n=,r=fyko";
    loop {
        let Some((kind, body)) = message(&mut stream).await else {
            return Err("the server left".to_string());
        };
        match (kind, body.get(3)) {
            (b'R', Some(10)) => {
                let first = format!("n,,{bare}");
                let length = (first.len() as u32).to_be_bytes();
                let proof = [b"SCRAM-SHA-256\0", length.as_slice(), first.as_bytes()].concat();
                let _ = stream.write_all(&frame(b'p', &proof)).await;
            }
            (b'R', Some(11)) => {
                let first = String::from_utf8(body[4..].to_vec()).expect("text");
                let proof = proof(bare, &first, password);
                let _ = stream.write_all(&frame(b'p', proof.as_bytes())).await;
            }
            (b'E', _) => return Err(String::from_utf8_lossy(&body).into_owned()),
            (b'Z', _) => return Ok(stream),
            _ => {}
        }
    }
}

/// The client's final message of RFC 5802.
fn proof(bare: &str, server_first: &str, password: &str) -> String {
    let field = |name: &str| {
        let field = server_first
            .split(',')
            .find_map(|field| field.strip_prefix(name));
        field.expect("a field").to_string()
    };
    let (nonce, salt, rounds) = (field("r="), field("s="), field("i="));
    let salt = STANDARD.decode(salt).expect("base64");
    let mut salted = [0; 32];
    let rounds = rounds.parse().expect("a number of rounds");
    let method = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(method, rounds, &salt, password.as_bytes(), &mut salted);
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let key = mac(&salted, b"Client Key");
    let stored = digest::digest(&digest::SHA256, key.as_ref());
    let without = format!("c=biws,r={nonce}");
    let signed = mac(
        stored.as_ref(),
        format!("{bare},{server_first},{without}").as_bytes(),
    );
    let proof: Vec<u8> = key
        .as_ref()
        .iter()
        .zip(signed.as_ref())
        .map(|(a, b)| a ^ b)
        .collect();
    format!("{without},p={}", base64(&proof))
}

#[test]
fn who_guesses_at_a_password_waits_by_either_door() {
    let place = Place::new();
    conversation(place.options(), |server| async move {
        let guess = async |user: &str| {
            log_in(&server, &[("user", user)], "wrong")
                .await
                .unwrap_err()
        };
        for user in ["reader", "nobody"] {
            for _ in 0..4 {
                assert!(guess(user).await.contains("password authentication failed"));
            }
            // Names that nobody has wait as others do: half a second since the last failure.
            let began = Instant::now();
            guess(user).await;
            let waited = began.elapsed();
            assert!(waited >= Duration::from_millis(400), "{user}: {waited:?}");
        }
        // So does the right password: who waits learns nothing.
        let right = async |user: &str| {
            let began = Instant::now();
            let known = log_in(&server, &[("user", user)], "päss word").await;
            assert!(known.is_ok(), "{known:?}");
            began.elapsed()
        };
        for _ in 0..5 {
            guess("analyst").await;
        }
        let waited = right("analyst").await;
        assert!(waited >= Duration::from_millis(800), "{waited:?}");
        // It ends the wait of its name, and another name never had one.
        let waited = right("analyst").await + right("owner").await;
        assert!(waited < Duration::from_millis(800), "{waited:?}");
        // Many at once get the turns of ten seconds, and the others are refused at once: by HTTP and PostgreSQL alike.
        let basic = format!("Authorization: Basic {}\r\n", base64(b"owner:wrong"));
        for _ in 0..7 {
            assert_eq!(server.post(&basic, "SELECT 1").await.0, 401);
        }
        let many = (0..20).map(|_| server.post(&basic, "SELECT 1"));
        let (many, told) = tokio::join!(futures::future::join_all(many), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            log_in(&server, &[("user", "owner")], "päss word").await
        });
        let refused = many.iter().filter(|(status, _)| *status == 429).count();
        assert!(refused >= 15, "{many:?}");
        let told = told.unwrap_err();
        assert!(told.contains("fewer failed log-ins are required"), "{told}");
        let (_, metrics) = server.http(METRICS).await;
        assert!(metrics.contains("polysema_panics_total 0\n"), "{metrics}");
        server.stop().await;
    });
}

/// A wrong password, a name that nobody has and a right password without its exchange get the same words.
#[test]
fn what_is_told_of_a_failed_log_in_tells_nothing() {
    let place = Place::new();
    conversation(place.options(), |server| async move {
        let mut told = vec![];
        for user in ["reader", "nobody", "owner", "*", "READER"] {
            let words = log_in(&server, &[("user", user)], "wrong")
                .await
                .unwrap_err();
            told.push(words.replace(&format!("\"{user}\""), ""));
        }
        assert!(told.iter().all(|words| *words == told[0]), "{told:?}");
        let mut answers = vec![];
        for user in ["reader:wrong", "nobody:wrong", "*:", ":", "reader:"] {
            let basic = format!("Authorization: Basic {}\r\n", base64(user.as_bytes()));
            answers.push(server.post(&basic, "SELECT 1").await);
        }
        answers.push(server.post("", "SELECT 1").await);
        answers.push(server.post("Authorization: Bearer x\r\n", "SELECT 1").await);
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
        server.stop().await;
    });
}

/// No password and nothing that one could log in with stands in the file, which is its owner's alone.
#[test]
fn secrets_at_rest_are_none_to_log_in_with() {
    let place = Place::new();
    let text = std::fs::read_to_string(place.path("users")).expect("a file of users");
    assert!(!text.contains("päss") && !text.contains("word"), "{text}");
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(place.path("users")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let line = text
        .lines()
        .find(|line| line.starts_with("owner:"))
        .expect("a line")
        .to_string();
    let secret = line.splitn(3, ':').nth(2).expect("a secret").to_string();
    assert!(ScramSecret::parse(&secret).is_some_and(|secret| !secret.verify(&line)));
    conversation(place.options(), |server| async move {
        let keys = secret.rsplit('$').next().unwrap_or_default().split(':');
        for stolen in keys.chain([secret.as_str(), line.as_str()]) {
            let told = log_in(&server, &[("user", "analyst")], stolen).await;
            assert!(told.is_err());
        }
        assert_eq!(Role::ALL.len(), 3);
        server.stop().await;
    });
}

/// A page of another server asks in the name of whoever sits before the browser, which sends the password by itself.
#[test]
fn a_page_of_another_server_does_not_ask_with_a_users_password() {
    let place = Place::new();
    conversation(place.options(), |server| async move {
        let basic = format!(
            "Authorization: Basic {}\r\n",
            base64("owner:päss word".as_bytes())
        );
        for (origin, expected) in [
            ("", 200),
            ("Origin: http://localhost\r\n", 200),
            ("Origin: http://example.com\r\n", 403),
            ("Origin: http://localhost:1\r\n", 403),
            ("Origin: null\r\n", 403),
        ] {
            let (status, told) = server.post(&format!("{basic}{origin}"), "SELECT 1").await;
            assert_eq!(status, expected, "{origin}: {told}");
        }
        server.stop().await;
    });
}
