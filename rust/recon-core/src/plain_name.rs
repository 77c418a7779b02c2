//! Plain names: nine of ten need none of the rules that the others need, and are split here without them.

/// Most characters of a given or a family name, as Google takes them.
pub const FIELD_MAX: usize = 60;

/// Given and family name of a plain name, or `None` for a name the full rules must look at.
///
/// Plain is: words of the letters a to z in either case, one blank between two, none around them, no word that stands in
/// `not_names` (in lower case), and neither field over [`FIELD_MAX`]. The last word is the family name, the words before it the given
/// name; a single word is both. A name all in capitals or all in small letters gets a capital for each word.
#[must_use]
pub fn plain_name(name: &str, not_names: &[String]) -> Option<(String, String)> {
    if !name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b' ') {
        return None;
    }
    let is_name = |word: &str| !word.is_empty() && !not_names.iter().any(|other| word.eq_ignore_ascii_case(other));
    if !name.split(' ').all(is_name) {
        return None;
    }
    let (given, family) = name.rsplit_once(' ').unwrap_or((name, name));
    if given.len() > FIELD_MAX || family.len() > FIELD_MAX {
        return None;
    }
    let one_case =
        !name.bytes().any(|byte| byte.is_ascii_lowercase()) || !name.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(if one_case { (titled(given), titled(family)) } else { (given.to_owned(), family.to_owned()) })
}

/// The words with a capital each.
fn titled(words: &str) -> String {
    let mut inside = false;
    let letter = |letter: char| {
        let cased = if inside { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() };
        inside = letter != ' ';
        cased
    };
    words.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    fn split(name: &str) -> Option<(String, String)> {
        plain_name(name, &["drs".to_owned()])
    }

    fn fields(given: &str, family: &str) -> Option<(String, String)> {
        Some((given.to_owned(), family.to_owned()))
    }

    /// One case becomes title case, mixed case stays, a single word is both fields.
    #[test]
    fn plain_names_are_split_and_cased() {
        assert_eq!(split("SITI NUR AISYAH"), fields("Siti Nur", "Aisyah"));
        assert_eq!(split("budi"), fields("Budi", "Budi"));
        assert_eq!(split("Ahmad MUzaki"), fields("Ahmad", "MUzaki"));
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
