//! A save for which there is no room: the old file stays, and nothing else.
#![cfg(target_os = "linux")]

use std::{collections::BTreeMap, env, fs, process::Command};
use taut::{DType, Device, ErrorKind, Tensor};
use taut_nn::save;

/// Where the child saves; without it, there is nothing to do.
const PATH: &str = "TAUT_TEST_SAVE_TO";

/// Runs in a process whose files may not become long: the same error path as on a full disk, without one.
#[test]
fn child() {
    let Some(path) = env::var_os(PATH) else { return };
    let x = Tensor::zeros([3 << 20], DType::F32, &Device::cpu()).unwrap();
    let error = save(&path, [("x", &x)], &BTreeMap::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Driver);
    assert!(error.to_string().contains("File too large"), "{error}");
}

#[test]
fn a_save_without_room_leaves_the_old_file() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x.safetensors");
    let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu()).unwrap();
    save(&path, [("x", &x)], &BTreeMap::new()).unwrap();
    let old = fs::read(&path).unwrap();

    // Writing beyond the limit would end the process; ignored, it is an error as a full disk is.
    let script = r#"trap "" XFSZ; ulimit -f 8192; exec "$0" --exact child --nocapture"#;
    let mut child = Command::new("sh");
    child.args(["-c", script]).arg(env::current_exe().unwrap()).env(PATH, &path);
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    assert_eq!(fs::read(&path).unwrap(), old);
    let names: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["x.safetensors"]);
}
