//! IAM's wildcards: `*` for any characters, `?` for one ("IAM JSON policy elements: Resource").

/// True if `pattern` matches `text`, taken literally.
pub fn matches(pattern: &str, text: &str) -> bool {
    table(pattern, text, |pattern, c| pattern == '?' || pattern == c, false)
}

/// True if `pattern` matches everything that `other`, itself a pattern, matches.
///
/// Never wrongly true; wrongly false for a few pairs that nobody writes, such as `*?` and `?*`.
pub fn covers(pattern: &str, other: &str) -> bool {
    table(pattern, other, |pattern, c| c != '*' && (pattern == '?' || pattern == c), false)
}

/// True if there is a text that both patterns match.
pub fn intersects(one: &str, other: &str) -> bool {
    table(one, other, |a, b| a == '?' || b == '?' || a == b, true)
}

/// True for a pattern that matches everything.
pub fn is_all(pattern: &str) -> bool {
    !pattern.is_empty() && pattern.chars().all(|c| c == '*')
}

/// True where the two sides, of which `pattern`'s stars take any number of `text`'s characters (with `both` the other way
/// round too), and whose other characters are compared by `pair`, agree.
fn table(pattern: &str, text: &str, pair: impl Fn(char, char) -> bool, both: bool) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let Some(head) = before_stars(pattern.iter().zip(&text), &pair, both) else { return false };
    let (pattern, text) = (&pattern[head..], &text[head..]);
    let Some(tail) = before_stars(pattern.iter().rev().zip(text.iter().rev()), &pair, both) else { return false };
    suffixes(&pattern[..pattern.len() - tail], &text[..text.len() - tail], pair, both)
}

/// How many characters come before the first star; none where they don't agree.
fn before_stars<'c>(
    pairs: impl Iterator<Item = (&'c char, &'c char)>,
    pair: impl Fn(char, char) -> bool,
    both: bool,
) -> Option<usize> {
    let mut fixed = pairs.take_while(|(a, b)| **a != '*' && !(both && **b == '*'));
    fixed.try_fold(0, |length, (a, b)| pair(*a, *b).then_some(length + 1))
}

/// Dynamic programming over the suffixes of both sides, from the end.
fn suffixes(pattern: &[char], text: &[char], pair: impl Fn(char, char) -> bool, both: bool) -> bool {
    let end = text.len();
    let mut below: Vec<bool> =
        (0..=end).map(|at| at == end || (both && text[at..].iter().all(|c| *c == '*'))).collect();
    for &c in pattern.iter().rev() {
        let mut row = vec![false; end + 1];
        row[end] = c == '*' && below[end];
        for at in (0..end).rev() {
            row[at] = if c == '*' || (both && text[at] == '*') {
                below[at] || row[at + 1]
            } else {
                pair(c, text[at]) && below[at + 1]
            };
        }
        below = row;
    }
    below[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_match() {
        assert!(matches("a*c?", "abbcd") && matches("*", "") && matches("app-*", "app-1"));
        assert!(!matches("a*c?", "abbc") && !matches("", "a") && !matches("app-?", "app-12"));
    }

    #[test]
    fn a_pattern_covers_only_what_it_matches_whole() {
        assert!(
            covers("hostedzone/*", "hostedzone/*") && covers("*", "hostedzone/*") && covers("h*e/*", "hostedzone/*")
        );
        assert!(!covers("hostedzone/Z*", "hostedzone/*") && !covers("hostedzone/?", "hostedzone/*"));
        assert!(covers("*", "*") && covers("a?", "a?") && !covers("ab", "a?"));
    }

    #[test]
    fn patterns_intersect() {
        assert!(intersects("hostedzone/*", "hostedzone/Z1") && intersects("a*", "*b") && intersects("a?c", "ab*"));
        assert!(!intersects("a*", "b*") && !intersects("*x", "*y") && !intersects("", "a") && intersects("", "**"));
    }

    proptest! {
        #[test]
        fn relations_agree(a in "[ab*?]{0,6}", b in "[ab*?]{0,6}", text in "[ab]{0,6}") {
            prop_assert!(covers(&a, &a) && covers("*", &a));
            prop_assert_eq!(intersects(&a, &b), intersects(&b, &a));
            if covers(&a, &b) && matches(&b, &text) {
                prop_assert!(matches(&a, &text));
            }
            if matches(&a, &text) && matches(&b, &text) {
                prop_assert!(intersects(&a, &b));
            }
            prop_assert_eq!(matches(&a, &text), covers(&a, &text));
            prop_assert_eq!(matches(&a, &text), intersects(&a, &text));
        }
    }
}
