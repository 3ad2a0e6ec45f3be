//! The fixture of the transparency targets: a log, a witness, and everything that they ever signed.

use std::sync::LazyLock;

use citycode_transparency::leaf::{CommitSecret, LeafPosition, Opening, parts};
use citycode_transparency::statement::{Act, Cause, CodeStatement};
use citycode_transparency::tile::{MemoryTiles, TileReader, TileWriter};
use citycode_transparency::{
    Checkpoint, Hash, KeyKind, LogProof, NoteSigner, SignedCheckpoint, TreeHead, TrustPolicy, leaf_hash,
};

/// The name of the log.
pub const ORIGIN: &str = "city.example/log/00";
/// The number of the opened leaf.
pub const INDEX: u64 = 6;
/// The sizes of the trees that the log signed, in order.
pub const SIZES: [u64; 4] = [0, 5, 8, 13];
/// When the witness signed.
pub const NOW: u64 = 1_790_000_000;

/// The log's key.
pub static LOG: LazyLock<NoteSigner> = LazyLock::new(|| signer(ORIGIN, KeyKind::Log, 1));
/// The witness's key.
pub static WITNESS: LazyLock<NoteSigner> = LazyLock::new(|| signer("witness.example/w1", KeyKind::Witness, 2));
/// A reader that demands the witness.
pub static POLICY: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let keys = |signer: &NoteSigner| vec![signer.verifier().clone()];
    TrustPolicy::new(keys(&LOG), keys(&WITNESS), 1).expect("two keys")
});
/// The death whose leaf is number [`INDEX`].
pub static OPENING: LazyLock<Opening> = LazyLock::new(opening);
/// The leaves of the largest tree.
pub static LEAVES: LazyLock<Vec<Hash>> = LazyLock::new(|| {
    let mut leaves: Vec<Hash> = (0..SIZES[3]).map(|number| leaf_hash(&number.to_be_bytes())).collect();
    leaves[6] = OPENING.leaf_hash();
    leaves
});

fn signer(name: &str, kind: KeyKind, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(name, kind, &[seed; 32]).expect("a sound name")
}

fn opening() -> Opening {
    let death = CodeStatement {
        code_id: [5; 8],
        act: Act::Died {
            cause: Cause::ReportedLost,
            at: 1_790_000_000,
        },
    };
    let position = LeafPosition {
        partition: 0,
        sequence: 7,
        event: 0,
        events: 1,
    };
    let parts = parts("CodeReportedLost", 1, b"payload", vec![death.to_bytes()]);
    Opening::new(&CommitSecret([9; 32]), &position, &parts, 1).expect("it has that part")
}

/// The tiles of the tree with the first leaves.
///
/// # Panics
/// If the tree is larger than [`LEAVES`].
#[must_use]
pub fn tiles(size: u64) -> TileReader<MemoryTiles> {
    let size = usize::try_from(size).expect("a small tree");
    let mut writer = TileWriter::open(MemoryTiles::default()).expect("an empty store");
    writer.append(&LEAVES[..size]).expect("memory does not fail");
    let head = writer.commit().expect("memory does not fail");
    TileReader::open(writer.store().clone(), head).expect("its own tiles")
}

/// The checkpoint of a tree, cosigned.
///
/// # Panics
/// If the tree is larger than [`LEAVES`].
#[must_use]
pub fn checkpoint(head: TreeHead) -> SignedCheckpoint {
    let checkpoint = Checkpoint::new(ORIGIN, head).expect("a sound checkpoint");
    let mut signed = checkpoint.sign(&LOG).expect("a sound checkpoint");
    let cosignature = WITNESS.sign(signed.note().text(), NOW);
    signed.add([cosignature]).expect("two signatures");
    signed
}

/// The proof of the death in the largest tree.
///
/// # Panics
/// Never.
#[must_use]
pub fn proof() -> LogProof {
    let mut tiles = tiles(SIZES[3]);
    LogProof {
        extra: OPENING.to_bytes(),
        index: INDEX,
        hashes: tiles.inclusion_proof(INDEX).expect("it is in the tree"),
        checkpoint: checkpoint(tiles.head()),
    }
}
