//! `[[record]]`.

use tidewall_actions::{Config, record};

use super::super::listen::Text;
use super::super::table::{Place, Typed, table};
use super::super::value::{Name, within};
use super::{ActionTable, Workshop};

table! {
    /// Files of attacks in a folder, with names and text as FastNetMon writes them.
    struct RecordTable {
        /// Its name in status and logs.
        #[example = "\"attack-files\""]
        name: Name,

        /// The folder: an absolute path. It is made when it is not there.
        #[example = "\"/var/log/tidewall_attacks\""]
        folder: Text,

        /// Also the JSON document, which is kept up to date until attack and ban are over.
        #[default = "true"]
        #[example = "false"]
        json: bool,

        /// Also the frames of the attack, where there are any.
        #[default = "true"]
        #[example = "false"]
        pcap: bool,

        /// Most files of ours in the folder, from 8 to 10000000; the oldest give way.
        #[default = "30_000"]
        #[example = "1000"]
        max_files: u32,

        /// Most bytes of all of them, from 65536 on.
        #[default = "1_073_741_824"]
        #[example = "\"10G\""]
        max_bytes: u64,
    }
}

impl ActionTable for RecordTable {
    fn name(&self) -> Option<&Typed<Name>> {
        self.name.as_ref()
    }

    fn config(&self, at: &Place, workshop: &mut Workshop<'_>) -> Option<Config> {
        let example = "\"/var/log/tidewall_attacks\"";
        let folder = workshop.needed(self.folder.as_ref(), "folder", example, at)?;
        let usual = record::Config::new(&*folder.0);
        if usual.folder.is_relative()
            && let Some(typed) = &self.folder
        {
            let reason = "must be an absolute path: the service's folder is nobody's choice";
            workshop.sink.error(&typed.at, reason);
        }
        let on = |typed: &Option<Typed<bool>>, usual| typed.as_ref().map_or(usual, |t| t.value);
        let files = 8..=10_000_000;
        let words = "8 to 10000000";
        let max_files = usual.max_files as u32;
        let max_files = within(self.max_files.as_ref(), &files, words, max_files, workshop.sink);
        let bytes = 1 << 16..=u64::MAX;
        let (words, max_bytes) = ("65536 on", usual.max_bytes);
        let max_bytes = within(self.max_bytes.as_ref(), &bytes, words, max_bytes, workshop.sink);
        Some(Config::Record(record::Config {
            style: workshop.style.clone(),
            json: on(&self.json, usual.json),
            pcap: on(&self.pcap, usual.pcap),
            max_files: max_files as usize,
            max_bytes,
            ..usual
        }))
    }
}
