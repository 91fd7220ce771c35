//! Opening and reading regular files only: a pipe would wait for ever and a device has no end. What a user names may be
//! a link; what a store or a folder holds may come from anyone, and is not followed out of it.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read, Seek};
use std::path::Path;

/// Most bytes of images that are in memory whole.
pub const MOST_BYTES: u64 = (1 << 31) - 1;

/// Most bytes of a configuration or a tokenizer. Chosen: some ten times the largest that are known.
const MOST_CONFIGURATION: u64 = 1 << 28;

/// Whether a link to a file is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Followed,
    Refused,
}

/// Opens a regular file, or a link to one.
pub fn open(path: &Path) -> io::Result<File> {
    open_as(path, Links::Followed)
}

pub(super) fn open_as(path: &Path, links: Links) -> io::Result<File> {
    let found = match links {
        Links::Followed => fs::metadata(path)?,
        Links::Refused => fs::symlink_metadata(path)?,
    };
    require(found.file_type())?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // What was put in its place since is not waited for, nor followed.
        let flags = match links {
            Links::Followed => OFlags::NONBLOCK,
            Links::Refused => OFlags::NONBLOCK | OFlags::NOFOLLOW,
        };
        options.custom_flags(flags.bits() as i32);
    }
    let file = options.open(path)?;
    let data = file.metadata()?;
    require(data.file_type())?;
    if data.len() < MOST_POINTER {
        refuse_pointer(&file)?;
    }
    Ok(file)
}

/// What stands in a repository for a large file that was not fetched begins so, and is short. (Git LFS, specification 1)
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
const MOST_POINTER: u64 = 1024;

/// Refuses what only stands for the file that was meant.
fn refuse_pointer(mut file: &File) -> io::Result<()> {
    let mut start = vec![];
    file.take(POINTER.len() as u64).read_to_end(&mut start)?;
    match start == POINTER {
        true => Err(io::Error::other(
            "a file with its content is required, got a Git LFS pointer (git lfs pull fetches the content)",
        )),
        false => file.rewind(),
    }
}

fn require(found: FileType) -> io::Result<()> {
    match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "a file is required, got {}",
            kind(found)
        ))),
    }
}

/// What something on the disk is, in words.
pub(super) fn kind(found: FileType) -> &'static str {
    match (found.is_symlink(), found.is_dir(), found.is_file()) {
        (true, _, _) => "a symbolic link",
        (_, true, _) => "a folder",
        (_, _, true) => "a file",
        _ => "a device or pipe",
    }
}

/// What a path is, in words, where that is neither a file nor a folder, nor a link to one.
pub fn device(path: &Path) -> Option<&'static str> {
    let found = fs::metadata(path).ok()?.file_type();
    (!found.is_file() && !found.is_dir()).then(|| kind(found))
}

/// All bytes of a regular file of a size that a configuration or a tokenizer may have.
pub fn read_configuration(path: &Path) -> io::Result<Vec<u8>> {
    read_within(open(path)?, MOST_CONFIGURATION)
}

/// All bytes of a regular file, or of one that a link leads to, that nobody but its owner may read or write.
#[cfg(feature = "serve")]
pub fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(io::Error::other(format!(
                "a file that only its owner may read is required, got mode {mode:04o} (chmod 600 makes it one)"
            )));
        }
    }
    read_within(file, MOST_CONFIGURATION)
}

/// All bytes of a file of at most `most`.
pub(super) fn read_within(file: File, most: u64) -> io::Result<Vec<u8>> {
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

    fn read(path: &Path) -> io::Result<Vec<u8>> {
        read_within(open(path)?, MOST_BYTES)
    }

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
    fn what_stands_for_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea\nsize 3\n";
        fs::write(&path, pointer).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            "a file with its content is required, got a Git LFS pointer (git lfs pull fetches the content)"
        );
        let about = format!("How pointers look:\n{pointer}");
        fs::write(&path, &about).unwrap();
        assert_eq!(read(&path).unwrap(), about.as_bytes());
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
        let within = |most| read_within(open(&path).unwrap(), most);
        assert_eq!(within(5).unwrap(), [0; 5]);
        assert!(within(4).is_err());
    }
}
