//! Embeds the built browser files (`web/dist`, listed in its `manifest.json`) into the program.

use std::io::Write as _;
use std::path::Path;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let dist = Path::new(&root).join("web/dist");
    println!("cargo::rerun-if-changed={}", dist.join("manifest.json").display());
    let manifest = fs::read_to_string(dist.join("manifest.json")).expect("web/dist/manifest.json is committed");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("the manifest is JSON");
    let entries = manifest.as_object().expect("the manifest is an object");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let mut table = String::from("static EMBEDDED: &[Embedded] = &[\n");
    for (name, entry) in entries {
        let file = entry["file"].as_str().expect("an entry names its file");
        let kind = entry["type"].as_str().expect("an entry names its media type");
        let path = dist.join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        let packed = Path::new(&out).join(format!("{file}.gz"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder
            .write_all(&fs::read(&path).expect("the file of an entry exists"))
            .expect("memory grows");
        fs::write(&packed, encoder.finish().expect("memory grows")).expect("the build folder is writable");
        table.push_str(&format!(
            "    Embedded {{ name: {name:?}, file: {file:?}, kind: {kind:?}, bytes: include_bytes!({path:?}), \
             gzip: include_bytes!({packed:?}) }},\n"
        ));
    }
    table.push_str("];\n");
    fs::write(Path::new(&out).join("embedded.rs"), table).expect("the build folder is writable");
}
