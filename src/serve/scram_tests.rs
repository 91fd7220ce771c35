//! Exchanges of RFC 7677 and of PostgreSQL's secrets (tests/reference/scram.py), and everything that is none.

use std::cell::Cell;

use super::*;

thread_local! {
    /// Rounds of the hash that this thread has made.
    pub(in crate::serve) static ROUNDS: Cell<u64> = const { Cell::new(0) };
}

const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

fn pencil() -> ScramSecret {
    ScramSecret::parse(PENCIL).expect("a secret")
}

fn begun() -> Exchange {
    Exchange::with_nonce(pencil(), CLIENT_FIRST.as_bytes(), NONCE).expect("a first message")
}

/// RFC 7677, section 3; the secret is that of its salt, as PostgreSQL would keep it.
#[test]
fn the_example_of_the_standard() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    assert!(ScramSecret::of("pencil", salt, ITERATIONS) == pencil());
    let exchange = begun();
    assert_eq!(
        exchange.server_first(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let server_final = exchange.finish(CLIENT_FINAL.as_bytes());
    assert_eq!(
        server_final.unwrap(),
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
}

#[test]
fn secrets_of_postgresql() {
    let text = include_str!("../../tests/reference/scram.json");
    let known: serde_json::Value = serde_json::from_str(text).unwrap();
    let exchanges = known["exchanges"].as_array().unwrap();
    assert_eq!(exchanges.len(), 13);
    for exchange in exchanges {
        let of = |key: &str| exchange[key].as_str().unwrap();
        let secret = ScramSecret::parse(of("secret")).expect("a secret");
        assert_eq!(secret.to_string(), of("secret"));
        let password = of("password");
        assert!(secret.verify(password), "{password:?}");
        for other in ["", "Pencil", &format!("{password} ")] {
            assert!(!secret.verify(other), "{password:?} is not {other:?}");
        }
        let begun = Exchange::with_nonce(secret, of("client_first").as_bytes(), of("server_nonce"))
            .unwrap();
        assert_eq!(begun.server_first(), of("server_first"));
        assert_eq!(
            begun.finish(of("client_final").as_bytes()).unwrap(),
            of("server_final")
        );
    }
}

#[test]
fn a_wrong_proof_is_refused() {
    // One bit of the proof, of the nonce, of what is bound.
    let refused = |text: String| begun().finish(text.as_bytes()).expect_err(&text);
    let other_proof = CLIENT_FINAL.replace("p=dHzb", "p=eHzb");
    assert_eq!(refused(other_proof), ScramError::Refused);
    // A value that nobody knows is part of what is signed.
    assert_eq!(
        refused(CLIENT_FINAL.replace(",p=", ",x=y,p=")),
        ScramError::Refused
    );
    for text in [
        CLIENT_FINAL.replace("c=biws", "c=eSws"),
        CLIENT_FINAL.replace("r=rOpr", "r=sOpr"),
        CLIENT_FINAL.replace("NlF$k0,", "NlF$k,"),
        CLIENT_FINAL.replace(",p=d", ",p="),
        CLIENT_FINAL.replace("VQ=", "VQ"),
        CLIENT_FINAL.replace(",p=", ",q="),
        CLIENT_FINAL.replace("c=biws,", ""),
        String::new(),
        ",p=".to_string(),
    ] {
        assert!(matches!(refused(text), ScramError::Malformed(_)));
    }
    assert!(begun().finish(b"c=biws,\xff,p=").is_err());
}

#[test]
fn first_messages_that_ask_for_more_are_refused() {
    let begin = |text: &[u8]| Exchange::begin(pencil(), text);
    for text in [
        "n,,n=,r=a",
        "y,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "n,,n=a=2Cb,r=x,extension=1",
    ] {
        let (first, second) = (
            begin(text.as_bytes()).unwrap(),
            begin(text.as_bytes()).unwrap(),
        );
        assert_ne!(
            first.server_first(),
            second.server_first(),
            "a nonce is new"
        );
    }
    for text in [
        "",
        "n",
        "n,,",
        "n=user,r=a",
        "p=tls-server-end-point,,n=user,r=a",
        "n,a=other,n=user,r=a",
        "z,,n=user,r=a",
        "n,,m=must,n=user,r=a",
        "n,,n=user",
        "n,,n=user,r=",
        "n,,n=user,r=a b",
        "n,,n=user,r=\u{e9}",
        "n,,r=a,n=user",
    ] {
        let error = begin(text.as_bytes()).expect_err(text);
        assert_eq!(error, ScramError::Malformed(super::CLIENT_FIRST), "{text}");
    }
    assert!(begin(b"n,,n=\xff,r=a").is_err());
}

#[test]
fn what_is_no_secret() {
    for text in [
        "",
        "pencil",
        "SCRAM-SHA-1$4096:W22Z$a:b",
        &PENCIL.replace("4096", "0"),
        &PENCIL.replace("4096", "-1"),
        &PENCIL.replace("4096", "4294967296"),
        &PENCIL.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
        &PENCIL.replace("gQ==", "gQ"),
        &PENCIL.replace("2dU=", ""),
        &format!("{PENCIL}:"),
        &format!("{PENCIL} "),
    ] {
        assert!(ScramSecret::parse(text).is_none(), "{text}");
    }
}

#[test]
fn a_log_is_told_nothing() {
    let shown = format!("{:?} {:?}", pencil(), begun());
    assert!(
        !shown.contains("WG5d") && !shown.contains("wfPL"),
        "{shown}"
    );
}
