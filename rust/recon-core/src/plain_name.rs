//! Plain names: nine of ten need none of the rules that the others need, and are split here without them.

use std::borrow::Cow;

/// Most characters of a given or a family name, as Google takes them.
pub const FIELD_MAX: usize = 60;

/// Given and family name of a plain name, or `None` for a name the full rules must look at.
///
/// Plain is: words of the letters a to z in either case, one blank between two, none around them, no word that stands in
/// `not_names` (in lower case), and neither field over [`FIELD_MAX`]. The last word is the family name, the words before it the given
/// name; a single word is both. A name all in capitals or all in small letters gets a capital for each word.
#[must_use]
pub fn plain_name<'n>(name: &'n str, not_names: &[String]) -> Option<(Cow<'n, str>, Cow<'n, str>)> {
    let (mut small, mut capital) = (false, false);
    for byte in name.bytes() {
        small |= byte.is_ascii_lowercase();
        capital |= byte.is_ascii_uppercase();
        if !byte.is_ascii_alphabetic() && byte != b' ' {
            return None;
        }
    }
    let is_name = |word: &str| !word.is_empty() && !not_names.iter().any(|other| word.eq_ignore_ascii_case(other));
    if !name.split(' ').all(is_name) {
        return None;
    }
    let (given, family) = name.rsplit_once(' ').unwrap_or((name, name));
    if given.len() > FIELD_MAX || family.len() > FIELD_MAX {
        return None;
    }
    let cased = |words: &'n str| if small && capital { Cow::Borrowed(words) } else { Cow::Owned(titled(words)) };
    Some((cased(given), cased(family)))
}

/// The words with a capital each.
fn titled(words: &str) -> String {
    let mut cased = String::with_capacity(words.len());
    for (number, word) in words.split(' ').enumerate() {
        if number > 0 {
            cased.push(' ');
        }
        let start = cased.len();
        cased.push_str(word);
        if let Some(word) = cased.get_mut(start..) {
            word.make_ascii_lowercase();
        }
        if let Some(first) = cased.get_mut(start..start + 1) {
            first.make_ascii_uppercase();
        }
    }
    cased
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    fn split(name: &str) -> Option<(String, String)> {
        let (given, family) = plain_name(name, &["drs".to_owned()])?;
        Some((given.into_owned(), family.into_owned()))
    }

    fn fields(given: &str, family: &str) -> (String, String) {
        (given.to_owned(), family.to_owned())
    }

    /// One case becomes title case, mixed case stays, a single word is both fields.
    #[test]
    fn plain_names_are_split_and_cased() {
        assert_eq!(split("SITI NUR AISYAH"), Some(fields("Siti Nur", "Aisyah")));
        assert_eq!(split("budi"), Some(fields("Budi", "Budi")));
        assert_eq!(split("Ahmad MUzaki"), Some(fields("Ahmad", "MUzaki")));
    }

    /// Titles, other letters and signs, gaps and long fields are left to the full rules.
    #[test]
    fn other_names_are_left() {
        let long = "a".repeat(61);
        for name in ["", " ", "Drs Budi", "BUDI DRS", "Ma'ruf", "M. Rizki", "José", "A  B", " A", "A ", &long, "a\tb"]
        {
            assert_eq!(split(name), None, "{name}");
        }
    }
}
