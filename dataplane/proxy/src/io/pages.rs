//! Lets go of the pages of the program's own files: code and constants of the binary and its libraries.
//!
//! Starting and changing the configuration run code that serving never runs again, and the kernel maps up to sixteen
//! pages around each one that is touched: more than half of what an idle process would hold. Nothing is lost. What is
//! used again is mapped again from the page cache, some thirty short faults in all when the next request comes: so
//! never while clients are being served.

use std::fs;
use std::ops::Range;

use rustix::mm::{Advice, madvise};

/// Unmaps every page of the program's files that holds nothing of this process. What cannot be unmapped stays: it is
/// locked, or there is no `/proc`.
pub fn give_back_pages() {
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else { return };
    for Range { start, end } in clean(&smaps) {
        #[expect(unsafe_code, reason = "what is done to mappings has no safe call")]
        // SAFETY: the range is a private mapping of a file that cannot be written, without a page of this process's own:
        // whoever reads it next finds the file's bytes, as before. The loader made it and keeps it where it is for as
        // long as the process runs, since we unload no library; so it is still the mapping that was looked at.
        let _kept = unsafe { madvise(start as *mut _, end - start, Advice::LinuxDontNeed) };
    }
}

/// A row of `smaps`.
#[derive(Debug, Default)]
struct Mapping<'a> {
    range: Range<usize>,
    permissions: &'a str,
    /// Device, inode and name, or what stands for them.
    file: [&'a str; 3],
    /// It holds pages that differ from the file: relocated, or a breakpoint of a debugger.
    own: bool,
}

impl Mapping<'_> {
    fn is_code(&self) -> bool {
        self.permissions == "r-xp"
    }

    fn is_clean(&self) -> bool {
        matches!(self.permissions, "r-xp" | "r--p") && !self.own
    }
}

/// Where nothing is but what the program's files say. A file that is mapped without code is not the program's: who mapped
/// it may unmap it at any time.
fn clean(smaps: &str) -> Vec<Range<usize>> {
    let mappings = mappings(smaps);
    let files = mappings.chunk_by(|one, next| one.file == next.file && one.range.end == next.range.start);
    let programs = files.filter(|file| file[0].file[2].starts_with('/') && file.iter().any(Mapping::is_code));
    programs.flatten().filter(|mapping| mapping.is_clean()).map(|mapping| mapping.range.clone()).collect()
}

/// Each mapping is a line of what it is, and lines `name: number kB`.
fn mappings(smaps: &str) -> Vec<Mapping<'_>> {
    let mut mappings: Vec<Mapping<'_>> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(range) = range(first) {
            let mut word = || words.next().unwrap_or_default();
            let (permissions, _offset) = (word(), word());
            mappings.push(Mapping { range, permissions, file: [word(), word(), word()], own: false });
        } else if let (Some(mapping), "Anonymous:" | "Swap:") = (mappings.last_mut(), first) {
            mapping.own |= words.next() != Some("0");
        }
    }
    mappings
}

fn range(word: &str) -> Option<Range<usize>> {
    let (start, end) = word.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r--p 00000000 fe:00 7                            /bin/ringway
Rss:                   8 kB
Anonymous:             0 kB
Swap:                  0 kB
3000-8000 r-xp 00002000 fe:00 7                            /bin/ringway
Anonymous:             0 kB
Swap:                  0 kB
8000-9000 r--p 00007000 fe:00 7                            /bin/ringway
Anonymous:             4 kB
Swap:                  0 kB
9000-a000 rw-p 00008000 fe:00 7                            /bin/ringway
Anonymous:             0 kB
Swap:                  0 kB
a000-b000 rw-p 00000000 00:00 0                            [heap]
Anonymous:             4 kB
20000-21000 r-xp 00000000 fe:00 8                          /lib/in use by a debugger.so
Anonymous:             4 kB
Swap:                  0 kB
21000-22000 r--p 00001000 fe:00 8                          /lib/in use by a debugger.so
Anonymous:             0 kB
Swap:                  0 kB
22000-23000 r--p 00001000 fe:00 8                          /lib/in use by a debugger.so
Anonymous:             0 kB
Swap:                  4 kB
30000-31000 r--p 00000000 fe:00 7                          /bin/ringway
Anonymous:             0 kB
40000-41000 r--s 00000000 fe:00 9                          /lib/shared.so
41000-42000 r-xs 00000000 fe:00 9                          /lib/shared.so
50000-51000 r-xp 00000000 00:00 0                          [vdso]
VmFlags: rd ex mr mw me de
51000-52000 r-xp 00000000 00:00 0
";

    #[test]
    fn only_code_and_constants_of_the_program_that_hold_nothing_of_ours_are_let_go() {
        assert_eq!(clean(SMAPS), [0x1000..0x3000, 0x3000..0x8000, 0x21000..0x22000]);
        assert!(clean("").is_empty());
        assert!(clean("no smaps at all\n\n").is_empty());
    }

    #[test]
    fn a_process_holds_less_and_goes_on() {
        let of_files = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = of_files();
        give_back_pages();
        let after = of_files();
        assert!(after < before, "{before} kB, then {after}");
    }
}
