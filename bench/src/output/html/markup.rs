//! Markup made of constants, and text that cannot become markup.

use std::fmt::{self, Display, Write};

/// HTML under construction.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Markup: only what stands in this program's source.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Markup {
        self.0.push_str(markup);
        self
    }

    /// Text: anything.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Markup {
        // Writing into a String cannot fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// Text between two tags.
    pub(super) fn within(
        &mut self,
        open: &'static str,
        text: impl Display,
        close: &'static str,
    ) -> &mut Markup {
        self.raw(open).text(text).raw(close)
    }

    /// The beginning of a tag with a number in it: `open`, the number, `close`.
    pub(super) fn numbered(
        &mut self,
        open: &'static str,
        number: usize,
        close: &'static str,
    ) -> &mut Markup {
        self.raw(open).text(number).raw(close)
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // A browser takes these for line ends or for the end of the text.
                '\0' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// JSON that may stand in a `script` element: what could end the element, begin a comment in it, or
/// end a line of a script is spelt as an escape, which reads the same.
pub(super) fn json_in_script(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + json.len() / 16);
    for c in json.chars() {
        match c {
            // Outside of strings JSON has none of these.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(text, "\\u{:04x}", c as u32);
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut markup = Markup::default();
        markup.within("<td class=\"", "\" onload='x'><img>&", "\">");
        let wanted = "<td class=\"&quot; onload=&#39;x&#39;&gt;&lt;img&gt;&amp;\">";
        assert_eq!(markup.into_string(), wanted);
    }

    proptest! {
        #[test]
        fn json_in_a_script_reads_the_same_and_cannot_end_it(text in "(</script>|<!--|[<>&\u{2028}a-c\"\\\\])*") {
            let json = serde_json::to_string(&text).unwrap();
            let embedded = json_in_script(&json);
            prop_assert!(!embedded.contains(['<', '>', '&']));
            prop_assert_eq!(serde_json::from_str::<String>(&embedded).unwrap(), text);
        }
    }
}
