//! Writes the files that fuzzing starts from: `cargo run --example seeds -- CORPUS`, a folder in it for each target.

use std::path::Path;

use loract_fuzz::{checkpoint, picture, seeds};

fn main() -> std::io::Result<()> {
    let corpus = std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    for (target, inputs) in [
        ("safetensors", seeds::for_safetensors()),
        ("gguf", seeds::for_gguf()),
        ("data", seeds::for_data()),
        ("checkpoint", checkpoint::seeds()),
        ("picture", picture::seeds()?),
    ] {
        let folder = Path::new(&corpus).join(target);
        std::fs::create_dir_all(&folder)?;
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), input)?;
        }
        println!("{}: {} files", folder.display(), inputs.len());
    }
    Ok(())
}
