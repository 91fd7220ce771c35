//! The program as its users meet it: the shell, the hub's downloads, the servers of clients and of browsers.

mod support;

mod explore;
mod hub;
mod security;
mod serve;
mod shell;
