//! The crates depend on each other one way: linalg ← autograd ← models ← train ← cli; testkit is for tests only.

use std::process::Command;

use serde_json::Value;

/// Crate → crates it may use.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("loract-linalg", &[]),
    ("loract-autograd", &["loract-linalg"]),
    ("loract-models", &["loract-autograd"]),
    ("loract-train", &["loract-models", "loract-autograd"]),
    ("loract", &["loract-train", "loract-models", "loract-autograd", "loract-linalg"]),
    ("loract-testkit", &[]),
];

#[test]
fn dependencies_go_one_way() -> Result<(), Box<dyn std::error::Error>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("packages")?;
    assert_eq!(packages.len(), MAY_USE.len(), "a crate was added: give it a place in MAY_USE");
    for package in packages {
        let name = package["name"].as_str().ok_or("a name")?;
        let (_, may_use) = MAY_USE.iter().find(|(n, _)| *n == name).ok_or_else(|| format!("unknown crate {name}"))?;
        for dependency in package["dependencies"].as_array().ok_or("dependencies")? {
            let used = dependency["name"].as_str().ok_or("a name")?;
            if used.starts_with("loract") {
                let allowed = match dependency["kind"].as_str() {
                    Some("dev") => used == "loract-testkit" || may_use.contains(&used),
                    _ => may_use.contains(&used),
                };
                assert!(allowed, "{name} must not use {used}");
            }
        }
    }
    Ok(())
}
