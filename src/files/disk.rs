//! Every change to the disk that has to last, one function each, and reading without following links: what a store
//! or a folder holds may come from anyone. Tests make any one change fail.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use datafusion::error::Result;
use memmap2::Mmap;

use super::file_error;
use super::regular::{self, Links};

/// Most bytes of a file that is read whole, as manifests are.
const MOST_BYTES: u64 = 1 << 30;

#[cfg(not(test))]
fn step<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    act()
}

#[cfg(test)]
use super::faults::{self, step};

/// A file that is being written.
#[derive(Debug)]
pub struct DiskFile(File);

impl DiskFile {
    /// A device that is always full, say.
    #[cfg(test)]
    pub(crate) fn of(file: File) -> Self {
        Self(file)
    }

    /// Waits until it is on disk; its size in bytes.
    pub fn sync(&self) -> io::Result<u64> {
        step(|| self.0.sync_all())?;
        Ok(self.0.metadata()?.len())
    }

    /// Holds it alone; whether nobody else holds it.
    pub(super) fn lock(&self) -> bool {
        !matches!(self.0.try_lock(), Err(TryLockError::WouldBlock))
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        step(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A new file.
pub fn create_new(path: &Path) -> io::Result<DiskFile> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true);
    step(|| options.open(path)).map(DiskFile)
}

/// A new file that nobody else may read, where the system knows who may.
#[cfg(feature = "serve")]
pub fn create_new_private(path: &Path) -> io::Result<DiskFile> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    step(|| options.open(path)).map(DiskFile)
}

/// A file anew, of which nothing is kept if there is one.
pub fn create_or_clear(path: &Path) -> io::Result<DiskFile> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    step(|| options.open(path)).map(DiskFile)
}

/// A file to write on at its end; a link is refused.
pub fn open_to_append(path: &Path) -> io::Result<DiskFile> {
    open(path)?;
    let mut options = OpenOptions::new();
    step(|| options.append(true).open(path)).map(DiskFile)
}

/// A new folder in one that exists.
pub fn create_folder(path: &Path) -> io::Result<()> {
    step(|| fs::create_dir(path))
}

/// The missing folders of a path, each on disk before the next is made.
pub fn create_folders(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    create_folders(parent)?;
    match create_folder(path) {
        // Made by someone else meanwhile.
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync(parent),
    }
}

/// Waits until a file, or the names in a folder, are on disk.
pub fn sync(path: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let path = if path.as_os_str().is_empty() {
        here
    } else {
        path
    };
    match path.is_dir() && !cfg!(unix) {
        true => Ok(()),
        false => step(|| File::open(path)?.sync_all()),
    }
}

/// Waits until everything below a folder is on disk, with all else of its file system.
#[cfg(target_os = "linux")]
pub fn sync_below(folder: &Path) -> io::Result<()> {
    step(|| Ok(rustix::fs::syncfs(File::open(folder)?)?))
}

/// Waits until everything below a folder is on disk.
#[cfg(not(target_os = "linux"))]
pub fn sync_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match is_folder(&path)? {
            true => sync_below(&path)?,
            false => sync(&path)?,
        }
    }
    sync(folder)
}

/// Gives a file or folder another name; a file takes the place of a file.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step(|| fs::rename(from, to))
}

/// Two folders, each under the other's name, in one step; `Unsupported` where the system has none.
pub fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    #[cfg(test)]
    if faults::without_exchange() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        let exchanged = step(|| Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?));
        exchanged.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOSYS | Errno::INVAL | Errno::NOTSUP) => io::ErrorKind::Unsupported.into(),
            _ => error,
        })
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        let _ = (a, b);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Removes a file, or a link and not what it points to.
pub fn remove_file(path: &Path) -> io::Result<()> {
    step(|| fs::remove_file(path))
}

/// Removes an empty folder.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    step(|| fs::remove_dir(path))
}

/// Removes a folder with what is in it, or a link and not what it points to.
pub fn remove_all(path: &Path) -> io::Result<()> {
    match is_folder(path)? {
        true => step(|| fs::remove_dir_all(path)),
        false => remove_file(path),
    }
}

/// A second name of a file, or a copy where the disk has no such names.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    if step(|| fs::hard_link(from, to)).is_err() {
        io::copy(&mut open(from)?, &mut create_new(to)?)?;
        sync(to)?;
    }
    Ok(())
}

/// A link in a folder to a file, by the way to it from there; a second name of it where the system has no links.
pub fn point(link: &Path, way: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        step(|| std::os::unix::fs::symlink(way, link))
    }
    #[cfg(not(unix))]
    {
        self::link(&link.parent().unwrap_or(Path::new("")).join(way), link)
    }
}

/// Whether there is a folder of this name, which a link to one is not.
pub fn is_folder(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Refuses a path that exists and is no folder, a link to one among them.
pub fn require_folder(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => Err(file_error(
            "open",
            path,
            format_args!(
                "a folder is required, got {}",
                regular::kind(found.file_type())
            ),
        )),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(file_error("open", path, error))
        }
        _ => Ok(()),
    }
}

/// Opens a file that is no link, folder, device or pipe.
pub fn open(path: &Path) -> io::Result<File> {
    regular::open_as(path, Links::Refused)
}

/// All of a file, mapped.
///
/// # Safety
/// Nobody changes or cuts it while it is mapped, or what becomes of that is known to the caller.
pub unsafe fn map(file: &File) -> io::Result<Mmap> {
    #[cfg(test)]
    faults::mapping()?;
    // SAFETY: as the caller says.
    unsafe { Mmap::map(file) }
}

/// Opens a file to lock it, made if it is missing; a link is refused.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match open(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => options.create(true).truncate(false),
    };
    let file = step(|| options.open(path))?;
    Ok(file)
}

/// The bytes of a file that is no link, folder, device or pipe, and not larger than a manifest can be.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    regular::read_within(open(path)?, MOST_BYTES)
}

/// What is in a folder, in order of names; nothing if there is no such folder.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !is_folder(folder).map_err(|e| file_error("read", folder, e))? {
        return Ok(vec![]);
    }
    let listed = fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut paths = listed.map_err(|e| file_error("read", folder, e))?;
    paths.sort();
    Ok(paths)
}

/// Bytes of the files below a folder; links count as nothing.
pub fn size_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in entries(folder)? {
        let found = fs::symlink_metadata(&path).map_err(|e| file_error("read", &path, e))?;
        bytes += match (found.is_dir(), found.is_file()) {
            (true, _) => size_of(&path)?,
            (_, true) => found.len(),
            _ => 0,
        };
    }
    Ok(bytes)
}

/// Whoever holds one keeps others from holding the same file or folder alone; released when its process ends.
#[derive(Debug)]
pub struct Held {
    file: Option<File>,
}

impl Held {
    /// Whether it is what has this name now.
    #[cfg(unix)]
    pub fn is(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let held = self.file.as_ref().and_then(|file| file.metadata().ok());
        let there = fs::symlink_metadata(path).ok();
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        held.is_some() && held.map(identity) == there.map(identity)
    }

    /// Whether it is what has this name now.
    #[cfg(not(unix))]
    pub fn is(&self, _: &Path) -> bool {
        false
    }
}

/// Holds a file or folder that is no link, alone or with others who do not; `None` if it is held against that.
///
/// Where the system has no locks nobody is kept from anything.
pub fn hold(path: &Path, alone: bool) -> io::Result<Option<Held>> {
    let found = fs::symlink_metadata(path)?.file_type();
    if !found.is_file() && !found.is_dir() {
        let got = regular::kind(found);
        return Err(io::Error::other(format!(
            "a file or folder is required, got {got}"
        )));
    }
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
        opened => opened.ok(),
    };
    let locked = match &file {
        None => Ok(()),
        Some(file) if alone => file.try_lock(),
        Some(file) => file.try_lock_shared(),
    };
    match locked {
        Err(TryLockError::WouldBlock) => Ok(None),
        _ => Ok(Some(Held { file })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_folders_and_pipes_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(read(&file).unwrap(), b"x");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let error = |path: &Path| read(path).unwrap_err().to_string();
        assert_eq!(error(&link), "a file is required, got a symbolic link");
        assert_eq!(error(folder.path()), "a file is required, got a folder");
        let null = Path::new("/dev/null");
        assert_eq!(error(null), "a file is required, got a device or pipe");
        assert!(hold(&link, false).is_err());
        assert!(require_folder(&link).is_err() && require_folder(folder.path()).is_ok());
        remove_all(&link).unwrap();
        assert!(file.exists());
    }

    #[test]
    fn a_sparse_giant_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        File::create(&path).unwrap().set_len(10 << 30).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains("bytes are required, got 10737418240"),
            "{error}"
        );
    }
}
