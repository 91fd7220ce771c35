//! Attacks on what `docs/security.md` and the table of rights in `docs/serve.md` say, a sentence at a time: by the library's
//! policies, by PostgreSQL's protocol both simple and extended, and by HTTP.

mod attacks;
mod catalogue;
mod hostile_stores;
mod killed;
mod logins;
mod page;
mod place;
mod protocol;
mod rights;
mod slow;
mod wire;

use crate::serve::{process, server};
