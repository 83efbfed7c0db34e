"""`run_on_*` and `webhooks:` of the file: what each form means, and what is refused, without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from wtgateway.config import load
from wtgateway.config.hooks_model import HookConfig, WebhookConfig
from wtgateway.config.template import Template, document_of
from wtgateway.errors import ConfigError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def loaded(tmp_path: Path, text: str):
    file = tmp_path / "c.yml"
    file.write_text(text)
    return load({}, {}, file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run_on_read: echo 'a b' $WTG_BROADCAST", HookConfig(("echo", "a b", "$WTG_BROADCAST"))),
        ("run_on_read: [echo, a b, 3]", HookConfig(("echo", "a b", "3"))),
        ("run_on_read: {command: echo a, restart: true}", HookConfig(("echo", "a"), restart=True)),
        ("run_on_read: {command: [echo, a]}", HookConfig(("echo", "a"))),
        ("run_on_read: {command: 'echo a | wc', shell: true}", HookConfig(("echo a | wc",), shell=True)),
    ],
)
def test_forms_of_a_command(tmp_path: Path, text: str, expected: HookConfig) -> None:
    assert loaded(tmp_path, text).hooks == {"run_on_read": expected}
    of_broadcast = loaded(tmp_path, f"broadcasts: {{a: {{source: 'test:', {text}}}}}".replace("{,", "{"))
    assert of_broadcast.broadcasts[0].hooks == {"run_on_read": expected}


@pytest.mark.parametrize(
    "text",
    [
        "run_on_read: ''",
        "run_on_read: []",
        "run_on_read: [[a]]",
        'run_on_read: "echo \'unclosed"',
        "run_on_read: {shell: true}",
        "run_on_read: {command: [a], shell: true}",
        "run_on_read: {command: {a: b}}",
        "run_on_read: {command: a, sehll: true}",
        "run_on_raed: a",
        "webhooks: https://a.example",
        "webhooks: [https://a.example]",
        f"webhooks: [{{url: 'ftp://a.example', secret: {SECRET}}}]",
        f"webhooks: [{{url: 'https://', secret: {SECRET}}}]",
        f"webhooks: [{{secret: {SECRET}}}]",
        "webhooks: [{url: 'https://a.example'}]",
        "webhooks: [{url: 'https://a.example', secret: word}]",
        f"webhooks: [{{url: 'https://a.example', secret: {SECRET}, events: []}}]",
        f"webhooks: [{{url: 'https://a.example', secret: {SECRET}, evnets: a}}]",
        f"webhooks: [{','.join([f'{{url: https://a.example, secret: {SECRET}}}'] * 17)}]",
    ],
)
def test_what_is_refused_names_its_place_and_no_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, text)
    assert SECRET not in str(refused.value)
    assert "'word'" not in str(refused.value)
    assert "c.yml:1" in str(refused.value)


def test_a_broadcasts_own_take_the_place_of_defaults_or_take_them_away(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "defaults: {run_on_available: [a], run_on_read: b}\n"
        "broadcasts:\n"
        "  one: {source: 'test:', run_on_available: c}\n"
        "  two: {source: 'test:', run_on_read: }\n",
    )
    one, two = config.broadcasts
    assert one.hooks == {"run_on_available": HookConfig(("c",)), "run_on_read": HookConfig(("b",))}
    assert two.hooks == {"run_on_available": HookConfig(("a",))}


def test_webhooks_want_the_kinds_that_they_name(tmp_path: Path) -> None:
    (webhook,) = loaded(
        tmp_path, f"webhooks: [{{url: 'https://a.example/x?y', secret: {SECRET}, events: [broadcast.*]}}]"
    ).webhooks
    assert webhook == WebhookConfig(url="https://a.example/x?y", secret=SECRET, events=("broadcast.*",))
    assert webhook.wants("broadcast.read")
    assert not webhook.wants("degraded")
    assert SECRET not in repr(webhook)


def test_commands_are_not_in_what_the_api_takes_and_gives(tmp_path: Path) -> None:
    (config,) = loaded(tmp_path, "broadcasts: {a: {source: 'test:', run_on_read: b}}").broadcasts
    assert not any(key.startswith("run_on") for key in document_of(config))
    assert Template().broadcast("a", document_of(config)).hooks == {}
