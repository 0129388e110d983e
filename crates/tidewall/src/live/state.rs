//! What outlives a restart: templates and sampling tables of NetFlow v9 and IPFIX, a file for each
//! worker; those of workers that are no more go when the others' are written. A thread of its own writes them, so that a slow disk holds up no worker; a file is
//! written beside the old one and takes its place when it is whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::{info, warn};

use super::worker::Memory;

/// Images that may wait to be written.
const QUEUE: usize = 64;
/// Larger files are not read: a full table is a sixth of it.
const LARGEST: u64 = 64 << 20;

/// The folder and its files, where it holds nothing but ours; otherwise nothing.
pub fn belongings(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_ours = name.starts_with("netflow-") || name.starts_with("journal.redb");
        is_ours && path.is_file()
    };
    if files.iter().all(ours) {
        files.into_iter().chain([folder.to_owned()]).collect()
    } else {
        Vec::new()
    }
}

/// What the thread does, in this order.
enum Job {
    /// Writes an image where it belongs.
    Write { path: PathBuf, bytes: Vec<u8> },
    /// Removes files that nobody has any more.
    Remove(Vec<PathBuf>),
    /// Says that all before it is done.
    Tell(Sender<()>),
}

/// The file of one worker.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    queue: SyncSender<Job>,
}

impl StateFile {
    /// Has an image written some time. When the disk is so slow that many wait, this one is left
    /// out, and a newer one follows: false.
    pub fn write(&self, bytes: Vec<u8>) -> bool {
        self.queue.try_send(Job::Write { path: self.path.clone(), bytes }).is_ok()
    }
}

/// The folder and the thread that writes to it.
pub struct State {
    folder: PathBuf,
    queue: SyncSender<Job>,
    thread: JoinHandle<()>,
}

impl State {
    /// Begins to keep files in a folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (queue, jobs) = sync_channel(QUEUE);
        let builder = thread::Builder::new().name("state".to_owned());
        let thread = builder.spawn(move || write_all(&jobs))?;
        Ok(Self { folder: folder.to_owned(), queue, thread })
    }

    /// The file of a worker of an address.
    pub fn file(&self, address: SocketAddr, worker: usize) -> StateFile {
        let (ip, port) = (address.ip(), address.port());
        let path = self.folder.join(format!("netflow-{port}-{ip}-{worker}.templates"));
        StateFile { path, queue: self.queue.clone() }
    }

    /// Waits until what was handed over is written, for at most so long.
    pub fn settle(&self, patience: Duration) {
        let (done, told) = channel();
        if self.queue.try_send(Job::Tell(done)).is_ok() {
            _ = told.recv_timeout(patience);
        }
    }

    /// Files of a port besides these.
    pub fn others<'a>(&self, port: u16, kept: impl Iterator<Item = &'a StateFile>) -> Vec<PathBuf> {
        let kept: BTreeSet<&PathBuf> = kept.map(|file| &file.path).collect();
        self.paths(port).into_iter().filter(|path| !kept.contains(path)).collect()
    }

    /// Has files removed when what was handed over before is written. A file that could not be
    /// written keeps them all.
    pub fn remove(&self, files: Vec<PathBuf>) {
        _ = self.queue.try_send(Job::Remove(files));
    }

    /// What all workers of a port left behind. With another number of workers an exporter belongs
    /// to another one, so each of them takes all.
    pub fn images(&self, port: u16) -> Vec<Memory> {
        let read = |path: PathBuf| match read(&path) {
            Ok(image) => Some(Memory { of: path.display().to_string(), image }),
            Err(reason) => {
                warn!("{}: cannot be read, and is ignored: {reason}", path.display());
                None
            }
        };
        self.paths(port).into_iter().filter_map(read).collect()
    }

    fn paths(&self, port: u16) -> Vec<PathBuf> {
        let prefix = format!("netflow-{port}-");
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&prefix) && name.ends_with(".templates")
        };
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(is_ours).collect();
        paths.sort();
        paths
    }

    /// Waits until all is written.
    pub fn close(self) {
        drop(self.queue);
        _ = self.thread.join();
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let size = fs::metadata(path)?.len();
    if size > LARGEST {
        return Err(io::Error::other(format!("{size} bytes are more than any such file has")));
    }
    fs::read(path)
}

fn write_all(jobs: &Receiver<Job>) {
    // A file that cannot be written is told once, and again once it can be.
    let mut failing: BTreeSet<PathBuf> = BTreeSet::new();
    for job in jobs {
        let (path, bytes) = match job {
            Job::Write { path, bytes } => (path, bytes),
            Job::Remove(files) => {
                if failing.is_empty() {
                    // One that stays is read once more after a restart, and does no harm.
                    for file in files {
                        _ = fs::remove_file(file);
                    }
                }
                continue;
            }
            Job::Tell(done) => {
                // Whoever asked may have lost patience.
                _ = done.send(());
                continue;
            }
        };
        match replace(&path, &bytes) {
            Ok(()) if failing.remove(&path) => info!("{}: is written again", path.display()),
            Ok(()) => {}
            Err(reason) => {
                if failing.insert(path.clone()) {
                    warn!(
                        "{}: cannot be written: {reason}; templates will not be known after a \
                         restart until their exporters send them",
                        path.display()
                    );
                }
            }
        }
    }
}

/// Writes a file so that it is the old one or the new one, whatever happens.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn files_of_a_port_are_found_whatever_the_number_of_workers() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let [one, two, six, other] = addresses();
        state.file(one, 0).write(vec![1]);
        state.file(one, 1).write(vec![2]);
        state.file(one, 1).write(vec![3]);
        state.file(two, 0).write(vec![5]);
        state.file(six, 0).write(vec![6]);
        state.file(other, 0).write(vec![4]);
        state.close();
        let state = State::open(folder.path()).unwrap();
        let found: Vec<Vec<u8>> = state.images(2055).into_iter().map(|m| m.image).collect();
        assert_eq!(found, [vec![1], vec![3], vec![5], vec![6]]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5, "nothing is left beside");
    }

    fn addresses() -> [SocketAddr; 4] {
        ["127.0.0.1:2055", "127.0.0.2:2055", "[::]:2055", "127.0.0.1:20550"]
            .map(|text| text.parse().unwrap())
    }

    #[test]
    fn files_of_nobody_go_when_the_others_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, _, other] = addresses();
        // As versions before had it.
        fs::write(folder.path().join("netflow-2055-1.templates"), [9]).unwrap();
        let state = State::open(folder.path()).unwrap();
        for file in [state.file(one, 0), state.file(one, 1), state.file(two, 0)] {
            file.write(vec![1]);
        }
        state.file(other, 0).write(vec![1]);
        state.close();
        let state = State::open(folder.path()).unwrap();
        let others = state.others(2055, [state.file(one, 0)].iter());
        assert_eq!(others.len(), 3, "{others:?}");
        // What stays cannot be written: nothing goes.
        fs::create_dir(state.file(two, 7).path).unwrap();
        state.file(two, 7).write(vec![2]);
        state.remove(others.clone());
        state.close();
        assert!(others.iter().all(|path| path.exists()));
        let state = State::open(folder.path()).unwrap();
        state.file(one, 0).write(vec![3]);
        state.remove(others);
        state.close();
        let state = State::open(folder.path()).unwrap();
        let others = state.others(2055, [state.file(two, 7)].iter());
        assert_eq!(others, [state.file(one, 0).path]);
        assert_eq!(state.images(20550).len(), 1);
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Lock>);

    #[expect(clippy::disallowed_types, reason = "what a test writes and reads")]
    type Lock = std::sync::Mutex<Vec<u8>>;

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let (queue, images) = sync_channel(QUEUE);
        let image = || Job::Write { path: gone.join("netflow-2055-0.templates"), bytes: vec![1] };
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..3 {
                queue.send(image()).unwrap();
            }
            drop(queue);
            write_all(&images);
            assert_eq!(told(&lines), 1);
            fs::create_dir(&gone).unwrap();
            let (queue, images) = sync_channel(QUEUE);
            queue.send(image()).unwrap();
            drop(queue);
            write_all(&images);
        });
        assert_eq!(told(&lines), 1);
        assert_eq!(fs::read(gone.join("netflow-2055-0.templates")).unwrap(), [1]);
    }

    fn told(lines: &Lines) -> usize {
        let text = lines.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap().matches("cannot be written").count()
    }

    #[test]
    fn a_folder_with_anything_else_in_it_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(belongings(folder.path()), [folder.path()]);
        fs::write(folder.path().join("netflow-2055-0.templates"), [1]).unwrap();
        assert_eq!(belongings(folder.path()).len(), 2);
        fs::create_dir(folder.path().join("else")).unwrap();
        assert!(belongings(folder.path()).is_empty());
    }

    #[test]
    fn a_folder_that_is_gone_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("deeper")).unwrap();
        fs::remove_dir_all(folder.path().join("deeper")).unwrap();
        state.file(addresses()[0], 0).write(vec![1]);
        assert!(state.images(2055).is_empty());
        state.close();
    }
}
