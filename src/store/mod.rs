//! The activation store on disk: one folder per run, Arrow IPC files, committed by one atomic rename.

pub mod schema;
