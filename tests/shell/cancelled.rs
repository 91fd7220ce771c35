//! What is said of a job that ends before its rows are read.

use super::*;

/// A training without end on a store whose run is `demo`, and how often it keeps a checkpoint.
const TRAINING: &str = "train_sae('s', (SELECT pre_mlp FROM examples), {epochs: 1000000, warmup: 0, checkpoint_every: 1000000})";

/// Whether a message says a step and that its checkpoint is kept.
fn keeps_its_step(message: &str) -> bool {
    let Some((_, after)) = message.split_once("cancelled at step ") else {
        return false;
    };
    let step = after.split(';').next().unwrap_or_default();
    let kept = format!("; the checkpoint of step {step} is kept, from which the same call goes on");
    step.parse::<u64>().is_ok() && after[step.len()..].starts_with(&kept)
}

/// Starts the training and reads its rows until a step is done.
fn training(shell: &Shell) -> (Child, impl Iterator<Item = std::io::Result<String>> + use<>) {
    let query = format!("SELECT step FROM {TRAINING}");
    let mut child = shell.spawn(&["--format", "csv", "-c", &query]);
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let is_step = |row: &String| row.parse::<u64>().is_ok_and(|step| step > 0);
    let begun = out.find(|row| row.as_ref().is_ok_and(is_step));
    assert!(begun.is_some(), "steps are reported");
    (child, out)
}

#[test]
fn a_training_that_is_left_says_what_is_kept() {
    let shell = with_run();
    let (child, out) = training(&shell);
    drop(out);
    let said = ended(child);
    said.fails(
        1,
        "train_sae: a reader of all its rows is required, got one that left; the job was cancelled at step ",
    );
    assert!(keeps_its_step(&said.err), "{said:?}");
    let file = shell.0.path().join("s/training/s/checkpoint.json");
    assert!(file.exists(), "what is said to be kept is");
    // A statement that reads no more than it needs leaves it, too.
    let first = shell.run(&["-c", &format!("SELECT step FROM {TRAINING} LIMIT 1")]);
    first.fails(1, "got one that left; the job was cancelled at step ");
    assert!(first.err.contains(" is kept, from which "), "{first:?}");
}

#[test]
fn a_training_that_is_interrupted_says_what_is_kept() {
    let shell = with_run();
    let (child, out) = training(&shell);
    interrupt(&child);
    out.for_each(drop);
    let said = ended(child);
    assert_eq!(said.code, Some(130), "{said:?}");
    assert!(
        said.err.starts_with("train_sae: cancelled at step "),
        "{said:?}"
    );
    assert!(keeps_its_step(&said.err), "{said:?}");
}
