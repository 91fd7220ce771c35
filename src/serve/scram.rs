//! SCRAM-SHA-256 as the server has it (RFC 5802 and 7677): secrets in the form that PostgreSQL keeps, and an exchange as
//! texts in and texts out, without a connection. Channel binding is not offered.
//!
//! ```text
//! SaltedPassword = PBKDF2-HMAC-SHA-256(SASLprep(password), salt, iterations)
//! StoredKey      = SHA-256(HMAC(SaltedPassword, "Client Key")),   ServerKey = HMAC(SaltedPassword, "Server Key")
//! ```

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

/// What PostgreSQL takes where nothing else is said.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("4096 is not 0");
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 18;
const METHOD: &str = "SCRAM-SHA-256";

type Hash = [u8; digest::SHA256_OUTPUT_LEN];

/// What is kept of a password: enough to check it, and not enough to log in with.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramSecret {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Hash,
    server_key: Hash,
}

impl ScramSecret {
    /// The secret of a password under a salt of its own.
    pub fn new(password: &str) -> Result<Self> {
        let salt = random(SALT_BYTES).ok_or_else(|| {
            exec_datafusion_err!("random numbers of the system are required, got none")
        })?;
        Ok(Self::of(password, salt, ITERATIONS))
    }

    fn of(password: &str, salt: Vec<u8>, iterations: NonZeroU32) -> Self {
        let mut salted = Hash::default();
        derive(
            iterations,
            &salt,
            prepared(password).as_bytes(),
            &mut salted,
        );
        Self {
            iterations,
            salt,
            stored_key: sha256(&mac(&salted, b"Client Key")),
            server_key: mac(&salted, b"Server Key"),
        }
    }

    /// A secret that no password has, of the shape of `like`: the same one for the same key and name, which a peer
    /// that does not know the key cannot tell from a user's.
    pub fn stand_in(like: Option<&Self>, key: &[u8], name: &str) -> Self {
        let iterations = like.map_or(ITERATIONS, |like| like.iterations);
        let mut salt = vec![0; like.map_or(SALT_BYTES, |like| like.salt.len())];
        derive(NonZeroU32::MIN, name.as_bytes(), key, &mut salt);
        let key_of = |purpose: &[u8]| mac(&mac(key, purpose), name.as_bytes());
        Self {
            iterations,
            salt,
            stored_key: key_of(b"stored"),
            server_key: key_of(b"server"),
        }
    }

    /// The secret that a text of PostgreSQL's form is: `SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY`, in base64.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(METHOD)?.strip_prefix('$')?;
        let (shape, keys) = rest.split_once('$')?;
        let ((iterations, salt), (stored, server)) =
            (shape.split_once(':')?, keys.split_once(':')?);
        let salt = STANDARD.decode(salt).ok()?;
        let hash = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        (!salt.is_empty()).then_some(Self {
            iterations: iterations.parse().ok()?,
            salt,
            stored_key: hash(stored)?,
            server_key: hash(server)?,
        })
    }

    /// Whether this is its password, in a time that depends on nothing but the number of iterations and the length of
    /// what was given.
    pub fn verify(&self, password: &str) -> bool {
        let given = Self::of(password, self.salt.clone(), self.iterations);
        equal(&given.stored_key, &self.stored_key)
    }
}

/// PostgreSQL's form, as [`ScramSecret::parse`] reads it.
impl fmt::Display for ScramSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt[..], &self.stored_key, &self.server_key]
            .map(|bytes| STANDARD.encode(bytes));
        write!(f, "{METHOD}${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// Without what it keeps, which is no matter of a log.
impl fmt::Debug for ScramSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramSecret").finish_non_exhaustive()
    }
}

/// Why an exchange ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramError {
    /// A message is not one of the protocol, or asks for what is not offered; what is required.
    Malformed(&'static str),
    /// The proof is not that of the password.
    Refused,
    /// The system gives no random numbers.
    NoRandomness,
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(required) => {
                write!(f, "{METHOD}: {required} is required, got another message")
            }
            Self::Refused => f.write_str("a user and the user's password are required, got others"),
            Self::NoRandomness => {
                f.write_str("random numbers of the system are required, got none")
            }
        }
    }
}

impl std::error::Error for ScramError {}

const CLIENT_FIRST: &str =
    "a client's first message without channel binding and without another's name (n,, or y,,)";
const CLIENT_FINAL: &str = "a client's final message that goes on with the exchange";

/// An exchange whose client has said its first message.
#[derive(Debug)]
pub struct Exchange {
    secret: ScramSecret,
    /// What the client said of channel binding.
    header: &'static str,
    client_first: String,
    nonce: String,
    server_first: String,
}

impl Exchange {
    /// Takes a client's first message. Of the name in it nothing is made: the protocol around it has said one.
    pub fn begin(secret: ScramSecret, client_first: &[u8]) -> Result<Self, ScramError> {
        let nonce = random(NONCE_BYTES).ok_or(ScramError::NoRandomness)?;
        Self::with_nonce(secret, client_first, &STANDARD.encode(nonce))
    }

    fn with_nonce(
        secret: ScramSecret,
        client_first: &[u8],
        nonce: &str,
    ) -> Result<Self, ScramError> {
        let malformed = || ScramError::Malformed(CLIENT_FIRST);
        let text = str::from_utf8(client_first).map_err(|_| malformed())?;
        // Who says y would bind a channel and saw that it is not offered, which is so.
        let header = ["n,,", "y,,"]
            .into_iter()
            .find(|header| text.starts_with(header));
        let header = header.ok_or_else(malformed)?;
        let bare = &text[header.len()..];
        let mut fields = bare.split(',');
        let name = fields.next().and_then(|field| field.strip_prefix("n="));
        let theirs = fields.next().and_then(|field| field.strip_prefix("r="));
        let (Some(_), Some(theirs)) = (name, theirs) else {
            return Err(malformed());
        };
        if theirs.is_empty() || !theirs.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed());
        }
        let nonce = format!("{theirs}{nonce}");
        let salt = STANDARD.encode(&secret.salt);
        Ok(Self {
            server_first: format!("r={nonce},s={salt},i={}", secret.iterations),
            client_first: bare.to_string(),
            secret,
            header,
            nonce,
        })
    }

    /// What the server answers.
    pub fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Takes the client's final message; what the server answers to one that proves the password.
    pub fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let malformed = || ScramError::Malformed(CLIENT_FINAL);
        let text = str::from_utf8(client_final).map_err(|_| malformed())?;
        let (message, proof) = text.rsplit_once(",p=").ok_or_else(malformed)?;
        let proof: Option<Hash> = STANDARD
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok());
        let proof = proof.ok_or_else(malformed)?;
        let mut fields = message.split(',');
        let bound = format!("c={}", STANDARD.encode(self.header));
        if fields.next() != Some(&*bound) || fields.next() != Some(&*format!("r={}", self.nonce)) {
            return Err(malformed());
        }
        let exchanged = format!("{},{},{message}", self.client_first, self.server_first);
        let signature = mac(&self.secret.stored_key, exchanged.as_bytes());
        let mut client_key = proof;
        client_key
            .iter_mut()
            .zip(signature)
            .for_each(|(key, byte)| *key ^= byte);
        match equal(&sha256(&client_key), &self.secret.stored_key) {
            true => {
                let proof = mac(&self.secret.server_key, exchanged.as_bytes());
                Ok(format!("v={}", STANDARD.encode(proof)))
            }
            false => Err(ScramError::Refused),
        }
    }
}

/// A password as SASLprep writes it, or as it is where that forbids it: what PostgreSQL and its clients do.
fn prepared(password: &str) -> Cow<'_, str> {
    let prepared = stringprep::saslprep(password).ok();
    let prepared = prepared.filter(|prepared| !prepared.is_empty());
    prepared.unwrap_or(Cow::Borrowed(password))
}

/// Numbers that nobody can guess.
pub(super) fn random(count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

/// The one place where rounds of the hash are made, so that a test can count them.
fn derive(iterations: NonZeroU32, salt: &[u8], secret: &[u8], out: &mut [u8]) {
    #[cfg(test)]
    tests::ROUNDS.with(|rounds| rounds.set(rounds.get() + u64::from(iterations.get())));
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, secret, out);
}

fn hash_of(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(bytes);
    hash
}

fn mac(key: &[u8], message: &[u8]) -> Hash {
    hash_of(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

pub(super) fn sha256(bytes: &[u8]) -> Hash {
    hash_of(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Whether two are equal, in a time that does not tell where they differ: codes of them are compared by ring.
fn equal(a: &Hash, b: &Hash) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"equal");
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
}

#[cfg(test)]
#[path = "scram_tests.rs"]
pub(super) mod tests;
