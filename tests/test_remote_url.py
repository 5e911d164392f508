"""URLs are shown without secrets, and give file names that are safe and different."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.remote_url import display_url, is_remote, result_name, result_path, safe_name, split_bucket_url

AWS_SIGNED = "https://b.s3.amazonaws.com/talk.mp3?X-Amz-Signature=0badc0de&X-Amz-Expires=900&X-Amz-Credential=AKIA"
AZURE_SIGNED = "https://a.blob.core.windows.net/c/talk.mp3?sv=2024-01-01&sp=r&se=2030-01-01&skoid=1&sig=0badc0de"


def test_display_url_hides_user_password_query_and_fragment() -> None:
    assert display_url("https://joe:s3cret@example.com:8443/a/talk.mp3#t=10") == "https://example.com:8443/a/talk.mp3"
    shown = display_url("https://example.com/get?id=7&token=s3cret")
    assert shown.startswith("https://example.com/get?…") and "s3cret" not in shown and "id" not in shown
    assert display_url("s3://bucket/what? #1.mp3") == "s3://bucket/what? #1.mp3"  # a key, not a query


@pytest.mark.parametrize("url", [AWS_SIGNED, AZURE_SIGNED])
def test_signing_a_url_again_does_not_change_its_names(url: str) -> None:
    plain = url.partition("?")[0]
    assert (display_url(url), result_path(url)) == (plain, result_path(plain))


def test_urls_that_differ_in_their_query_have_different_names() -> None:
    one, two = "https://example.com/get.mp3?id=1", "https://example.com/get.mp3?id=2"
    assert display_url(one) != display_url(two)
    assert result_name(one) != result_name(two)
    assert result_name(one).startswith("get~") and result_name(one).endswith(".mp3")


def test_names_come_from_the_path() -> None:
    assert result_name("https://example.com/a/My%20talk.mp3") == "My talk.mp3"
    assert result_path("https://example.com/a/My%20talk.mp3") == "example.com/a/My talk.mp3"
    assert result_path("s3://bucket/a/My%20talk.mp3") == "bucket/a/My%20talk.mp3"
    assert result_name("https://example.com/") == result_name("https://example.com") == "example.com"


@pytest.mark.parametrize(
    ("name", "safe"),
    [("../../etc/passwd", "_.._etc_passwd"), ("..", "recording"), (".hidden.mp3", "hidden.mp3"), ("a\0b\n", "a_b_"),
     ("C:\\x\\talk.mp3", "C:_x_talk.mp3"), ("", "recording"), ("a\u202egpj.mp3", "a_gpj.mp3")],
)  # fmt: skip
def test_safe_name_has_no_separators_control_characters_or_leading_dots(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_long_name_is_cut_to_what_file_systems_take_and_stays_different() -> None:
    one, two = safe_name("ä" * 200 + "1"), safe_name("ä" * 200 + "2")
    assert one != two and one.startswith("ä" * 80)
    assert all(190 < len(name.encode()) <= 200 for name in (one, two))


@given(st.text(max_size=400))
def test_result_path_never_leaves_its_folder(text: str) -> None:
    path = result_path(f"https://example.com/{text}")
    assert not path.startswith("/")
    for part in path.split("/"):
        assert part not in ("", ".", "..") and "\\" not in part and "\0" not in part
        assert len(part.encode()) <= 220


def test_remote_schemes_and_buckets() -> None:
    assert all(map(is_remote, ("http://h/x", "HTTPS://h/x", "s3://b/x", "gs://b", "az://c/x")))
    assert not any(map(is_remote, ("ftp://h/x", "file:///x", "talk.mp3", "C:/x", "s3:/b/x")))
    assert split_bucket_url("s3://bucket/a/b c.mp3") == ("s3", "bucket", "a/b c.mp3")
    assert split_bucket_url("GS://bucket") == ("gs", "bucket", "")
    with pytest.raises(ValueError, match="no bucket"):
        split_bucket_url("s3:///a")
