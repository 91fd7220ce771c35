//! Attacks on what `docs/security.md` and the table of rights in `docs/serve.md` say, a sentence at a time: by the library's
//! policies, by PostgreSQL's protocol both simple and extended, and by HTTP.

#[path = "security/attacks.rs"]
mod attacks;
#[path = "security/catalogue.rs"]
mod catalogue;
#[path = "security/hostile_stores.rs"]
mod hostile_stores;
#[path = "security/killed.rs"]
mod killed;
#[path = "security/logins.rs"]
mod logins;
#[path = "security/page.rs"]
mod page;
#[path = "security/place.rs"]
mod place;
#[path = "serve/process.rs"]
mod process;
#[path = "security/protocol.rs"]
mod protocol;
#[path = "security/rights.rs"]
mod rights;
#[allow(dead_code, reason = "the server's own tests ask for more")]
#[path = "serve/server.rs"]
mod server;
#[path = "security/slow.rs"]
mod slow;
#[path = "security/wire.rs"]
mod wire;
