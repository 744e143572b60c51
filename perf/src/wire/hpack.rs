//! Field compression of HTTP/2, as far as it is needed here: encoding the same fields again and again, and finding the
//! two statuses in what comes. All else is followed, since later fields refer to it, and not kept.

use std::collections::VecDeque;

use crate::cause::Cause;

/// The size of a table that neither side has changed.
pub(crate) const TABLE_BYTES: usize = 4_096;
/// What each entry of a table counts beside its bytes (RFC 7541, 4.1).
const ENTRY_BYTES: usize = 32;
/// Lengths of the names of the static table (RFC 7541, appendix A), from index 1.
const STATIC_NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13,
    12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3,
    16,
];
/// The statuses of the static table, from index 8.
const STATIC_STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
const STATUS: usize = 8;
const CONTENT_TYPE: usize = 31;

/// A field, as far as anyone here wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Status(u16),
    GrpcStatus(u16),
    /// `content-type: application/grpc…`
    Grpc,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Status,
    GrpcStatus,
    ContentType,
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Name,
    name_bytes: usize,
    field: Field,
    size: usize,
}

/// Reads the blocks of one direction of a connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Newest first.
    table: VecDeque<Entry>,
    size: usize,
    size_max: usize,
    text: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), size: 0, size_max: TABLE_BYTES, text: Vec::new() }
    }
}

impl Decoder {
    /// Reads a block, and calls `found` with each field of it.
    pub(crate) fn decode(&mut self, mut block: &[u8], mut found: impl FnMut(Field)) -> Result<(), Cause> {
        while let Some(first) = block.first().copied() {
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                found(self.indexed(index)?.field);
            } else if first & 0xe0 == 0x20 {
                let size = integer(&mut block, 5)?;
                if size > TABLE_BYTES {
                    return Err(malformed());
                }
                self.size_max = size;
                self.evict(0);
            } else {
                let kept = first & 0x40 != 0;
                let index = integer(&mut block, if kept { 6 } else { 4 })?;
                let (name, name_bytes) = if index == 0 {
                    string(&mut block, &mut self.text)?;
                    let name = match self.text.as_slice() {
                        b":status" => Name::Status,
                        b"grpc-status" => Name::GrpcStatus,
                        b"content-type" => Name::ContentType,
                        _ => Name::Other,
                    };
                    (name, self.text.len())
                } else {
                    let entry = self.indexed(index)?;
                    (entry.name, entry.name_bytes)
                };
                string(&mut block, &mut self.text)?;
                let number = || std::str::from_utf8(&self.text).ok().and_then(|text| text.parse().ok());
                let field = match name {
                    Name::Status => Field::Status(number().ok_or(malformed())?),
                    Name::GrpcStatus => Field::GrpcStatus(number().ok_or(malformed())?),
                    Name::ContentType if self.text.starts_with(b"application/grpc") => Field::Grpc,
                    Name::ContentType | Name::Other => Field::Other,
                };
                if kept {
                    self.insert(Entry {
                        name,
                        name_bytes,
                        field,
                        size: name_bytes + self.text.len() + ENTRY_BYTES,
                    });
                }
                found(field);
            }
        }
        Ok(())
    }

    fn indexed(&self, index: usize) -> Result<Entry, Cause> {
        let Some(fixed) = index.checked_sub(1) else { return Err(malformed()) };
        if let Some(length) = STATIC_NAMES.get(fixed) {
            let (name, field) = match index.checked_sub(STATUS).and_then(|at| STATIC_STATUSES.get(at)) {
                Some(status) => (Name::Status, Field::Status(*status)),
                None if index == CONTENT_TYPE => (Name::ContentType, Field::Other),
                None => (Name::Other, Field::Other),
            };
            return Ok(Entry { name, name_bytes: usize::from(*length), field, size: 0 });
        }
        self.table.get(fixed - STATIC_NAMES.len()).copied().ok_or(malformed())
    }

    fn insert(&mut self, entry: Entry) {
        self.evict(entry.size);
        if entry.size <= self.size_max {
            self.size += entry.size;
            self.table.push_front(entry);
        }
    }

    /// Makes room for that many bytes, as far as there is any.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.size_max
            && let Some(entry) = self.table.pop_back()
        {
            self.size -= entry.size;
        }
    }
}

fn malformed() -> Cause {
    Cause::Malformed("field block")
}

fn integer(block: &mut &[u8], bits: u32) -> Result<usize, Cause> {
    let (first, mut rest) = block.split_first().ok_or(malformed())?;
    let most = (1usize << bits) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (byte, more) = rest.split_first().ok_or(malformed())?;
            rest = more;
            if shift > 21 {
                return Err(malformed());
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// Reads a string into `text`. Its length is right; bytes that no text of interest has read as 0.
fn string(block: &mut &[u8], text: &mut Vec<u8>) -> Result<(), Cause> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(malformed())?;
    *block = rest;
    text.clear();
    if coded {
        return expand(bytes, text);
    }
    text.extend_from_slice(bytes);
    Ok(())
}

/// How many codes of the Huffman code have each length (RFC 7541, appendix B), and the bytes of the shorter ones. The
/// code is canonical: in the order of lengths, then of bytes, each is the one before it and one more.
const CODES: [(u32, u32, &[u8]); 21] = [
    (5, 10, b"012aceiost"),
    (6, 26, b" %-./3456789=A_bdfghlmnpru"),
    (7, 32, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 6, b"&*,;XZ"),
    (10, 5, b""),
    (11, 3, b""),
    (12, 2, b""),
    (13, 6, b""),
    (14, 2, b""),
    (15, 3, b""),
    (19, 3, b""),
    (20, 8, b""),
    (21, 13, b""),
    (22, 26, b""),
    (23, 29, b""),
    (24, 12, b""),
    (25, 4, b""),
    (26, 15, b""),
    (27, 19, b""),
    (28, 29, b""),
    (30, 4, b""),
];

fn expand(bytes: &[u8], text: &mut Vec<u8>) -> Result<(), Cause> {
    let mut window: u64 = 0;
    let mut held: u32 = 0;
    let mut bytes = bytes.iter();
    loop {
        while held <= 48
            && let Some(byte) = bytes.next()
        {
            window = window << 8 | u64::from(*byte);
            held += 8;
        }
        let (mut code, mut length, mut decoded) = (0u64, 0, None);
        for (bits, count, symbols) in CODES {
            code <<= bits - length;
            length = bits;
            if held < bits {
                break;
            }
            let prefix = window >> (held - bits) & ((1 << bits) - 1);
            if prefix < code + u64::from(count) {
                decoded = Some((bits, symbols.get((prefix - code) as usize).copied().unwrap_or(0)));
                break;
            }
            code += u64::from(count);
        }
        match decoded {
            Some((bits, byte)) => {
                held -= bits;
                text.push(byte);
            }
            // Less than a byte of ones fills the last one up.
            None if held < 8 && window & ((1 << held) - 1) == (1 << held) - 1 => return Ok(()),
            None => return Err(malformed()),
        }
    }
}

/// The same fields, encoded for a connection that carries them again and again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Puts them into the other side's table.
    pub(crate) first: Vec<u8>,
    /// Refers to them there.
    pub(crate) later: Vec<u8>,
    /// Uses no table, and says so.
    pub(crate) plain: Vec<u8>,
    /// How large that table must be.
    pub(crate) table_bytes: usize,
}

/// How a field of a request is known to every table.
enum Known<'a> {
    /// Wholly, by this index.
    Whole(u8),
    /// By name.
    Name(u8),
    /// Not at all.
    New(&'a str),
}

/// Encodes a request. Field names are lower case.
pub(crate) fn request(
    method: &str,
    secure: bool,
    authority: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Block {
    let mut block = Block { first: Vec::new(), later: Vec::new(), plain: vec![0x20], table_bytes: 0 };
    let mut all = vec![
        (Known::Whole(if method == "GET" { 2 } else { 3 }), ""),
        (Known::Whole(if secure { 7 } else { 6 }), ""),
        (if path == "/" { Known::Whole(4) } else { Known::Name(4) }, path),
        (Known::Name(1), authority),
    ];
    all.extend(fields.iter().map(|(name, value)| (Known::New(name), *value)));
    let entries = all.iter().filter(|(known, _)| !matches!(known, Known::Whole(_))).count();
    // The oldest entry has the highest index.
    let mut index = STATIC_NAMES.len() + entries;
    for (known, value) in all {
        let name_bytes = match known {
            Known::Whole(index) => {
                for form in [&mut block.first, &mut block.later, &mut block.plain] {
                    form.push(0x80 | index);
                }
                continue;
            }
            Known::Name(index) => {
                block.first.push(0x40 | index);
                block.plain.push(index);
                usize::from(STATIC_NAMES[usize::from(index) - 1])
            }
            Known::New(name) => {
                for (form, kind) in [(&mut block.first, 0x40), (&mut block.plain, 0)] {
                    form.push(kind);
                    push_string(form, name);
                }
                name.len()
            }
        };
        push_string(&mut block.first, value);
        push_string(&mut block.plain, value);
        push_integer(&mut block.later, 0x80, 7, index);
        block.table_bytes += name_bytes + value.len() + ENTRY_BYTES;
        index -= 1;
    }
    block
}

/// Encodes the fields of a response, which has status 200, or of trailers, without a table.
pub(crate) fn response(head: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = if head { vec![0x80 | STATUS as u8] } else { Vec::new() };
    for (name, value) in fields {
        block.push(0);
        push_string(&mut block, name);
        push_string(&mut block, value);
    }
    block
}

fn push_string(block: &mut Vec<u8>, text: &str) {
    push_integer(block, 0, 7, text.len());
    block.extend_from_slice(text.as_bytes());
}

fn push_integer(block: &mut Vec<u8>, kind: u8, bits: u32, value: usize) {
    let most = (1usize << bits) - 1;
    if value < most {
        block.push(kind | value as u8);
        return;
    }
    block.push(kind | most as u8);
    let mut left = value - most;
    while left >= 0x80 {
        block.push(left as u8 | 0x80);
        left >>= 7;
    }
    block.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, Cause> {
        let mut fields = Vec::new();
        decoder.decode(block, |field| fields.push(field))?;
        Ok(fields)
    }

    #[test]
    fn the_code_is_complete() {
        let all: f64 = CODES.iter().map(|(bits, count, _)| f64::from(*count) / 2f64.powi(*bits as i32)).sum();
        assert_eq!(all, 1.0);
        assert_eq!(CODES.iter().map(|(_, count, _)| count).sum::<u32>(), 257);
        for (bits, count, bytes) in &CODES[..4] {
            assert_eq!(bytes.len(), *count as usize, "{bits} bits");
        }
    }

    /// RFC 7541, C.6: three responses with Huffman coding and a table of 256 bytes, in which entries are evicted.
    #[test]
    fn the_examples_of_the_standard_read_as_they_should() {
        let mut decoder = Decoder::default();
        decode(&mut decoder, &[0x3f, 0xe1, 0x01]).unwrap();
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let first = hex(
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        );
        assert_eq!(decode(&mut decoder, &first).unwrap()[0], Field::Status(302));
        assert_eq!((decoder.table.len(), decoder.size), (4, 222));
        assert_eq!(decode(&mut decoder, &hex("4883640effc1c0bf")).unwrap()[0], Field::Status(307));
        assert_eq!((decoder.table.len(), decoder.size), (4, 222));
        let third = hex(
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        );
        assert_eq!(decode(&mut decoder, &third).unwrap()[0], Field::Status(200));
        assert_eq!((decoder.table.len(), decoder.size), (3, 215));
    }

    #[test]
    fn a_request_reads_the_same_in_every_form() {
        let block =
            request("POST", true, "a:1", "/b", &[("content-type", "application/grpc"), ("te", "trailers")]);
        let mut decoder = Decoder::default();
        let first = decode(&mut decoder, &block.first).unwrap();
        assert_eq!(first.iter().filter(|field| **field == Field::Grpc).count(), 1);
        assert_eq!(decoder.size, block.table_bytes);
        assert_eq!(decode(&mut decoder, &block.later).unwrap(), first);
        assert_eq!(decode(&mut decoder, &block.plain).unwrap(), first);
        assert_eq!(decoder.size, 0);
    }

    #[test]
    fn what_is_malformed_is_told() {
        for block in [
            &[0x80][..],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xbe],
            &[0x40, 0x05, b'a'],
            &[0x3f, 0xff, 0xff, 0x03],
        ] {
            assert_eq!(decode(&mut Decoder::default(), block), Err(malformed()), "{block:x?}");
        }
    }
}
