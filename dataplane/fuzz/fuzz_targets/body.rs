//! Bodies: however the bytes are sliced, the same data, trailers and end come out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_core::Fields;
use ringway_core::http1::{BodyDecoder, BodyError, BodyFraming, Piece};
use ringway_core::limits::Limits;

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    data: Vec<u8>,
    trailers: Option<Fields>,
    error: Option<BodyError>,
    /// Where the end is, if there is one.
    end: Option<usize>,
}

fn run<'a>(framing: BodyFraming, slices: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let limits = Limits { header_bytes_max: 256, header_count_max: 4, ..Limits::default() };
    let mut decoder = BodyDecoder::new(framing, &limits);
    let mut outcome = Outcome::default();
    let mut done = 0;
    for mut slice in slices {
        loop {
            let (consumed, piece) = match decoder.decode(slice) {
                Ok(found) => found,
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            };
            done += consumed;
            match piece {
                Piece::Data(range) => outcome.data.extend_from_slice(&slice[range]),
                Piece::Trailers(fields) => outcome.trailers = Some(fields),
                Piece::End(_) => {
                    outcome.end = Some(done);
                    return outcome;
                }
                Piece::NeedMore => break,
            }
            slice = &slice[consumed..];
        }
    }
    outcome
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, step, bytes) = input;
    let framing = match kind {
        0 => BodyFraming::None,
        1 => BodyFraming::UntilClose,
        2..=9 => BodyFraming::Length(u64::from(step)),
        _ => BodyFraming::Chunked,
    };
    let whole = run(framing, std::iter::once(bytes));
    // The empty slice asks once more for what no byte is needed to say: the end.
    let sliced = |size: usize| run(framing, bytes.chunks(size).chain([&[][..]]));
    assert_eq!(sliced(usize::from(step).max(1)), whole);
    assert_eq!(sliced(1), whole);
});
