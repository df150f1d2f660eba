//! What an image or a file in base64 comes to, told from the first bytes of it.
//!
//! Source: platform.claude.com, vision: a token for each square of 28 pixels, after it was made to fit.

use std::borrow::Cow;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Media {
    /// Tokens for models before 4.7, and from 4.7 on.
    Image {
        low: u32,
        high: u32,
    },
    Document {
        tokens: u32,
    },
    /// Sealed thoughts and the like, of which the upstream makes nothing it counts.
    Sealed,
}

/// Shorter texts are no image and no file.
const BASE64_MIN: usize = 64;
/// An image whose size can't be told.
const UNKNOWN_IMAGE: Media = Media::Image { low: 1_500, high: 2_500 };
/// A page as an image, and some text.
const PAGE_TOKENS: u32 = 1_590;
const TOKENS_PER_KILOBYTE: u32 = 40;
/// A PHP client hides each slash behind a backslash. So much of the start is freed of them.
const HEADER_BYTES: usize = 64 << 10;

impl Media {
    /// `None` for what is a text like any other.
    pub(super) fn of(data: &[u8]) -> Option<Media> {
        let start = data.get(..BASE64_MIN)?;
        if !start.iter().all(|byte| sextet(*byte).is_some() || matches!(byte, b'\\' | b'=')) {
            return None;
        }
        let data = freed(data);
        let image = [b"iVBORw0K".as_slice(), b"/9j/", b"R0lGOD", b"UklGR"].iter().any(|sign| data.starts_with(sign));
        if !image && !data.starts_with(b"JVBERi") {
            return Some(Media::Sealed);
        }
        if !image {
            let kilobytes = u32::try_from(data.len() / 1_024).unwrap_or(u32::MAX);
            let tokens = PAGE_TOKENS.saturating_add(kilobytes.saturating_mul(TOKENS_PER_KILOBYTE));
            return Some(Media::Document { tokens });
        }
        let size = Encoded(&data).size().filter(|(width, height)| *width > 0 && *height > 0);
        Some(size.map_or(UNKNOWN_IMAGE, |(width, height)| Media::Image {
            low: patches(width, height, 1_568, 1_568),
            high: patches(width, height, 2_576, 4_784),
        }))
    }
}

fn freed(data: &[u8]) -> Cow<'_, [u8]> {
    let header = &data[..data.len().min(HEADER_BYTES)];
    if memchr::memchr(b'\\', header).is_none() {
        return data.into();
    }
    header.iter().copied().filter(|byte| *byte != b'\\').collect::<Vec<u8>>().into()
}

/// Base64 of which single bytes are read, wherever they are.
struct Encoded<'d>(&'d [u8]);

impl Encoded<'_> {
    fn size(&self) -> Option<(u32, u32)> {
        match self.byte(0)? {
            0x89 => Some((self.big(18)?, self.big(22)?)),
            b'G' => Some((self.little(6)?, self.little(8)?)),
            b'R' => self.webp(),
            _ => self.jpeg(),
        }
    }

    fn webp(&self) -> Option<(u32, u32)> {
        match self.byte(15)? {
            b' ' => Some((self.little(26)? & 0x3fff, self.little(28)? & 0x3fff)),
            b'L' => {
                let bits = self.little(21)? | self.little(23)? << 16;
                Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
            }
            _ => Some((self.little(24)? + 1, self.little(27)? + 1)),
        }
    }

    /// Its size stands in the first frame header, behind segments of any length.
    fn jpeg(&self) -> Option<(u32, u32)> {
        let mut at = 2;
        while self.byte(at)? == 0xff {
            match self.byte(at + 1)? {
                0xff => at += 1,
                0xc4 | 0xc8 | 0xcc => at += 2 + self.big(at + 2)? as usize,
                0xc0..=0xcf => return Some((self.big(at + 7)?, self.big(at + 5)?)),
                _ => at += 2 + self.big(at + 2)? as usize,
            }
        }
        None
    }

    fn big(&self, at: usize) -> Option<u32> {
        Some(u32::from(self.byte(at)?) << 8 | u32::from(self.byte(at + 1)?))
    }

    fn little(&self, at: usize) -> Option<u32> {
        Some(u32::from(self.byte(at + 1)?) << 8 | u32::from(self.byte(at)?))
    }

    fn byte(&self, at: usize) -> Option<u8> {
        let quartet = at / 3 * 4;
        let bits = |place: usize| sextet(*self.0.get(quartet + place)?);
        Some(match at % 3 {
            0 => bits(0)? << 2 | bits(1)? >> 4,
            1 => bits(1)? << 4 | bits(2)? >> 2,
            _ => bits(2)? << 6 | bits(3)?,
        })
    }
}

const fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

const PATCH: u32 = 28;

/// An image too large is made as large as fits, its sides in proportion.
fn patches(width: u32, height: u32, side_max: u32, patches_max: u32) -> u32 {
    let fits = |(w, h): (u32, u32)| {
        let (w, h) = (w.div_ceil(PATCH), h.div_ceil(PATCH));
        w.max(h) * PATCH <= side_max && w * h <= patches_max
    };
    let (long, short) = (width.max(height), width.min(height));
    let scaled = |long_side: u32| {
        (long_side, (f64::from(long_side) * f64::from(short) / f64::from(long)).round().max(1.0) as u32)
    };
    let (mut fitting, mut beyond) = (1, long.min(side_max) + 1);
    while beyond - fitting > 1 {
        let middle = (fitting + beyond) / 2;
        if fits(scaled(middle)) { fitting = middle } else { beyond = middle }
    }
    let (w, h) = scaled(fitting);
    w.div_ceil(PATCH) * h.div_ceil(PATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_costs_a_token_a_square_once_it_fits() {
        for (width, height, low, high) in [
            (200, 200, 64, 64),
            (1_000, 1_000, 1_296, 1_296),
            (1_092, 1_092, 1_521, 1_521),
            (1_920, 1_080, 1_560, 2_691),
            (2_000, 1_500, 1_564, 3_888),
            (3_840, 2_160, 1_560, 4_784),
            (1, 65_535, 56, 92),
        ] {
            let tokens = (patches(width, height, 1_568, 1_568), patches(width, height, 2_576, 4_784));
            assert_eq!(tokens, (low, high), "{width}x{height}");
        }
    }
}
