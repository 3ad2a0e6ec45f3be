//! Generated code, one module a package. `FILE_DESCRIPTOR_SET` is for gRPC reflection.

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
    /// Words that several services share.
    model
);
package!(
    /// The payloads of the log.
    events
);
package!(
    /// Registering and issuing.
    issuer
);
package!(
    /// Losses, holds, standing, status lists.
    revocation
);
package!(
    /// Checking at places.
    verifier
);
package!(
    /// Reading the log afterwards.
    audit
);
