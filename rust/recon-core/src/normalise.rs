//! Named, versioned ways to make texts alike before they are compared. A name never changes its meaning; a better way gets a new one.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// A way to normalise a text. Only the comparison sees the result; what is told are the values as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalisation {
    /// White space (Unicode `White_Space`) is cut from both ends.
    Trim1,
    /// Unicode normalisation form C.
    Nfc1,
    /// Unicode lower case, of no particular language.
    Lower1,
    /// A text without a character is null.
    EmptyNull1,
}

impl Normalisation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Trim1, Self::Nfc1, Self::Lower1, Self::EmptyNull1];

    /// The name with its version.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trim1 => "trim-1",
            Self::Nfc1 => "nfc-1",
            Self::Lower1 => "lower-1",
            Self::EmptyNull1 => "empty-null-1",
        }
    }

    /// The way of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }

    fn apply(self, text: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Trim1 => Some(Cow::Borrowed(text.trim())),
            Self::Nfc1 if text.is_ascii() => Some(Cow::Borrowed(text)),
            Self::Nfc1 => Some(Cow::Owned(text.nfc().collect())),
            Self::Lower1 => Some(Cow::Owned(text.to_lowercase())),
            Self::EmptyNull1 => (!text.is_empty()).then_some(Cow::Borrowed(text)),
        }
    }
}

/// A text after these ways, one after the other; `None` when it became null. Bytes that are no UTF-8 stay as they are.
#[must_use]
pub fn normalised<'a>(ways: &[Normalisation], content: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let Ok(text) = std::str::from_utf8(content) else { return Some(Cow::Borrowed(content)) };
    let mut text = Cow::Borrowed(text);
    for way in ways {
        text = match text {
            Cow::Borrowed(borrowed) => way.apply(borrowed)?,
            Cow::Owned(owned) => Cow::Owned(way.apply(&owned)?.into_owned()),
        };
    }
    Some(match text {
        Cow::Borrowed(borrowed) => Cow::Borrowed(borrowed.as_bytes()),
        Cow::Owned(owned) => Cow::Owned(owned.into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::{Normalisation, normalised};

    /// Each way does what its documentation says, and they follow one another in the order given.
    #[test]
    fn ways_do_what_they_say() {
        use Normalisation::{EmptyNull1, Lower1, Nfc1, Trim1};
        for (ways, given, expected) in [
            (&[][..], " A ", Some(" A ")),
            (&[Trim1], "\u{a0} A b\t", Some("A b")),
            (&[Nfc1], "Jose\u{301}", Some("Jos\u{e9}")),
            (&[Lower1], "BUDI \u{c9}", Some("budi \u{e9}")),
            (&[EmptyNull1], "", None),
            (&[EmptyNull1], " ", Some(" ")),
            (&[Trim1, EmptyNull1], " ", None),
            (&[EmptyNull1, Trim1], " ", Some("")),
            (&[Lower1, Trim1, Nfc1], " E\u{301} ", Some("\u{e9}")),
        ] {
            let found = normalised(ways, given.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{ways:?} {given:?}");
        }
        assert_eq!(normalised(&[Lower1], b"\xff").as_deref(), Some(&b"\xff"[..]));
    }

    /// Names are found again.
    #[test]
    fn names_are_unique() {
        for way in Normalisation::ALL {
            assert_eq!(Normalisation::named(way.name()), Some(way));
        }
        assert_eq!(Normalisation::named("trim"), None);
    }
}
