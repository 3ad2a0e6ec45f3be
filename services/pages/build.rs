//! Embeds the built browser files (`web/dist`, listed in its `manifest.json`) into the program.

use std::path::Path;
use std::{env, fs};

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let dist = Path::new(&root).join("web/dist");
    println!("cargo::rerun-if-changed={}", dist.join("manifest.json").display());
    let manifest = fs::read_to_string(dist.join("manifest.json")).expect("web/dist/manifest.json is committed");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("the manifest is JSON");
    let entries = manifest.as_object().expect("the manifest is an object");
    let mut table = String::from("static EMBEDDED: &[Embedded] = &[\n");
    for (name, entry) in entries {
        let file = entry["file"].as_str().expect("an entry names its file");
        let kind = entry["type"].as_str().expect("an entry names its media type");
        let path = dist.join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        table.push_str(&format!(
            "    Embedded {{ name: {name:?}, file: {file:?}, kind: {kind:?}, bytes: include_bytes!({path:?}) }},\n"
        ));
    }
    table.push_str("];\n");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("embedded.rs"), table).expect("the build folder is writable");
}
