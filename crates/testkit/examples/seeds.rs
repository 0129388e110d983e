//! Writes the seeds of the fuzz targets beneath a directory: `seeds fuzz/corpus`.

use std::path::Path;
use std::process::ExitCode;

use tidewall_testkit::seeds;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: seeds DIRECTORY");
        return ExitCode::from(2);
    };
    match seeds::write_all(Path::new(&directory)) {
        Ok(count) => {
            println!("{count} seeds written to {}", Path::new(&directory).display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&directory).display());
            ExitCode::FAILURE
        }
    }
}
