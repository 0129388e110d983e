//! Invented files against the tree's checks.

use super::*;

#[test]
fn long_files_are_refused_where_length_matters() {
    let long = "x\n".repeat(LONGEST_FILE + 1);
    assert_eq!(text_faults("crates/a/src/b.rs", &long).len(), 1);
    assert_eq!(text_faults("crates/a/tests/data.csv", &long).len(), 0);
    assert_eq!(text_faults("crates/a/src/b.rs", &"x\n".repeat(LONGEST_FILE)).len(), 0);
    let architecture = "x\n".repeat(LONGEST_ARCHITECTURE + 1);
    assert_eq!(text_faults("ARCHITECTURE.md", &architecture).len(), 1);
    assert_eq!(text_faults("README.md", &architecture).len(), 0);
}

#[test]
fn paths_of_one_machine_and_registry_hosts_are_refused_with_their_line() {
    for word in MACHINE_PATHS.iter().chain(REGISTRY_HOSTS) {
        let faults = text_faults("a.txt", &format!("fine\nsee \"{word}x\"\n"));
        assert_eq!(faults.len(), 1, "{word}");
        assert!(faults[0].starts_with(&format!("a.txt:2 holds {word}")), "{faults:?}");
        assert!(text_faults("fuzz/Cargo.lock", word).is_empty());
    }
}

#[test]
fn the_same_words_inside_a_relative_path_are_fine() {
    let path = MACHINE_PATHS[0];
    assert!(foreign_words(&format!("crates/net{path}mod.rs and ..{path}x")).is_empty());
    assert_eq!(foreign_words(&format!("(cd {path}main)")), [path]);
}

#[test]
fn a_document_may_only_name_what_exists() {
    let read = |path: &str| (path == "crates/a/b.rs").then(|| "fn holds() {}".to_owned());
    let text = "`crates/a/b.rs`, `crates/a/b.rs::holds`, `crates/<name>/b.rs`, `cargo run`";
    assert!(dead_names("A.md", text, read).is_empty());
    let text = "`crates/a/c.rs` and `crates/a/b.rs::hold`";
    assert_eq!(
        dead_names("A.md", text, read),
        [
            "A.md names crates/a/c.rs, which does not exist",
            "A.md names the test hold, which crates/a/b.rs does not have",
        ]
    );
}
