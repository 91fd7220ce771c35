//! A server of a store for those who work elsewhere: its users and how they prove who they are.

pub mod scram;
pub mod users;
