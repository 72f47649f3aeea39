//! Remarks put together, so that what holds of many phases is read once.

/// Remarks that differ in nothing but their numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told<'a> {
    /// Of what, in the order of their coming; each once.
    pub(super) places: Vec<&'a str>,
    /// The first of them.
    pub(super) first: &'a str,
    /// Whether numbers differ.
    pub(super) varies: bool,
}

/// Puts remarks together, each with the place it is about.
pub(super) fn together<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Told<'a>> {
    let mut told: Vec<Told<'a>> = Vec::new();
    for (place, remark) in all {
        match told.iter_mut().find(|it| shape(it.first) == shape(remark)) {
            Some(it) => {
                it.varies |= it.first != remark;
                if !it.places.contains(&place) {
                    it.places.push(place);
                }
            }
            None => told.push(Told { places: vec![place], first: remark, varies: false }),
        }
    }
    told
}

/// The text without its numbers and units of time.
fn shape(remark: &str) -> String {
    let words = remark.split(' ').filter(|word| !["us", "µs", "ms", "s"].contains(word));
    let letters =
        words.map(|word| word.trim_matches(|c: char| c.is_ascii_digit() || ".,".contains(c)));
    letters.collect::<Vec<_>>().join(" ")
}

impl Told<'_> {
    /// The places in words, `all` being how many there are.
    pub(super) fn places_text(&self, all: usize) -> String {
        match self.places.as_slice() {
            places if places.len() == all && all > 2 => "all phases".into(),
            [a, b, c, others @ ..] if others.len() > 2 => {
                format!("{a}, {b}, {c} and {} more", others.len())
            }
            places => places.join(", "),
        }
    }

    /// The remark, and that there are others like it.
    pub(super) fn text(&self) -> String {
        let others = if self.varies { "; likewise in others, with other numbers" } else { "" };
        format!("{}{others}", self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_numbers_is_told_once() {
        let all = [
            ("a", "the load was late by 45.6 ms at its 99th percentile"),
            ("b", "84 % of busy time belongs to others"),
            ("b", "the load was late by 1.2 s at its 99th percentile"),
            ("c", "84 % of busy time belongs to others"),
            ("c", "84 % of busy time belongs to others"),
            ("c", "12 connections were lost"),
        ];
        let told = together(all.into_iter());
        let texts: Vec<_> = told.iter().map(|it| (it.places.join("+"), it.text())).collect();
        let wanted = [
            (
                "a+b",
                "the load was late by 45.6 ms at its 99th percentile; likewise in others, with other \
                 numbers",
            ),
            ("b+c", "84 % of busy time belongs to others"),
            ("c", "12 connections were lost"),
        ];
        let places = vec!["a", "b", "c", "d", "e", "f"];
        let many = Told { places, first: "x", varies: false };
        assert_eq!(
            (many.places_text(6), many.places_text(7)),
            ("all phases".into(), "a, b, c and 3 more".into())
        );
        assert_eq!(told[0].places_text(2), "a, b");
        assert_eq!(texts, wanted.map(|(places, text)| (places.to_owned(), text.to_owned())));
    }
}
