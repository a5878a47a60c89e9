//! "Did you mean …?": the nearest of the names that there are.

/// The candidate that `wanted` was most likely meant to be, if one is near
/// enough to be worth naming.
#[must_use]
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names from the network may be long; no name of ours is.
    if wanted.len() > 128 {
        return None;
    }
    let wanted_lower = wanted.to_lowercase();
    candidates
        .into_iter()
        .map(|name| {
            let distance = strsim::damerau_levenshtein(&wanted_lower, &name.to_lowercase());
            (distance, name)
        })
        .filter(|(distance, name)| *distance <= name.len().max(wanted.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typing_error_finds_the_name_that_was_meant() {
        let names = ["connection_draining", "idle_timeout", "close_rate"];
        assert_eq!(nearest("idel_timeout", names), Some("idle_timeout"));
        assert_eq!(nearest("Close_Rate", names), Some("close_rate"));
        assert_eq!(
            nearest("conection_drainin", names),
            Some("connection_draining")
        );
    }

    #[test]
    fn a_name_far_from_all_others_finds_none() {
        assert_eq!(nearest("colour", ["web", "mail"]), None);
        assert_eq!(nearest(&"x".repeat(10_000), ["xxx"]), None);
        assert_eq!(nearest("web", []), None);
    }
}
