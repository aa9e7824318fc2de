"""What pushes may reach: hosts by name, by pattern and by address."""

import pytest

from headrace.engine.reach import PUBLIC_ONLY, TargetRules, parse_rule


def rules(*texts: str) -> TargetRules:
    return TargetRules(tuple(parse_rule(text) for text in texts))


@pytest.mark.parametrize(
    ("rule", "host", "port", "address", "allowed"),
    [
        ("worker", "worker", 80, "10.0.0.1", True),
        ("worker", "Worker", 80, "169.254.169.254", True),
        ("worker", "other", 80, "10.0.0.1", False),
        ("worker:8080", "worker", 8080, "10.0.0.1", True),
        ("worker:8080", "worker", 80, "10.0.0.1", False),
        ("*.example.com", "a.b.example.com", 443, "8.8.8.8", True),
        ("*.example.com", "example.com", 443, "8.8.8.8", False),
        ("*.example.com", "badexample.com", 443, "8.8.8.8", False),
        ("*.example.com", "a.example.com", 443, "10.0.0.1", False),
        ("10.0.0.0/8", "anything.example.com", 80, "10.1.2.3", True),
        ("10.0.0.0/8", "anything.example.com", 80, "11.1.2.3", False),
        ("10.0.0.0/8", "x", 80, "::ffff:10.1.2.3", True),
        ("10.1.2.3:80", "x", 80, "10.1.2.3", True),
        ("10.1.2.3:80", "x", 81, "10.1.2.3", False),
        ("[::1]:80", "::1", 80, "::1", True),
        ("::1", "localhost", 81, "::1", True),
    ],
)
def test_a_rule_covers_what_it_names(rule: str, host: str, port: int, address: str, allowed: bool) -> None:
    assert rules(rule).allows(host, port, address) is allowed


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_off_loopback_only_public_addresses_are_reached(address: str, allowed: bool) -> None:
    assert PUBLIC_ONLY.allows("anything.example.com", 80, address) is allowed
    assert PUBLIC_ONLY.may_name(address, 80) is allowed


def test_a_task_may_name_a_host_that_its_addresses_have_to_decide() -> None:
    assert rules("10.0.0.0/8").may_name("worker", 80)
    assert not rules("10.0.0.0/8").may_name("11.0.0.1", 80)
    assert rules("*.example.com", "worker:80").may_name("worker", 80)
    assert not rules("*.example.com", "worker:80").may_name("worker", 81)
    assert not rules("*.example.com").may_name("example.org", 80)


@pytest.mark.parametrize("text", ["", "a*b", "*x", "http://h", "h/path", "h:port", "h:99999", "user@h", "10.0.0.1/8"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rule(text)
