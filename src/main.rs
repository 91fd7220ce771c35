//! The `polysema` program: everything is in the library's shell.

fn main() -> std::process::ExitCode {
    polysema::shell::main()
}
