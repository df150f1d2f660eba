//! A key in memory: it can't be printed, compared or copied by accident, and is wiped when dropped.

use zeroize::Zeroizing;

pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The only way to the text; for the header that goes to the key's own host.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters, to tell keys apart on a screen; of a short key they would be too much.
    pub fn last_four(&self) -> Option<String> {
        let chars: Vec<char> = self.0.chars().collect();
        (chars.len() >= 12).then(|| chars[chars.len() - 4..].iter().collect())
    }
}
