//! Names of what is made for a Gateway: `<gateway>-<class>` (GEP-1762) as a DNS label, whatever the Gateway is called.
//!
//! A name that had to be changed ends in a hash of what it was made of, so that two Gateways never share one.

use twox_hash::XxHash3_64;

/// What a DNS label and the value of a label hold.
const LABEL_MAX: usize = 63;
/// A dash and eight digits.
const HASH_LEN: usize = 9;

/// The name of what belongs to a Gateway of a class.
pub fn base(gateway: &str, class: &str) -> String {
    label(&format!("{gateway}-{class}"))
}

/// The name of a thing that there may be several of, told apart by `which`.
pub fn part(gateway: &str, class: &str, which: &str) -> String {
    label(&format!("{gateway}-{class}-{which}"))
}

/// A text as a label's value: as it is if it fits, else cut and hashed.
pub fn value(text: &str) -> String {
    if text.len() <= LABEL_MAX { text.to_owned() } else { hashed(text, text) }
}

/// A text as a DNS label that begins with a letter, which is what a Service's name must be.
fn label(text: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut plain: String = text.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    if !plain.starts_with(|c: char| c.is_ascii_lowercase()) {
        plain.insert_str(0, "gw-");
    }
    let unchanged = plain == text && plain.len() <= LABEL_MAX && !plain.ends_with('-');
    if unchanged { plain } else { hashed(&plain, text) }
}

fn hashed(plain: &str, text: &str) -> String {
    let cut: String = plain.chars().take(LABEL_MAX - HASH_LEN).collect();
    let hash = XxHash3_64::oneshot(text.as_bytes()) >> 32;
    format!("{}-{hash:08x}", cut.trim_end_matches(['-', '.', '_']))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_what_people_expect_as_far_as_they_can_be() {
        let long = "a".repeat(63);
        let names = ["web", "web.example", "8ball", &*long].map(|gateway| base(gateway, "ringway"));
        let cut = format!("{}-8d3bb396", "a".repeat(54));
        assert_eq!(
            names,
            ["web-ringway", "web-example-ringway-432c5c33", "gw-8ball-ringway-53e50d7b", &*cut]
        );
        assert_eq!(part("web", "ringway", "10-96-0-7"), "web-ringway-10-96-0-7");
    }

    proptest! {
        #[test]
        fn every_name_is_a_dns_label_that_begins_with_a_letter(
            gateway in "[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?", class in "[a-z0-9]([a-z0-9.-]{0,80}[a-z0-9])?",
        ) {
            let name = base(&gateway, &class);
            prop_assert!(name.len() <= 63, "{}", name);
            prop_assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{}", name);
            prop_assert!(!name.ends_with('-') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            prop_assert_eq!(base(&gateway, &class), name, "the same again");
            let value = value(&gateway);
            prop_assert!(value.len() <= 63 && value.ends_with(|c: char| c.is_ascii_alphanumeric()));
        }

        #[test]
        fn what_differs_beyond_the_cut_differs(tails in prop::collection::btree_set("[a-z]{1,9}", 20)) {
            let names: BTreeSet<_> = tails.iter().map(|tail| base(&format!("{}{tail}", "x".repeat(80)), "c")).collect();
            prop_assert_eq!(names.len(), tails.len());
        }
    }
}
