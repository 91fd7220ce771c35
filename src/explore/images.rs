//! Images of bytes and maps of numbers as pictures in a page, each whole in its address: no other request is made for them.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use polysema_udfs::svg::{escaped, heat};

/// What a pixel's bytes are, as PNG numbers it.
#[derive(Debug, Clone, Copy)]
enum Colours {
    Gray = 0,
    Rgb = 2,
}

/// A gray image, its bytes line by line; none where they are no square.
pub fn gray(pixels: &[u8], words: &str) -> Option<String> {
    let side = side(pixels.len())?;
    picture(side, Colours::Gray, pixels, words)
}

/// Numbers line by line: white is 0, the darkest blue the largest magnitude above it, the darkest orange that below. One that
/// is not finite is gray; none where they are no square.
pub fn signed(values: &[f64], words: &str) -> Option<String> {
    let side = side(values.len())?;
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let most = finite.map(f64::abs).fold(0.0, f64::max);
    let colours = values.iter().flat_map(|value| shade(*value, most));
    let colours: Vec<u8> = colours.collect();
    picture(side, Colours::Rgb, &colours, words)
}

fn shade(value: f64, most: f64) -> [u8; 3] {
    match value.is_finite() {
        false => [128; 3],
        true if most > 0.0 => heat(value / most),
        true => heat(0.0),
    }
}

/// The side of a square of so many pixels.
fn side(pixels: usize) -> Option<u32> {
    let side = pixels.isqrt();
    (side > 0 && side * side == pixels).then(|| u32::try_from(side).ok())?
}

fn picture(side: u32, colours: Colours, bytes: &[u8], words: &str) -> Option<String> {
    Some(format!(
        "<img class=\"pixels\" width=\"{side}\" height=\"{side}\" alt=\"{}\" src=\"{}\">",
        escaped(words),
        address(side, colours, bytes)?
    ))
}

/// A gray image as an address that has all of it; none where its bytes are no square.
pub fn gray_address(pixels: &[u8]) -> Option<String> {
    address(side(pixels.len())?, Colours::Gray, pixels)
}

/// Gray or coloured bytes, as a file of the format PNG; the crate of that name would bring a second `miniz_oxide` for these lines.
fn address(side: u32, colours: Colours, bytes: &[u8]) -> Option<String> {
    let line = bytes.len() / side as usize;
    let mut lines = ZlibEncoder::new(vec![], Compression::best());
    for line in bytes.chunks(line) {
        // A line as it is, without the difference to the one above.
        lines
            .write_all(&[0])
            .and_then(|()| lines.write_all(line))
            .ok()?;
    }
    let mut head = [side.to_be_bytes(), side.to_be_bytes()].concat();
    head.extend([8, colours as u8, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [
        (b"IHDR", head),
        (b"IDAT", lines.finish().ok()?),
        (b"IEND", vec![]),
    ] {
        let mut sum = Crc::new();
        sum.update(name);
        sum.update(&data);
        file.extend(u32::try_from(data.len()).ok()?.to_be_bytes());
        file.extend(name);
        file.extend(&data);
        file.extend(sum.sum().to_be_bytes());
    }
    Some(format!("data:image/png;base64,{}", STANDARD.encode(file)))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Width, height, kind and bytes of a picture, whose sums are right.
    fn read(html: &str) -> (u32, u32, u8, Vec<u8>) {
        let data = html.split_once("base64,").unwrap().1;
        let file = STANDARD.decode(data.split('"').next().unwrap()).unwrap();
        let mut rest = file.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
        let mut parts = vec![];
        while !rest.is_empty() {
            let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
            let end = 8 + number(rest) as usize;
            let mut sum = Crc::new();
            sum.update(&rest[4..end]);
            assert_eq!(number(&rest[end..]), sum.sum());
            parts.push((&rest[4..8], &rest[8..end]));
            rest = &rest[end + 4..];
        }
        let [(b"IHDR", head), (b"IDAT", packed), (b"IEND", [])] = parts[..] else {
            panic!("three parts are required, got {parts:?}");
        };
        let side = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        assert_eq!(head[8], 8);
        let mut lines = vec![];
        let mut unpacked = flate2::read::ZlibDecoder::new(packed);
        unpacked.read_to_end(&mut lines).unwrap();
        let line = lines.len() / side(4) as usize;
        assert!(lines.chunks(line).all(|line| line[0] == 0));
        let bytes = lines.chunks(line).flat_map(|line| line[1..].to_vec());
        (side(0), side(4), head[9], bytes.collect())
    }

    #[test]
    fn pictures_have_the_pixels_and_the_words() {
        let html = gray(&[0, 255, 7, 9], "a \"7\"").unwrap();
        assert_eq!(read(&html), (2, 2, 0, vec![0, 255, 7, 9]));
        assert!(html.contains("alt=\"a &quot;7&quot;\""), "{html}");
        assert!(gray(&[1, 2, 3], "").is_none());
        assert!(gray(&[], "").is_none());
        let (_, _, 2, colours) = read(&signed(&[0.0, 2.0, -2.0, f64::NAN], "").unwrap()) else {
            panic!("coloured pixels are required");
        };
        assert_eq!(colours[..3], [255; 3]);
        assert_eq!(colours[3..9], [8, 48, 107, 127, 39, 4]);
        assert_eq!(colours[9..], [128; 3]);
        assert_eq!(read(&signed(&[0.0], "").unwrap()).3, [255; 3]);
    }
}
