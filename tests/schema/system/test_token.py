"""The VF token is recognized wherever it may stand, so that it can be left out."""

from __future__ import annotations

import json

import pytest

from schema.system.logs import holds_token, without_token

TOKEN = "12345678-9abc-DEF0-1234-56789abcdef0"
HOLD = [
    json.dumps({"engine": {"vfio_vf_token": TOKEN}}, indent=2),
    json.dumps({"engine": {"vfio_vf_token": TOKEN}}, separators=(",", ":")),
    f"engine: {{main_cpu: 0, vfio_vf_token: {TOKEN}}}",
    f"engine:\n  'vfio_vf_token' : \"{TOKEN}\"\n",
    f"rte_eal_init(--lcores 0@0 --vfio-vf-token {TOKEN}) failed",
    f"--vfio-vf-token={TOKEN}",
    json.dumps(json.dumps({"vfio_vf_token": TOKEN})),
]


@pytest.mark.parametrize("text", HOLD)
def test_it_is_found_and_left_out(text: str) -> None:
    assert holds_token(text)
    assert TOKEN not in without_token(text)
    assert "(secret)" in without_token(text)


@pytest.mark.parametrize("text", ["", '{"vfio_vf_token": ""}', '{"vfio_vf_token": null}', f'{{"boot_id": "{TOKEN}"}}'])
def test_nothing_else_is_taken_for_it(text: str) -> None:
    assert not holds_token(text)
    assert without_token(text) == text


@pytest.mark.parametrize("url", ["http://ann:s3cr3t@h/x", "https://s3cr3t@h/x", "HTTPS://a:s3cr3t@x@h:1/x@y"])
def test_a_password_in_a_url_is_shown_to_nobody(url: str) -> None:
    shown = without_token(f"git: {{url: '{url}'}}")
    assert "s3cr3t" not in shown
    assert "://(secret)@h" in shown


def test_urls_without_a_password_stay_as_they_are() -> None:
    for url in "https://h/a@b", "ssh://git@h/x", "git@h:x", "https://h":
        assert without_token(url) == url
