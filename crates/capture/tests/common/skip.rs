//! What a test does that cannot run here.
#![allow(dead_code, reason = "each test file uses its part")]

/// Says that a test is skipped for want of something. Where everything should be there, in
/// continuous integration (`CI` is set), that is a failure.
pub fn skip(test: &str, wants: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{test}: needs {wants}; run `.ci/run` as root, or leave CI unset to skip such tests"
    );
    println!("{test}: skipped: needs {wants}");
}

/// May a test run that needs root and these programs? If not, it is skipped.
pub fn root_with(test: &str, programs: &[&str]) -> bool {
    // The owner of this is the user by whose rights the process acts.
    let owner =
        std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    let missing = programs.iter().find(|name| !folders.iter().any(|f| f.join(name).is_file()));
    match (owner, missing) {
        (Ok(0), None) => return true,
        (Ok(0), Some(name)) => skip(test, &format!("`{name}`")),
        _ => skip(test, "root"),
    }
    false
}
