//! The start of a program: it is not told of the vDSO, so that its C library asks the kernel itself.

use super::tracer::{Process, Word};

/// How the kernel calls the address of the vDSO among the values that a program starts with, and what is passed over.
const VDSO: Word = 33;
const NOTHING: Word = 1;
const WORD: usize = size_of::<Word>();
/// As many words are read at once.
const PART: usize = 64;
/// A program never starts with more, in words: the kernel allows 6 MiB of arguments with their pointers, of one byte
/// each at least.
const MOST: usize = 8 << 20;

/// Hides the vDSO from a program that starts: the stack has the number of arguments, these, a zero, the environment, a
/// zero, and pairs of a kind and a value up to the kind zero.
pub(super) fn hide_vdso(process: Process) {
    let Some(stack) = process.registers().map(|registers| registers.rsp) else {
        return;
    };
    let mut words = Words::new(process, stack);
    let Some(arguments) = words.next() else {
        return;
    };
    if words.by_ref().take(MOST).nth(arguments as usize) != Some(0) {
        return;
    }
    if words.by_ref().take(MOST).all(|word| word != 0) {
        return;
    }
    while let (Some(kind), at, Some(_)) = (words.next(), words.before(), words.next()) {
        match kind {
            VDSO => {
                let _ = process.write(at, &NOTHING.to_ne_bytes());
                return;
            }
            0 => return,
            _ => {}
        }
    }
}

/// The words of a process's memory from an address on.
struct Words {
    process: Process,
    /// The address behind what was read.
    end: Word,
    part: [u8; PART * WORD],
    /// What is left of the part.
    left: usize,
}

impl Words {
    fn new(process: Process, at: Word) -> Self {
        Self {
            process,
            end: at,
            part: [0; PART * WORD],
            left: 0,
        }
    }

    /// The address of the word before the next.
    fn before(&self) -> Word {
        self.end - ((self.left + 1) * WORD) as Word
    }
}

impl Iterator for Words {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        if self.left == 0 {
            // The stack may end behind any page, and a read is of all or nothing: none goes over the end of one.
            let size = PART * WORD - self.end as usize % (PART * WORD);
            let bytes = self.process.read(self.end, &mut self.part[..size]);
            self.left = bytes / WORD;
            // What is there is at the end, so that one number tells where we are.
            let there = self.left * WORD;
            self.part.copy_within(..there, PART * WORD - there);
            self.end += there as Word;
        }
        let begin = (PART - self.left) * WORD;
        self.left = self.left.checked_sub(1)?;
        let bytes = self.part[begin..].first_chunk()?;
        Some(Word::from_ne_bytes(*bytes))
    }
}
