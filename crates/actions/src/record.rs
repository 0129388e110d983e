//! Attack files: the report under the reference's names, the JSON document, and the captured frames
//! as pcap. Files appear whole or not at all, the oldest give way to new ones, and a full disk is
//! an error that is tried again.

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tidewall_model::Direction;

use crate::report_text::{Generation, Style};
use crate::{
    Action, ActionError, ActionEvent, ActionKind, Applying, CapturedFrame, ConfigError, report_json,
};

/// Longest name of a target within a file's name, in bytes.
const MAX_TARGET: usize = 120;
/// Ends of a stem: of the document of an outgoing attack, and of a capture when the other direction
/// has taken the plain name, which is the reference's.
const DIRECTIONS: [&str; 2] = ["_outgoing", "_incoming"];
/// Reports are added to a file of this many bytes at most; a larger one is begun anew.
const MAX_REPORT: u64 = 1 << 20;
/// Endings of our files: others in the same folder are left alone.
const ENDINGS: [&str; 3] = ["txt", "json", "pcap"];
/// Frames of a pcap file are cut at this length in bytes, as the reference cut them.
const SNAP_LENGTH: usize = 1500;

/// Settings of the attack files.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name in status and logs.
    pub name: String,
    /// Where they are written.
    pub folder: PathBuf,
    /// How reports are written.
    pub style: Style,
    /// Also the JSON document, which is kept up to date until the attack and the ban are over.
    pub json: bool,
    /// Also the frames of the attack, where there are any.
    pub pcap: bool,
    /// Files of ours in the folder at most.
    pub max_files: usize,
    /// Bytes of all of them at most.
    pub max_bytes: u64,
}

impl Config {
    /// Attack files in a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            name: "record".to_owned(),
            folder: folder.into(),
            style: Style::default(),
            json: true,
            pcap: true,
            max_files: 30_000,
            max_bytes: 1 << 30,
        }
    }
}

/// The attack files.
#[derive(Debug)]
pub struct Record(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    config: Config,
    /// What has been written since the folder was last counted: files, and bytes.
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Record {
    /// Makes the folder if need be.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let wrong = |field, message: &dyn std::fmt::Display| {
            Err(ConfigError::new(&config.name, field, message.to_string()))
        };
        if config.max_files < 8 || config.max_bytes < 1 << 16 {
            return wrong("max_files", &"at least 8 files and 65536 bytes must be allowed");
        }
        if let Err(error) = fs::create_dir_all(&config.folder) {
            return wrong("folder", &format!("{}: {error}", config.folder.display()));
        }
        // Count the folder before the first file.
        let (files, bytes) = (AtomicU64::new(u64::MAX / 2), AtomicU64::new(0));
        Ok(Self(Arc::new(Folder { config, files, bytes })))
    }
}

impl Action for Record {
    fn name(&self) -> &str {
        &self.0.config.name
    }

    fn wants(&self, event: &ActionEvent) -> bool {
        let config = &self.0.config;
        config.json || event.kind == ActionKind::Banned || (config.pcap && !event.frames.is_empty())
    }

    fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a> {
        let (folder, event) = (Arc::clone(&self.0), event.clone());
        Box::pin(async move {
            // A disk may hang: never on the thread that serves the queues.
            let written = tokio::task::spawn_blocking(move || folder.write(&event)).await;
            written.unwrap_or_else(|_| Err(ActionError::permanent("writing panicked")))
        })
    }
}

impl Folder {
    fn write(&self, event: &ActionEvent) -> Result<(), ActionError> {
        let config = &self.config;
        self.make_room().map_err(|error| explain(&config.folder, &error))?;
        let stem = self.stem(event);
        if event.kind == ActionKind::Banned {
            self.write_report(&format!("{stem}.txt"), &self.text(event))?;
        }
        let [outgoing, incoming] = DIRECTIONS;
        let is_outgoing = event.attack.direction == Direction::Outgoing;
        if config.pcap && !event.frames.is_empty() {
            let direction = if is_outgoing { outgoing } else { incoming };
            self.write_capture(&stem, direction, &pcap(&event.frames))?;
        }
        if event.kind == ActionKind::Updated && !event.frames.is_empty() {
            // The capture of a ban, which comes after it: the document may be newer.
            return Ok(());
        }
        if config.json {
            let json = report_json::to_json(event, &config.style) + "\n";
            let direction = if is_outgoing { outgoing } else { "" };
            self.write_file(&format!("{stem}{direction}.json"), 0o644, json.as_bytes())?;
        }
        Ok(())
    }

    /// `<ip>_<dd_mm_yy_HH:MM:SS>`: the local time of detection. What is no address, prefix or plain
    /// word of a group's name becomes a line below.
    fn stem(&self, event: &ActionEvent) -> String {
        let style = &self.config.style;
        let plain = |c: char| if c.is_ascii_alphanumeric() || ".:-".contains(c) { c } else { '_' };
        let target = style.target(&event.attack.target);
        let mut target: String = target.chars().map(plain).take(MAX_TARGET).collect();
        if target.starts_with('.') {
            // Never a hidden file, nor the folder above.
            target.insert(0, '_');
        }
        format!("{target}_{}", style.zone.file_stamp(event.attack.detected))
    }

    /// The report and two line ends; in the generation 1.2.4 then the details and two line ends.
    fn text(&self, event: &ActionEvent) -> String {
        let style = &self.config.style;
        let mut text = style.report(event) + "\n\n";
        if style.generation == Generation::V1_2_4 && !event.attack.samples.is_empty() {
            text += &(style.details(event) + "\n\n");
        }
        text
    }

    /// Adds to what another attack of the same second has left there, as the reference does.
    fn write_report(&self, name: &str, text: &str) -> Result<(), ActionError> {
        let path = self.config.folder.join(name);
        let before = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= MAX_REPORT => fs::read(&path).unwrap_or_default(),
            _ => Vec::new(),
        };
        // An event that is tried again has left its text already.
        if before.ends_with(text.as_bytes()) {
            return Ok(());
        }
        self.write_file(name, 0o644, &[before.as_slice(), text.as_bytes()].concat())
    }

    /// A host may attack and be attacked in the same second: who comes first has the plain name.
    fn write_capture(&self, stem: &str, direction: &str, bytes: &[u8]) -> Result<(), ActionError> {
        let plain = format!("{stem}.pcap");
        let there = fs::read(self.config.folder.join(&plain));
        // An event that is tried again finds what it has left.
        let is_free = there.map_or(true, |there| there == bytes);
        let name = if is_free { plain } else { format!("{stem}{direction}.pcap") };
        self.write_file(&name, 0o600, bytes)
    }

    /// Writes beside the file, then puts it in its place: a reader never sees half of it.
    fn write_file(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), ActionError> {
        let path = self.config.folder.join(name);
        let beside = self.config.folder.join(format!(".{name}.new"));
        let written = (|| {
            let mut options = OpenOptions::new();
            let mut file: File =
                options.write(true).create(true).truncate(true).mode(mode).open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        })();
        if written.is_err() {
            // Half a file helps nobody and holds space that is short.
            _ = fs::remove_file(&beside);
        }
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        written.map_err(|error| explain(&path, &error))
    }

    /// When more may be there than is allowed: counts, and removes the oldest down to nine tenths.
    fn make_room(&self) -> io::Result<()> {
        let (max_files, max_bytes) = (self.config.max_files as u64, self.config.max_bytes);
        let (files, bytes) = (&self.files, &self.bytes);
        let within = |files: u64, bytes: u64| files < max_files && bytes < max_bytes;
        if within(files.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let mut found = self.found()?;
        let mut sum: u64 = found.iter().map(|(_, _, length)| length).sum();
        let mut left = found.len() as u64;
        if !within(left, sum) {
            found.sort();
            for (_, path, length) in &found {
                if left <= max_files * 9 / 10 && sum <= max_bytes / 10 * 9 {
                    break;
                }
                fs::remove_file(path)?;
                (left, sum) = (left - 1, sum - length);
            }
        }
        files.store(left, Ordering::Relaxed);
        bytes.store(sum, Ordering::Relaxed);
        Ok(())
    }

    /// Our files with their age and length.
    fn found(&self) -> io::Result<Vec<(SystemTime, PathBuf, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.config.folder)? {
            let path = entry?.path();
            let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
            // A file that has just gone is none of ours.
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if ENDINGS.contains(&ending) && metadata.is_file() && is_stamped(&path) {
                found.push((metadata.modified()?, path, metadata.len()));
            }
        }
        Ok(found)
    }
}

/// Does the name end as our names do, in `_dd_mm_yy_HH:MM:SS`?
fn is_stamped(path: &Path) -> bool {
    let shape = b"_00_00_00_00:00:00";
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let plain = DIRECTIONS.iter().find_map(|direction| stem.strip_suffix(direction));
    let stem = plain.unwrap_or(stem).as_bytes();
    let Some(at) = stem.len().checked_sub(shape.len()) else { return false };
    stem.iter().skip(at).zip(shape).all(|(have, want)| match want {
        b'0' => have.is_ascii_digit(),
        _ => have == want,
    })
}

/// Classic pcap, version 2.4, microseconds, little endian, Ethernet.
fn pcap(frames: &[CapturedFrame]) -> Vec<u8> {
    let mut file = Vec::with_capacity(24 + frames.len() * 128);
    file.extend([0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend((SNAP_LENGTH as u32).to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for frame in frames {
        let kept = &frame.bytes[..frame.bytes.len().min(SNAP_LENGTH)];
        let original = frame.original_length.max(frame.bytes.len() as u32);
        let (seconds, micros) = (frame.time.seconds() as u32, frame.time.subsec_nanos() / 1000);
        for field in [seconds, micros, kept.len() as u32, original] {
            file.extend(field.to_le_bytes());
        }
        file.extend(kept);
    }
    file
}

/// Disks become free and folders come back: all of it may be tried again.
fn explain(path: &Path, error: &io::Error) -> ActionError {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space there or lower max_bytes"
        }
        _ => "",
    };
    ActionError::temporary(format!("cannot write {}: {error}{hint}", path.display()))
}
