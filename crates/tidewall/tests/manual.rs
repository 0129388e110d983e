//! The manual and the program say the same.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidewall_model::DropReason;
use tidewall_wire::frame::TunnelKind;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tidewall(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tidewall")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_drop_reason_and_tunnel_is_in_the_manual() {
    let page = fs::read_to_string(project().join("docs/captures.md")).unwrap();
    for reason in DropReason::ALL {
        let row = format!("| `{}` | {} |", reason.name(), reason.sentence());
        assert!(page.contains(&row), "docs/captures.md lacks: {row}");
    }
    for kind in TunnelKind::ALL {
        let name = format!("`{}`", kind.name());
        assert!(page.contains(&name), "docs/captures.md lacks the tunnel {name}");
    }
}

#[test]
fn every_command_and_option_is_in_the_manual() {
    let page = fs::read_to_string(project().join("docs/commands.md")).unwrap();
    let list = tidewall(&["--help"]);
    let commands = list.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let names = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let names =
        names.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next());
    let commands: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(commands.len() > 10, "{list}");
    for command in commands {
        assert!(page.contains(&format!("`tidewall {command}")), "docs/commands.md lacks {command}");
        let help = tidewall(&[command, "--help"]);
        for word in help.split_whitespace() {
            let option = word.trim_end_matches([',', '.', ']']);
            let known = ["--help", "--version"].contains(&option);
            if option.len() > 3 && option.starts_with("--") && !known {
                assert!(page.contains(option), "docs/commands.md lacks {option} of {command}");
            }
        }
    }
}

#[test]
fn man_pages_and_completions_come_out() {
    let dir = tempfile::tempdir().unwrap();
    tidewall(&["man", dir.path().to_str().unwrap()]);
    let page = fs::read_to_string(dir.path().join("tidewall-replay.1")).unwrap();
    assert!(page.starts_with(".ie") || page.contains(".TH tidewall-replay 1"));
    assert!(page.contains("fail\\-on\\-attack"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(tidewall(&["completions", shell]).contains("fail-on-attack"), "{shell}");
    }
}
