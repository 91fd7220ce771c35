//! Reading files that someone names: links are followed, as a user means them, and only regular files are opened, since
//! a pipe would wait for ever and a device has no end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a text or configuration that is read whole: rows of text have 32-bit offsets.
pub const MOST_BYTES: u64 = (1 << 31) - 1;

/// Opens a regular file, or a link to one.
pub fn open(path: &Path) -> io::Result<File> {
    require(&fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A pipe that was put in its place since is not waited for.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    }
    let file = options.open(path)?;
    require(&file.metadata()?)?;
    Ok(file)
}

fn require(found: &fs::Metadata) -> io::Result<()> {
    match (found.is_file(), found.is_dir()) {
        (true, _) => Ok(()),
        (_, true) => Err(io::Error::other("a file is required, got a folder")),
        _ => Err(io::Error::other("a file is required, got a device or pipe")),
    }
}

/// All bytes of a regular file of at most [`MOST_BYTES`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_within(path, MOST_BYTES)
}

fn read_within(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = vec![];
    if size <= most {
        bytes.reserve_exact(size as usize);
        // It may have grown since.
        file.take(most + 1).read_to_end(&mut bytes)?;
    }
    let got = size.max(bytes.len() as u64);
    match got > most {
        true => Err(io::Error::other(format!(
            "at most {most} bytes are required, got {got}"
        ))),
        false => Ok(bytes),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_regular_files_and_links_to_them_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), b"abc").unwrap();
        symlink(path("a"), path("link")).unwrap();
        assert_eq!(read(&path("link")).unwrap(), b"abc");
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), 0o600.into()).unwrap();
        symlink(path("pipe"), path("link to a pipe")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        let others = ["pipe", "link to a pipe", "socket"].map(path);
        for other in others
            .iter()
            .map(|path| path.as_path())
            .chain([Path::new("/dev/zero")])
        {
            let error = read(other).unwrap_err().to_string();
            assert_eq!(error, "a file is required, got a device or pipe");
        }
        let error = read(folder.path()).unwrap_err().to_string();
        assert_eq!(error, "a file is required, got a folder");
        assert_eq!(
            read(&path("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn larger_files_are_refused_before_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(10 << 30).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            "at most 2147483647 bytes are required, got 10737418240"
        );
        file.set_len(5).unwrap();
        assert_eq!(read_within(&path, 5).unwrap(), [0; 5]);
        assert!(read_within(&path, 4).is_err());
    }
}
