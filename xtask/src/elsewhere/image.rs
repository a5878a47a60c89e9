//! The container image, as the Open Container Initiative has it: one layer with the
//! program and nothing else, in an archive that `podman load` and `skopeo` read.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{VERSION, pack, put};
use crate::{build, command::step, workspace};

/// What the agent needs of the host, as `docs/hosts.md` explains it.
const RUN: &str = "podman run --network host --cap-drop all \
                   --cap-add bpf,perfmon,net_admin,net_raw \
                   --security-opt seccomp=unconfined \
                   --volume /sys/fs/bpf:/sys/fs/bpf --volume /etc/ebb:/etc/ebb:ro \
                   --volume /var/lib/ebb:/var/lib/ebb --volume /run/ebb:/run/ebb";

pub(crate) fn run() -> Result<()> {
    println!("{}", build()?.display());
    Ok(())
}

/// The archive, built anew.
pub(crate) fn build() -> Result<PathBuf> {
    let ebb = build::standalone()?;
    let target = workspace::target_dir();
    let dir = target.join("image");
    let archive = target.join(format!("ebb-{VERSION}-oci-{}.tar", env::consts::ARCH));
    step("packing the image", || {
        let root = dir.join("root");
        workspace::make_anew(&root)?;
        put(&ebb, &root.join("usr/bin/ebb"), 0o755)?;
        // Where the host's folders are mounted.
        for place in ["etc/ebb", "run/ebb", "sys/fs/bpf", "tmp", "var/lib/ebb"] {
            let place = root.join(place);
            fs::create_dir_all(&place)
                .with_context(|| format!("cannot create {}", place.display()))?;
        }
        let layer = dir.join("layer.tar");
        pack(&root, ".", &layer, &[])?;
        let layout = Layout::new(dir.join("layout"))?;
        layout.write(&layer)?;
        pack(&layout.dir, ".", &archive, &[])
    })?;
    Ok(archive)
}

/// An image layout: blobs, called by their digests, and an index of them.
struct Layout {
    dir: PathBuf,
}

/// What names a blob.
struct Blob {
    digest: String,
    size: usize,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        let Self { digest, size } = self;
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }
}

impl Layout {
    fn new(dir: PathBuf) -> Result<Self> {
        workspace::make_anew(&dir.join("blobs/sha256"))?;
        Ok(Self { dir })
    }

    fn write(&self, layer: &Path) -> Result<()> {
        let layer = fs::read(layer).with_context(|| format!("cannot read {}", layer.display()))?;
        let layer = self.blob(&layer)?;
        let config = self.blob(config(&layer.digest).to_string().as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
        });
        let manifest = self.blob(manifest.to_string().as_bytes())?;
        let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
        entry["annotations"] =
            json!({ "org.opencontainers.image.ref.name": format!("localhost/ebb:{VERSION}") });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        self.file("index.json", index.to_string().as_bytes())?;
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    fn blob(&self, content: &[u8]) -> Result<Blob> {
        let digest: String = Sha256::digest(content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.file(&format!("blobs/sha256/{digest}"), content)?;
        Ok(Blob {
            digest: format!("sha256:{digest}"),
            size: content.len(),
        })
    }

    fn file(&self, name: &str, content: &[u8]) -> Result<()> {
        let place = self.dir.join(name);
        fs::write(&place, content).with_context(|| format!("cannot write {}", place.display()))
    }
}

/// What a container of the image is. A layer that is not compressed is called by one
/// digest in both places.
fn config(layer: &str) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/ebb"],
            "Cmd": ["agent", "--config", "/etc/ebb/ebb.toml"],
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": "ebb",
                "org.opencontainers.image.description":
                    "A Layer-4 load balancer that lets connections end well",
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
                "run": format!("{RUN} localhost/ebb:{VERSION}"),
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    })
}

/// What containers call the processor.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_told_what_the_agent_is_called_with() {
        let config = config("sha256:00");
        assert_eq!(config["rootfs"]["diff_ids"], json!(["sha256:00"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/ebb"]));
    }
}
