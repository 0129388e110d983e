//! Every capture of the corpus, against the number of frames that other tools count in it. The
//! corpus is not part of the project: without it the test says so and passes.

use std::path::PathBuf;

use super::*;

/// Captures that do not end between two records, with the offset where reading stops and why.
const CUT_SHORT: [(&str, u64, &str); 1] = [(
    "pcap/ndpi__fuzz-2021-10-13.pcap",
    237,
    "made by a fuzzer: one packet of version 2.0, then two stray bytes",
)];

fn corpus() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let folder = std::env::var_os("TIDEWALL_CORPUS").map_or_else(default, PathBuf::from);
    folder.join("MANIFEST.csv").is_file().then_some(folder)
}

/// Splits a line of the manifest; quotes enclose fields with commas.
fn fields(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .collect()
}

#[test]
fn every_capture_of_the_corpus_has_the_frames_that_other_tools_count() {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus at ../shared/corpus or $TIDEWALL_CORPUS");
        return;
    };
    let manifest = std::fs::read_to_string(corpus.join("MANIFEST.csv")).unwrap();
    let mut lines = manifest.lines();
    let columns = fields(lines.next().unwrap());
    let column = |name| columns.iter().position(|&column| column == name).unwrap();
    let (path, frames) = (column("path"), column("frames"));
    let (mut files, mut differences) = (0, Vec::new());
    for line in lines {
        let line = fields(line);
        let (path, frames) = (line[path], line[frames].parse::<usize>().unwrap());
        let (packets, ending) = read(&std::fs::read(corpus.join(path)).unwrap());
        let stops = ending.map(|truncated| truncated.map(|truncated| truncated.offset));
        let cut = CUT_SHORT.iter().find(|(name, ..)| *name == path).map(|&(_, offset, _)| offset);
        if packets.len() != frames || stops != Ok(cut) {
            differences.push(format!("{path}: {} of {frames}, {stops:?}", packets.len()));
        }
        files += 1;
    }
    assert!(files > 500, "{files} files");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
