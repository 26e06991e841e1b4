//! The JSON Schema of the policy's file, for editors. The tests below hold it and the parser together.

/// As `lockstep policy schema` prints it.
pub const SCHEMA: &str = include_str!("../../../policy.schema.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value as Json;

    use super::super::{DEFAULT, Policy};
    use super::SCHEMA;

    /// The keys that the parser knows where it finds this one, from what it says of an unknown one.
    fn known_to_parser(text: &str) -> BTreeSet<String> {
        let why = Policy::parse(text).expect_err("an unknown key").to_string();
        let expected = why.split("expected").nth(1).unwrap_or_else(|| panic!("{why}"));
        let expected = expected.split(';').next().unwrap_or_default();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_is_in_the_schema_and_in_the_parser() {
        let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
        let check = |place: &str, text: String| {
            let place = schema.pointer(place).unwrap_or_else(|| panic!("no {place}"));
            assert_eq!(place["additionalProperties"], false);
            let keys: BTreeSet<String> = place["properties"].as_object().expect("keys").keys().cloned().collect();
            assert_eq!(known_to_parser(&text), keys);
        };
        check("", format!("zz = 1\n{DEFAULT}"));
        check("/definitions/group", DEFAULT.replacen("entity_key", "zz = 1\nentity_key", 1));
        check("/definitions/table", DEFAULT.replacen("private", "zz = 1\nprivate", 1));
        check("/definitions/warming", DEFAULT.replacen("entries_per_second =", "zz = 1\nentries_per_second =", 1));
        check("/definitions/view", DEFAULT.replacen("warm =", "zz = 1\nwarm =", 1));
        check("/definitions/source", DEFAULT.replacen("columns =", "zz = 1\ncolumns =", 1));
    }

    /// What the schema requires is what the parser misses, and what it offers is what the parser takes.
    #[test]
    fn what_is_required_and_what_may_be_chosen() {
        let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
        let view = "[groups.g]\nentity_key = \"id\"\ntables = [\"public.t\"]\n[views.v]\nbound = \"5s\"\n";
        let all = [
            ("group", "group = \"g\"\n"),
            ("tiers", "tiers = [\"l2\"]\n"),
            ("key", "key = \"t:{id}\"\n"),
            ("ttl", "ttl = \"1h\"\n"),
            ("sources", "sources = [{ table = \"public.t\", columns = [\"id\"] }]\n"),
        ];
        assert_eq!(schema["definitions"]["view"]["required"], serde_json::json!(all.map(|(name, _)| name)));
        for (left_out, _) in all {
            let text: String = all.iter().filter(|(name, _)| *name != left_out).map(|(_, text)| *text).collect();
            let why = Policy::parse(&format!("{view}{text}")).expect_err(left_out).to_string();
            assert!(why.contains("missing field") && why.contains(left_out), "{why}");
        }
        let whole: String = all.iter().map(|(_, text)| *text).collect();
        for key in ["on_change", "on_behind"] {
            for choice in schema["definitions"]["view"]["properties"][key]["enum"].as_array().expect("choices") {
                Policy::parse(&format!("{view}{key} = {choice}\n{whole}")).unwrap_or_else(|why| panic!("{why}"));
            }
        }
    }
}
