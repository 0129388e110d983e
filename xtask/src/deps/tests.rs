//! Invented workspaces against the import table.

use super::*;

/// A workspace with one package and its edges: (name, kind).
fn workspace(package: &str, edges: &[(&str, Option<&str>)]) -> Metadata {
    let dependencies: Vec<_> = edges
        .iter()
        .map(|(name, kind)| serde_json::json!({ "name": name, "kind": kind, "req": "*" }))
        .collect();
    let json = serde_json::json!({
        "packages": [{ "name": package, "dependencies": dependencies, "targets": [] }],
        "version": 1,
    });
    metadata::parse(&json.to_string()).unwrap()
}

fn faults(package: &str, edges: &[(&str, Option<&str>)]) -> Vec<String> {
    import_faults(&workspace(package, edges))
}

#[test]
fn edges_of_the_table_pass_in_every_kind() {
    for row in TABLE {
        for to in row.imports {
            for kind in [None, Some("dev"), Some("build")] {
                assert_eq!(faults(row.package, &[(to, kind)]), Vec::<String>::new());
            }
        }
    }
}

#[test]
fn the_engine_knows_no_wire_format_not_even_in_tests() {
    for kind in [None, Some("dev"), Some("build")] {
        let found = faults(ENGINE, &[(MODEL, None), (WIRE, kind)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("tidewall-engine must not import tidewall-wire"), "{found:?}");
        assert!(found[0].contains("It may import tidewall-model"), "{found:?}");
    }
    assert!(faults(ENGINE, &[(WIRE, Some("dev"))])[0].contains("(dev-dependency)"));
}

#[test]
fn only_the_tests_of_bgp_read_captures() {
    assert!(faults(BGP, &[(WIRE, Some("dev"))]).is_empty());
    for kind in [None, Some("build")] {
        assert!(faults(BGP, &[(WIRE, kind)])[0].contains("tidewall-bgp must not import"));
    }
}

#[test]
fn testkit_is_for_tests_only_and_nothing_imports_the_binary() {
    assert!(faults(WIRE, &[(TESTKIT, Some("dev"))]).is_empty());
    assert!(faults(TIDEWALL, &[(TESTKIT, Some("dev"))]).is_empty());
    assert!(faults(TIDEWALL, &[(TESTKIT, None)])[0].contains("[dev-dependencies]"));
    assert!(faults(CONTROL, &[(TIDEWALL, None)])[0].contains("Nothing imports the binary"));
    assert!(faults(TESTKIT, &[(CAPTURE, None)])[0].contains("must not import tidewall-capture"));
    assert!(faults(XTASK, &[(MODEL, None)])[0].contains("when our crates do not compile"));
}

#[test]
fn pure_crates_use_only_the_external_crates_of_their_list() {
    for package in PURE {
        for external in ["tokio", "socket2", "libc", "chrono", "rand", "serde_json"] {
            assert_eq!(faults(package, &[(external, None)]).len(), 1, "{package} {external}");
            assert_eq!(faults(package, &[(external, Some("build"))]).len(), 1);
        }
        assert_eq!(faults(package, &[("tokio", Some("dev"))]).len(), 1);
        assert!(faults(package, &[("proptest", Some("dev"))]).is_empty());
        assert!(faults(package, &[("thiserror", None)]).is_empty());
    }
    assert!(faults(TIDEWALL, &[("tokio", None), ("anyhow", None)]).is_empty());
}

#[test]
fn an_unknown_member_and_edges_to_it_are_refused() {
    assert!(faults("tidewall-utils", &[])[0].contains("not in the import table"));
    let json = serde_json::json!({ "packages": [
        { "name": "tidewall-utils", "dependencies": [], "targets": [] },
        { "name": SINKS, "targets": [], "dependencies": [{ "name": "tidewall-utils", "kind": null }] },
    ]});
    let found = import_faults(&metadata::parse(&json.to_string()).unwrap());
    assert_eq!(found.len(), 2);
    assert!(found[1].contains("tidewall-sinks must not import tidewall-utils"), "{found:?}");
}

#[test]
fn every_row_imports_only_downwards() {
    for row in TABLE.iter().filter(|row| PURE.contains(&row.package)) {
        assert!(row.imports.iter().all(|to| PURE.contains(to)), "{} imports an edge", row.package);
        assert!(row.external.is_some() && !row.may_be_unsafe);
    }
    for (at, row) in TABLE.iter().enumerate() {
        for to in row.imports {
            let below = TABLE.iter().position(|r| r.package == *to).unwrap();
            assert!(below < at, "{} imports {to}, which stands below it", row.package);
        }
    }
}

#[test]
fn unsafe_code_must_be_forbidden_by_an_attribute_not_by_a_comment() {
    let package = workspace(MODEL, &[]).packages.remove(0);
    let good = "//! Head.\n\n#![forbid(unsafe_code)]\n";
    assert_eq!(unsafe_fault(&package, "tidewall_model", good), None);
    for bad in ["//! Head.\n", "// #![forbid(unsafe_code)]\n", "#![deny(unsafe_code)]\n"] {
        let fault = unsafe_fault(&package, "tidewall_model", bad).unwrap();
        assert!(fault.contains("tidewall-model (tidewall_model) does not forbid"), "{fault}");
    }
}
