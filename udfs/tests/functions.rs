//! The plugin's functions in a plain DataFusion session, one program for all of its tests.

mod support;

mod calls;
mod equations;
mod examples;
mod guest;
mod plugin;
mod thresholds;
