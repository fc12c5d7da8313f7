//! Secrets that were exposed on purpose, on their way to a file or a key.

use std::ops::Deref;

use zeroize::Zeroizing;

macro_rules! exposed {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $target:ty) => {
        $(#[$doc])*
        ///
        /// Zeroed on drop; no `Debug`, `Display` or `Serialize` of its own.
        pub struct $name(Zeroizing<$inner>);

        impl $name {
            pub(crate) fn new(secret: $inner) -> Self {
                Self(Zeroizing::new(secret))
            }
        }

        impl Deref for $name {
            type Target = $target;
            fn deref(&self) -> &$target {
                &self.0
            }
        }
    };
}

exposed!(
    /// 32 secret bytes.
    ExposedKey,
    [u8; 32],
    [u8; 32]
);
exposed!(
    /// A secret as text.
    ExposedText,
    String,
    str
);
#[cfg(feature = "config")]
exposed!(
    /// Secret bytes of any length.
    ExposedBytes,
    Vec<u8>,
    [u8]
);

impl ExposedText {
    /// The text.
    pub fn as_str(&self) -> &str {
        self
    }
}
