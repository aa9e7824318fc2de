"""alerts.yaml, and the variable that may stand for it: one list of everything that is wrong."""

import re
from pathlib import Path

import pytest

from headrace.config.alerts import Chat, Mail, Route, Rule, Webhook, load_routes
from headrace.config.settings import load_settings
from headrace.errors import ConfigError
from tests.examples.fences import ROOT, fences_of, table_under

SECRETS = {"OPS_SECRET": "word", "CHAT_URL": "https://chat.test/hooks/1", "SMTP_PASSWORD": "pass"}
FILE = """
webhook:
- name: ops
  url: https://ops.test/alerts
  secret_from: OPS_SECRET
chat:
- name: channel
  url_from: CHAT_URL
  rules: [dead, late]
mail:
- name: on-call
  host: smtp.test
  user: headrace
  password_from: SMTP_PASSWORD
  sender: headrace@service.test
  to: [ada@service.test, bob@service.test]
"""


def test_a_file_says_where_alerts_are_sent_and_the_environment_what_is_secret(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(FILE)
    people = ("ada@service.test", "bob@service.test")
    routes = load_settings(SECRETS, folder=tmp_path).alert_routes
    assert routes == (
        Route("ops", Webhook("https://ops.test/alerts", "word")),
        Route("channel", Chat("https://chat.test/hooks/1"), (Rule.DEAD, Rule.LATE)),
        Route("on-call", Mail("smtp.test", 587, "headrace@service.test", people, True, "headrace", "pass")),
    )
    assert routes[1].takes(Rule.LATE)
    assert not routes[1].takes(Rule.STUCK)
    for secret in SECRETS.values():
        assert secret not in repr(routes)


def test_the_variable_stands_before_the_file_and_may_be_json(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(FILE)
    inline = '{"webhook": [{"name": "only", "url": "http://127.0.0.1:9/"}]}'
    assert load_routes({"HEADRACE_ALERT_ROUTES": inline}, tmp_path) == (Route("only", Webhook("http://127.0.0.1:9/")),)


def test_without_either_there_are_no_routes(tmp_path: Path) -> None:
    assert load_settings({}, folder=tmp_path).alert_routes == ()


def test_everything_that_is_wrong_is_in_one_list_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(
        "webhook:\n- {name: Ops, url: ftp://x}\n- {name: two}\nchat:\n- {name: a, url: http://x, secret: word}\n"
        "mail:\n- {name: b, host: h, sender: nobody, to: []}\n- {name: c, rules: [sad]}\n"
        "- {name: d, host: h, sender: a@b, to: [a@b], user: u}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_routes({}, tmp_path)
    lines = [(fault.line, fault.message) for fault in caught.value.faults]
    assert {line for line, _ in lines} == {2, 3, 5, 7, 8, 9}
    text = "\n".join(message for _, message in lines)
    for part in (
        "a-z",
        "http or https",
        "one of url and url_from",
        "secret",
        "mail address",
        "password_from",
        "somebody",
        "is missing",
        "one of dead",
    ):
        assert part in text


def test_a_secret_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(FILE)
    with pytest.raises(ConfigError) as caught:
        load_routes({}, tmp_path)
    assert [fault.message for fault in caught.value.faults] == [
        "the environment variable OPS_SECRET is not set",
        "the environment variable CHAT_URL is not set",
        "the environment variable SMTP_PASSWORD is not set",
    ]


def test_on_a_developers_machine_a_route_without_its_secret_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(FILE)
    routes = load_settings({"CHAT_URL": "https://chat.test/1"}, folder=tmp_path).alert_routes
    assert [route.name for route in routes] == ["channel"]


def test_two_routes_of_one_name_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(FILE.replace("name: channel", "name: ops"))
    with pytest.raises(ConfigError, match="another route is called ops"):
        load_routes(SECRETS, tmp_path)


@pytest.mark.parametrize("inline", ["[]", "- {name: x}", "nonsense", "{webhook: 1}"])
def test_what_is_no_list_of_routes_is_refused(tmp_path: Path, inline: str) -> None:
    with pytest.raises(ConfigError, match="HEADRACE_ALERT_ROUTES"):
        load_routes({"HEADRACE_ALERT_ROUTES": inline}, tmp_path)


def test_the_routes_of_the_document_load(tmp_path: Path) -> None:
    (fence,) = fences_of("docs/alerts.md")
    (tmp_path / fence.file).write_text(fence.text)
    variables = {"PAGER_SECRET": "word", "CHAT_URL": "https://chat.test/1", "SMTP_PASSWORD": "pass"}
    assert [route.name for route in load_routes(variables, tmp_path)] == ["pager", "channel", "on-call"]


def test_the_document_has_every_rule_and_every_key() -> None:
    assert [cell.strip("`") for cell in table_under("docs/alerts.md", "Rules")] == [str(rule) for rule in Rule]
    source = (ROOT / "src/headrace/config/alerts.py").read_text()
    keys = re.findall(r"^    (\w+) = (?:Parsed|fields)", source, re.MULTILINE)
    told = re.findall(r"`(\w+)`", " ".join(table_under("docs/alerts.md", "Keys")))
    assert sorted(told) == sorted(keys)
