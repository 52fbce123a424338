"""TagResource, UntagResource, ListTagsOfResource:
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TagResource.html"""

import re

import pytest

from kit import HASH, eventually, invalid, refused

NOT_FOUND = "Requested resource not found: ResourcArn: {} not found"


@pytest.fixture
def arn(db, make):
    return db.describe_table(TableName=make(HASH))["Table"]["TableArn"]


def tags(db, arn):
    found, token = {}, None
    while True:
        answer = db.list_tags_of_resource(ResourceArn=arn, **({"NextToken": token} if token else {}))
        found |= {tag["Key"]: tag["Value"] for tag in answer["Tags"]}
        token = answer.get("NextToken")
        if not token:
            return found


def become(db, arn, wanted):
    eventually(f"tags {wanted}", lambda: tags(db, arn) == wanted)


def tag(**pairs):
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def test_tags_come_change_and_go(db, arn):
    assert tags(db, arn) == {}
    db.tag_resource(ResourceArn=arn, Tags=tag(a="1", b="", c="\u00e9"))
    become(db, arn, {"a": "1", "b": "", "c": "\u00e9"})
    db.tag_resource(ResourceArn=arn, Tags=tag(a="2", d="4"))
    become(db, arn, {"a": "2", "b": "", "c": "\u00e9", "d": "4"})
    db.untag_resource(ResourceArn=arn, TagKeys=["a", "b", "absent"])
    become(db, arn, {"c": "\u00e9", "d": "4"})


def test_50_tags_and_no_more(db, arn):
    many = {f"k{n}": "v" for n in range(50)}
    db.tag_resource(ResourceArn=arn, Tags=tag(**many))
    become(db, arn, many)
    db.tag_resource(ResourceArn=arn, Tags=tag(k0="again"))
    invalid(db.tag_resource, re.compile("(?i)tag"), ResourceArn=arn, Tags=tag(one_more="v"))
    assert "one_more" not in tags(db, arn)


def test_limits_of_keys_and_values(db, arn):
    db.tag_resource(ResourceArn=arn, Tags=[{"Key": "k" * 128, "Value": "v" * 256}])
    become(db, arn, {"k" * 128: "v" * 256})
    for bad in ({"Key": "k" * 129, "Value": "v"}, {"Key": "k", "Value": "v" * 257}, {"Key": "", "Value": "v"},
                {"Key": "k"}, {"Value": "v"}):
        invalid(db.tag_resource, re.compile(r"(?i)tag"), ResourceArn=arn, Tags=[bad])
    invalid(db.tag_resource, re.compile("(?i)tag"), ResourceArn=arn, Tags=tag(a="1") + tag(a="2"))
    invalid(db.tag_resource, re.compile("(?i)tag|aws:"), ResourceArn=arn, Tags=[{"Key": "aws:x", "Value": "v"}])


def test_empty_lists(db, arn):
    invalid(db.tag_resource, "Atleast one Tag needs to be provided as Input.", ResourceArn=arn, Tags=[])
    invalid(db.untag_resource, "Atleast one Tag Key needs to be provided as Input.", ResourceArn=arn, TagKeys=[])


def test_resources_that_are_none(db, arn):
    absent = arn.rsplit("/", 1)[0] + "/no-such-table"
    for call, more in ((db.tag_resource, {"Tags": tag(a="1")}), (db.untag_resource, {"TagKeys": ["a"]}),
                       (db.list_tags_of_resource, {})):
        refused(call, "ResourceNotFoundException", NOT_FOUND.format(absent), ResourceArn=absent, **more)
        # What names nothing of the caller's own is not theirs to tag: the service says either.
        try:
            invalid(call, re.compile("(?i)arn"), ResourceArn="not-an-arn", **more)
        except AssertionError:
            refused(call, "AccessDeniedException", re.compile("is not authorized to perform: dynamodb:"),
                    ResourceArn="not-an-arn", **more)
        invalid(call, re.compile("(?i)arn"), **more)
    invalid(db.tag_resource, re.compile("tags.*not be null"), ResourceArn=arn)
    invalid(db.untag_resource, re.compile("tagKeys.*not be null"), ResourceArn=arn)
