//! Generated code, one module per package. `FILE_DESCRIPTOR_SET` is for gRPC reflection.

/// All packages, with imports and comments, as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/citycode.binpb"));

macro_rules! package {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub mod $name {
            /// Version 1.
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/citycode.", stringify!($name), ".v1.rs"));
            }
        }
    };
}

package!(
    /// Types shared by several services.
    model
);
/// The payloads of the log.
pub mod events {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/citycode.events.v1.rs"));
    }
    /// Version 2, used only if the log's manifest requires readers of version 2.
    pub mod v2 {
        include!(concat!(env!("OUT_DIR"), "/citycode.events.v2.rs"));
    }
    /// Version 3, used only if the log's manifest requires readers of version 3.
    pub mod v3 {
        include!(concat!(env!("OUT_DIR"), "/citycode.events.v3.rs"));
    }
}
package!(
    /// Registering and issuing.
    #[expect(clippy::allow_attributes, reason = "the stub generator writes them")]
    #[expect(
        clippy::too_many_lines,
        reason = "the generator routes all methods in one function"
    )]
    issuer
);
package!(
    /// Losses, holds, standing, status lists.
    #[expect(clippy::allow_attributes, reason = "the stub generator writes them")]
    #[expect(
        clippy::too_many_lines,
        reason = "the generator routes all methods in one function"
    )]
    revocation
);
package!(
    /// Checking codes at places.
    #[expect(clippy::allow_attributes, reason = "the stub generator writes them")]
    #[expect(
        clippy::too_many_lines,
        reason = "the generator routes all methods in one function"
    )]
    verifier
);
package!(
    /// Reading the history in the log.
    #[expect(clippy::allow_attributes, reason = "the stub generator writes them")]
    #[expect(
        clippy::too_many_lines,
        reason = "the generator routes all methods in one function"
    )]
    audit
);
