//! FastNetMon's configuration files: any text gives a policy or an explanation, and the TOML that
//! it stands for gives the same policy. A line `---` parts the configuration from its lists.

#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tidewall::config::{self, Style, fastnetmon};

const CONF: &str = "/etc/fastnetmon.conf";

fuzz_target!(|text: &str| {
    let mut parts = text.split("\n---\n");
    let conf = parts.next().unwrap_or_default();
    let lists: Vec<&str> = parts.collect();
    let read = |path: &Path| {
        let list = match path.file_name().and_then(|name| name.to_str()) {
            Some("networks_list") => lists.first(),
            Some("networks_whitelist") => lists.get(1),
            Some("whitelist_rules") => lists.get(2),
            _ => None,
        };
        let list = list.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(list.as_bytes().to_vec())
    };
    fastnetmon::is_reference(conf);
    let (conf_path, root) = (Path::new(CONF), Path::new("/"));
    match fastnetmon::parse(conf_path, conf, root, &read) {
        Ok(loaded) => {
            let imported = fastnetmon::import(conf_path, conf, root, &read);
            let (toml, _) = imported.expect("what can be read can be imported");
            let parsed = config::parse("imported.toml", &toml).expect("what is printed is good");
            assert_eq!(parsed.policy, loaded.policy);
        }
        Err(errors) => {
            assert!(!errors.render(Style::Plain).is_empty(), "an error without a word");
        }
    }
});
