//! Tags of tables, and which attribute ends their items: settings that a user ties to a table.
//!
//! A tag's key has 1 to 128 characters, its value up to 256, both of letters, digits, spaces and
//! `+ - = . _ : / @`; keys that begin with `aws:` are reserved; a table has 50 at most (developer guide,
//! "Tagging restrictions in DynamoDB").

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tombolo_memds::{TableChange, TableInfo, TimeToLive as Kept};

use super::Executor;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{Answer, Tag, TimeToLive};
use crate::region::Region;

/// Longest key of a tag, in characters.
const KEY_CHARACTERS: usize = 128;
/// Longest value of a tag, in characters.
const VALUE_CHARACTERS: usize = 256;
/// Tags of one table.
const MOST_TAGS: usize = 50;
/// Longest name of the attribute that ends an item, in bytes.
const ATTRIBUTE_BYTES: usize = 255;
/// Begins the keys that nobody may set.
const RESERVED: &str = "aws:";

fn legal(character: char) -> bool {
    character.is_alphanumeric() || character.is_whitespace() || "+-=._:/@".contains(character)
}

/// Tags by key, if all of them are legal.
pub(super) fn check(tags: &[Tag]) -> Result<BTreeMap<String, String>, Failure> {
    if tags.len() > MOST_TAGS {
        return Err(errors::too_many_tags(MOST_TAGS));
    }
    let mut known = BTreeMap::new();
    for (position, Tag { key, value }) in tags.iter().enumerate() {
        let parameter = |part: &str| format!("tags.{}.member.{part}", position + 1);
        check_key(key, &parameter("key"))?;
        if value.chars().count() > VALUE_CHARACTERS {
            return Err(errors::too_long_text(value, &parameter("value"), VALUE_CHARACTERS));
        }
        if !value.chars().all(legal) {
            return Err(errors::tag_characters(value));
        }
        if known.insert(key.clone(), value.clone()).is_some() {
            return Err(errors::duplicate_tag(key));
        }
    }
    Ok(known)
}

fn check_key(key: &str, parameter: &str) -> Result<(), Failure> {
    match key.chars().count() {
        0 => return Err(errors::too_short_text(key, parameter, 1)),
        1..=KEY_CHARACTERS => {}
        _ => return Err(errors::too_long_text(key, parameter, KEY_CHARACTERS)),
    }
    if !key.chars().all(legal) {
        return Err(errors::tag_characters(key));
    }
    match key.get(..RESERVED.len()) {
        Some(start) if start.eq_ignore_ascii_case(RESERVED) => Err(errors::tag_reserved()),
        _ => Ok(()),
    }
}

impl<R: Region> Executor<R> {
    pub(super) async fn tag(&self, table: &str, tags: &[Tag]) -> Result<Answer, Failure> {
        if tags.is_empty() {
            return Err(errors::no_tags());
        }
        let tags = check(tags)?;
        self.tagged(table)?;
        let tagged = self.region.tag(table, tags).await;
        tagged.map_err(|error| errors::from_catalog(error, table, "tag"))?;
        Ok(Answer::Done)
    }

    pub(super) async fn untag(&self, table: &str, keys: &[String]) -> Result<Answer, Failure> {
        if keys.is_empty() {
            return Err(errors::no_tags());
        }
        let unique: BTreeSet<_> = keys.iter().collect();
        if unique.len() != keys.len() {
            return Err(errors::duplicate_tag(""));
        }
        self.tagged(table)?;
        let untagged = self.region.untag(table, keys).await;
        untagged.map_err(|error| errors::from_catalog(error, table, "untag"))?;
        Ok(Answer::Done)
    }

    /// All of them stand on one page. Who was told of another one begins after the key it was given.
    pub(super) fn list_tags(&self, table: &str, after: Option<String>) -> Result<Answer, Failure> {
        let info = self.tagged(table)?;
        let rest = info.settings.tags.iter().filter(|(key, _)| Some(*key) > after.as_ref());
        let tags = rest.map(|(key, value)| Tag { key: key.clone(), value: value.clone() });
        Ok(Answer::Tags { tags: tags.collect(), next_token: None })
    }

    /// The table that an ARN names.
    fn tagged(&self, table: &str) -> Result<Arc<TableInfo>, Failure> {
        let arn = || crate::arn::of_table(&self.region_name(), table);
        self.table(table).map_err(|_| errors::tagged_not_found(&arn()))
    }

    pub(super) fn time_to_live(&self, table: &str) -> Result<Answer, Failure> {
        let info = self.table(table)?;
        let kept = info.settings.ttl.clone().filter(|kept| kept.enabled);
        Ok(Answer::TimeToLive(match kept {
            Some(Kept { attribute, enabled }) => TimeToLive { enabled, attribute },
            None => TimeToLive { enabled: false, attribute: String::new() },
        }))
    }

    pub(super) async fn update_time_to_live(
        &self,
        table: &str,
        of: TimeToLive,
    ) -> Result<Answer, Failure> {
        let parameter = "timeToLiveSpecification.attributeName";
        match of.attribute.len() {
            0 => return Err(errors::too_short_text("", parameter, 1)),
            1..=ATTRIBUTE_BYTES => {}
            _ => return Err(errors::too_long_text(&of.attribute, parameter, ATTRIBUTE_BYTES)),
        }
        self.managed(table).await?;
        let ttl = Some(Kept { attribute: of.attribute.clone(), enabled: of.enabled });
        let changed = self.region.update(table, TableChange { ttl, ..TableChange::default() });
        changed.await.map_err(|error| errors::from_catalog(error, table, "update"))?;
        Ok(Answer::TimeToLive(of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.into(), value: value.into() }
    }

    /// Developer guide, "Tagging restrictions in DynamoDB".
    #[test]
    fn tags_follow_the_guide() {
        for good in
            [tag("a", ""), tag(&"k".repeat(128), &"v".repeat(256)), tag("größe é", "+-=._:/@")]
        {
            assert!(check(std::slice::from_ref(&good)).is_ok(), "{good:?}");
        }
        for bad in [
            tag("", "v"),
            tag(&"k".repeat(129), "v"),
            tag("k", &"v".repeat(257)),
            tag("aws:k", "v"),
            tag("AWS:k", "v"),
            tag("a,b", "v"),
            tag("k", "a;b"),
        ] {
            assert!(check(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        assert!(check(&[tag("k", "1"), tag("k", "2")]).is_err());
        let many: Vec<_> = (0..51).map(|number| tag(&number.to_string(), "v")).collect();
        assert!(check(&many[..50]).is_ok() && check(&many).is_err());
    }
}
