//! Every seed through its target: what the fuzzer once found stays found.

use std::{fs, path::Path};

use fuzz::TARGETS;

#[test]
fn every_seed_is_taken_or_refused() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(name);
        let seeds: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|seed| seed.unwrap().path())
            .collect();
        assert!(!seeds.is_empty(), "{} is empty", folder.display());
        for seed in seeds {
            println!("{}", seed.display());
            target(&fs::read(seed).unwrap());
        }
    }
}
