"""Which composer and which token: arguments, environment, files, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from aihwjax.cloud.settings import DEFAULT_URL, resolve
from aihwjax.errors import ConfigError, CredentialsError

NAMES = ("AIHWJAX_API_URL", "AIHWJAX_API_TOKEN", "AIHW_API_URL", "AIHW_API_TOKEN", "XDG_CONFIG_HOME")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give a home and a working directory without any configuration."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def write(path: Path, **entries: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[cloud]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items()))


def test_the_first_place_that_has_it_wins(home, tmp_path, monkeypatch):
    places = [
        lambda: write(tmp_path / "work" / "aihwkit.conf", api_token="t1", api_url="http://u1"),
        lambda: write(home / ".config" / "aihwkit.conf", api_token="t2", api_url="http://u2"),
        lambda: write(home / ".config" / "aihwkit" / "aihwkit.conf", api_token="t3", api_url="http://u3"),
        lambda: write(home / ".config" / "aihwjax.conf", api_token="t4", api_url="http://u4"),
        lambda: (monkeypatch.setenv("AIHW_API_TOKEN", "t5"), monkeypatch.setenv("AIHW_API_URL", "http://u5")),
        lambda: (monkeypatch.setenv("AIHWJAX_API_TOKEN", "t6"), monkeypatch.setenv("AIHWJAX_API_URL", "http://u6")),
    ]
    for number, place in enumerate(places, 1):
        place()
        found = resolve()
        assert (found.token, found.url) == (f"t{number}", f"http://u{number}/")
    assert resolve("https://u7/", "t7") == resolve("https://u7", " t7 ")
    assert resolve("https://u7", "t7").url == "https://u7/"


def test_address_and_token_may_be_in_different_places(home, monkeypatch):
    write(home / ".config" / "aihwjax.conf", api_url="https://composer.example.org/lab")
    monkeypatch.setenv("AIHWJAX_API_TOKEN", "t")
    assert resolve().url == "https://composer.example.org/lab/"
    assert resolve(api_url="http://other:99").url == "http://other:99/"


def test_a_working_folder_cannot_send_the_users_token_elsewhere(home, tmp_path, monkeypatch):
    write(tmp_path / "work" / "aihwkit.conf", api_url="http://stranger")
    write(home / ".config" / "aihwjax.conf", api_token="t")
    assert resolve().url == DEFAULT_URL
    monkeypatch.setenv("AIHWJAX_API_TOKEN", "t")
    assert resolve().url == resolve(api_token="t").url == DEFAULT_URL


def test_the_folder_of_configurations_may_be_another(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    write(tmp_path / "xdg" / "aihwkit" / "aihwkit.conf", api_token="t")
    found = resolve()
    assert (found.token, found.url) == ("t", DEFAULT_URL)


def test_without_a_token_it_says_where_to_put_one():
    with pytest.raises(CredentialsError, match=r"AIHWJAX_API_TOKEN.*~/\.config/aihwjax\.conf"):
        resolve()


@pytest.mark.parametrize("token", ["a b", "a\nb", "tökén", "a\x00b"])
def test_what_cannot_be_a_token_is_refused_and_not_shown(token):
    with pytest.raises(CredentialsError) as caught:
        resolve(api_token=token)
    assert token not in str(caught.value)


def test_a_token_is_never_shown():
    assert "secret" not in repr(resolve(api_token="secret"))


@pytest.mark.parametrize(
    "url", ["", "composer", "ftp://x", "http://", "http://u:p@x/", "http://x/?a=b", "http://x:99999"]
)
def test_what_cannot_be_an_address_is_refused(url):
    if url:
        with pytest.raises(ConfigError, match="api_url="):
            resolve(url, "t")
    else:
        assert resolve(url, "t").url == DEFAULT_URL


def test_a_file_that_is_no_configuration_is_named_without_its_content(home):
    path = home / ".config" / "aihwjax.conf"
    path.parent.mkdir(parents=True)
    path.write_text("api_token = secret")
    with pytest.raises(ConfigError, match=r"aihwjax\.conf") as caught:
        resolve()
    assert "secret" not in str(caught.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        resolve()
