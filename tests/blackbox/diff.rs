//! `segue diff` and what its exit status says.

use std::process::Output;

use crate::support::{Run, socket};

const FARM: &str = "[site.'*']\nto = 'farm'\n[pool.farm]\nservers = ['127.0.0.1:1', '127.0.0.1:2']\n";

fn diff(run: &Run) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = run.segue(&["diff"]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn diff_tells_what_a_reload_would_change() {
    let run = Run::new(FARM).socket("http", socket().0).variable("SEGUE_LOG_SLOW", "3s");
    let worker = run.path("worker");
    std::fs::copy(env!("CARGO_BIN_EXE_segue"), &worker).expect("copy");
    let run = run.argument(format!("--worker-binary={}", worker.display()));
    assert_eq!(diff(&run).0, Some(2), "nobody runs");
    let service = run.start();
    let nothing = "no difference: a reload would leave generation 1 as it is\n".to_owned();
    assert_eq!(diff(&run), (Some(0), nothing, String::new()));
    run.configure(&FARM.replace("'127.0.0.1:2'", "'127.0.0.1:3'").replace("[pool.farm]", "[pool.farm]\nretries = 1"));
    let lines = "pool.farm.retries: 3 → 1\npool.farm: server 127.0.0.1:3 added\npool.farm: server 127.0.0.1:2 removed\n\
                 3 differences to generation 1, which serves\n";
    assert_eq!(diff(&run), (Some(1), lines.to_owned(), String::new()));
    service.reload_well();
    assert_eq!(diff(&run).0, Some(0), "it was applied");
    let other = run.path("other");
    std::fs::copy(env!("CARGO_BIN_EXE_segue"), &other).expect("copy");
    std::fs::rename(other, &worker).expect("rename");
    let (status, text, _) = diff(&run);
    assert!(status == Some(1) && text.contains("program: another one is installed than generation 2 runs"), "{text}");
    run.configure("colour = 1\nflavour = 2\n");
    let (status, text, problems) = diff(&run);
    assert_eq!((status, text.as_str()), (Some(78), ""));
    assert!(problems.contains("colour") && problems.contains("flavour"), "{problems}");
}
