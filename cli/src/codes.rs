//! `ringway validate --explain`: what a code of a finding means. The table of `docs/validation-codes.md`, for whoever has
//! the binary only.

use std::fmt::Write;

use ringway_gateway_api::validate::Code;

use crate::args::meant::Misuse;

/// Explains one code, written as `RW1405`, `rw1405` or `1405`; or `all` of them.
pub(crate) fn explain(said: &str) -> Result<String, Misuse> {
    let name = said.to_ascii_uppercase();
    let name = if name.starts_with("RW") { name } else { format!("RW{name}") };
    let asked = |code: &&Code| said == "all" || code.to_string() == name;
    let mut text = String::new();
    for code in Code::ALL.iter().filter(asked) {
        let (severity, meaning, remedy) = (code.severity(), code.meaning(), code.remedy());
        writeln!(text, "{code} {severity}: {meaning}\n  what to do: {remedy}")
            .expect("a String takes everything");
    }
    if text.is_empty() {
        return Err(Misuse(format!("`{said}` is no code; write one as RW1001, or `all` for every one")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained_as_it_is_documented_however_it_is_written() {
        let expected = "RW1002 error: a key appears twice in one mapping\n  what to do: remove one\n";
        for said in ["RW1002", "rw1002", "1002"] {
            assert_eq!(explain(said).unwrap(), expected);
        }
        assert_eq!(explain("all").unwrap().lines().count(), 2 * Code::ALL.len());
        for said in ["", "RW9999", "RW", "everything"] {
            assert!(explain(said).unwrap_err().to_string().contains("is no code"), "{said}");
        }
    }
}
