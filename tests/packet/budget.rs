//! What the verifier thinks of every program: that it accepts them, and how
//! much of its patience they take. It gives up at a million instructions, and
//! another kernel counts otherwise, so the budget is well below that.

use std::{
    env, fs,
    io::{self, Write as _},
    path::PathBuf,
};

use aya::{EbpfLoader, programs::Program};

/// Instructions that the verifier may walk through in one program.
const BUDGET: u32 = 400_000;

/// A program as the kernel took it.
struct Loaded {
    object: String,
    program: String,
    /// Instructions that the verifier walked through, branch by branch.
    verified: u32,
    /// Bytes of it after the verifier's changes.
    translated: u32,
    /// Bytes of machine code.
    jited: u32,
}

/// The programs as they are embedded, and all that was built beside them.
fn objects() -> Vec<(String, Vec<u8>)> {
    assert!(
        lb_userspace::object::is_embedded(),
        "built without the kernel program: run `cargo xtask test`"
    );
    let mut objects = [lb_userspace::object::OBJECT, lb_userspace::object::DECAP]
        .map(|object| ("(embedded)".to_owned(), object.to_vec()))
        .to_vec();
    let Some(dir) = env::var_os("EBB_BPF_DIR").map(PathBuf::from) else {
        return objects;
    };
    let mut files: Vec<PathBuf> = fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("cannot list {}: {e}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    for file in files {
        let content = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        // Cargo leaves other files beside them.
        if content.starts_with(b"\x7fELF") {
            let name = file.file_name().expect("a name").to_string_lossy();
            objects.push((name.into_owned(), content));
        }
    }
    objects
}

fn load(name: &str, object: &[u8]) -> Vec<Loaded> {
    let mut loader = EbpfLoader::new();
    // As the agent loads it, unless it is told otherwise.
    loader.override_global(aya_log::LEVEL, &0_u8, false);
    // The verifier does not care how big a table is; memory does.
    for table in ["FLOWS_V4", "FLOWS_V6", "HALF_V4", "HALF_V6"] {
        loader.map_max_entries(table, 1024);
    }
    let mut ebpf = loader
        .load(object)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    ebpf.programs_mut()
        .map(|(program_name, program)| {
            let loaded = match program {
                Program::Xdp(program) => program.load().and_then(|()| program.info()),
                Program::SchedClassifier(program) => program.load().and_then(|()| program.info()),
                Program::RawTracePoint(program) => program.load().and_then(|()| program.info()),
                _ => panic!("{name}: {program_name}: say here how it is loaded"),
            };
            let info = loaded.unwrap_or_else(|e| panic!("{name}: {program_name}: {e}"));
            Loaded {
                object: name.to_owned(),
                program: program_name.to_owned(),
                verified: info
                    .verified_instruction_count()
                    .expect("Linux 5.16 or later"),
                translated: info.size_translated().expect("a privileged test"),
                jited: info.size_jitted(),
            }
        })
        .collect()
}

#[test]
fn every_program_is_accepted_within_its_budget() {
    let programs: Vec<Loaded> = objects()
        .iter()
        .flat_map(|(name, object)| load(name, object))
        .collect();
    let mut table = format!(
        "{:<20} {:<20} {:>10} {:>10} {:>11} {:>11}\n",
        "object", "program", "verified", "budget", "xlated, B", "jited, B"
    );
    for Loaded {
        object,
        program,
        verified,
        translated,
        jited,
    } in &programs
    {
        table += &format!(
            "{object:<20} {program:<20} {verified:>10} {BUDGET:>10} {translated:>11} {jited:>11}\n"
        );
    }
    // Not by `print!`, which only a failing test shows.
    write!(io::stdout().lock(), "\n{table}").expect("somebody listens");
    for program in &programs {
        assert!(
            program.verified <= BUDGET,
            "{}: {} takes {} instructions of the verifier, {BUDGET} is its budget",
            program.object,
            program.program,
            program.verified
        );
        assert!(
            program.jited > 0,
            "{}: {} is interpreted: this kernel has no JIT, or it is off",
            program.object,
            program.program
        );
    }
}
