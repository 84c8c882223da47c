//! A small generator (xorshift), so that a run can be repeated, and the mutations that it draws.

/// What breaks parsers of JSON, YAML, CSV, CEL and Avro.
const PIECES: [&[u8]; 44] = [
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\n",
    b"\t",
    b"\"",
    b"'",
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b":",
    b",",
    b"#",
    b"- ",
    b"&a ",
    b"*a",
    b"!!str ",
    b"=",
    b"null",
    b"NaN",
    b"1e400",
    b"-0",
    b"9223372036854775808",
    b"0.1",
    b"{\"a\":1,\"a\":2}",
    b"[[[[[[[[",
    b"../",
    b"%2e%2e",
    b"..",
    b"data.",
    b"omit()",
    b" && ",
    b".all(x, x)",
    b"\x01\x00\x00\x00\x00",
    b"\xff\xff\xff\xff\x0f",
    "é😀\u{202e}".as_bytes(),
];

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Seeds close to each other begin far from each other.
        Self((seed.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below a bound, 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }

    /// One of the corpus with one to four parts changed.
    pub fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let place = self.below(corpus.len());
        let mut bytes = corpus[place].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + 1 + self.below(12)).min(bytes.len());
            match self.below(6) {
                0 => drop(bytes.drain(at.min(end)..end)),
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 => {
                    let again: Vec<u8> = bytes[at.min(end)..end].repeat(1 + self.below(40));
                    bytes.splice(at..at, again);
                }
                3 => {
                    let from = self.below(corpus.len());
                    let begin = self.below(corpus[from].len() + 1);
                    let length = self.below(60).min(corpus[from].len() - begin);
                    bytes.splice(at..at, corpus[from][begin..begin + length].iter().copied());
                }
                _ => {
                    let piece = PIECES[self.below(PIECES.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
        bytes
    }
}
