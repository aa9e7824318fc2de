"""Alerts fire by themselves, are sent once, resolve, and outlive routes that fail."""

import hmac
import json
from hashlib import sha256
from typing import Any

import pytest

from headrace.alerts import Alerting, Alerts, make_alerting
from headrace.alerts.messages import headline
from headrace.alerts.senders import NetworkSender, SendError
from headrace.clock import ManualClock
from headrace.config.alerts import Chat, Mail, Route, Rule, Webhook
from headrace.database import Database
from headrace.errors import NotFound, PermanentFailure, WrongState
from headrace.execution.batch import Batch
from tests.alerts.sinks import Sink
from tests.instance import HANDLER, Instance, Numbers, handler
from tests.operators.deaths import audited, dead_ids, deliver_all
from tests.queue_in_memory import QueueInMemory

HOUR, FAR = 3_600.0, 4_000_000_000.0
ADA = "ada"


def refuse(batch: Batch) -> None:
    raise PermanentFailure("the vendor has no such number")


def shown(alerting: Alerting) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Alerts(alerting.database, alerting.clock, ()).list(limit=100)["alerts"]
    return found


def states(alerting: Alerting) -> dict[tuple[str, str], str]:
    return {(alert["rule"], alert["object"]): alert["state"] for alert in shown(alerting)}


def die(instance: Instance, queue: QueueInMemory) -> None:
    """One more dead batch of the handler."""
    with instance.database.write() as connection:
        instance.pusher.push(connection, instance.application.work, [1])
    deliver_all(queue, instance)


@pytest.fixture
def dead(instance: Instance, application: Numbers, queue: QueueInMemory) -> int:
    """A batch that died."""
    application.on_work = refuse
    die(instance, queue)
    (batch_id,) = dead_ids(instance)
    return batch_id


def test_a_new_handler_that_fails_shows_up_without_a_line_of_configuration(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    brand_new = handler("brand_new", refuse)
    instance = Instance(database, queue, clock, application, others=[brand_new])
    alerting = make_alerting(database, instance.contract, clock)
    alerting.sweep(FAR)
    assert shown(alerting) == []

    with database.write() as connection:
        instance.pusher.push(connection, refuse, [1])
    deliver_all(queue, instance)
    alerting.sweep(FAR)

    (alert,) = shown(alerting)
    assert (alert["rule"], alert["object"], alert["state"]) == ("dead", "handlers.brand_new", "firing")
    assert alert["detail"] == "1 batch died in the last 60 minutes."


def test_one_failure_is_one_message_however_often_is_swept(
    alerting: Alerting, clock: ManualClock, sink: Sink, dead: int
) -> None:
    assert alerting.sweep(FAR) == {"alerts": 1, "notified": 1}
    for _ in range(3):
        clock.advance(60)
        assert alerting.sweep(FAR) == {"alerts": 1, "notified": 0}
    (message,) = sink.told
    assert (message["state"], message["rule"], message["object"]) == ("firing", "dead", HANDLER)
    assert message["page"] == "http://service/console/alerts"


def test_its_end_is_told_once(
    alerting: Alerting, instance: Instance, sink: Sink, clock: ManualClock, dead: int
) -> None:
    alerting.sweep(FAR)
    instance.operators.dead_letters.discard(dead, actor=ADA)
    clock.advance(60)
    alerting.sweep(FAR)
    alerting.sweep(FAR)
    assert [message["state"] for message in sink.told] == ["firing", "resolved"]
    (alert,) = shown(alerting)
    assert (alert["state"], alert["resolved_at"]) == ("resolved", "2027-01-15T08:01:00.000Z")


def test_a_death_counts_for_an_hour(alerting: Alerting, clock: ManualClock, dead: int) -> None:
    alerting.sweep(FAR)
    clock.advance(HOUR)
    alerting.sweep(FAR)
    assert states(alerting) == {("dead", HANDLER): "firing"}
    clock.advance(1)
    alerting.sweep(FAR)
    assert states(alerting) == {("dead", HANDLER): "resolved"}


def test_one_that_comes_and_goes_is_told_once_in_a_while(
    alerting: Alerting, instance: Instance, queue: QueueInMemory, clock: ManualClock, sink: Sink, dead: int
) -> None:
    for _ in range(3):
        alerting.sweep(FAR)
        instance.operators.dead_letters.discard(*dead_ids(instance), actor=ADA)
        clock.advance(60)
        alerting.sweep(FAR)
        die(instance, queue)
    assert [message["state"] for message in sink.told] == ["firing", "resolved"]
    clock.advance(HOUR - 180)
    alerting.sweep(FAR)
    assert [message["state"] for message in sink.told] == ["firing", "resolved", "firing"]
    assert states(alerting) == {("dead", HANDLER): "firing"}


def test_a_message_is_signed_and_has_a_key_of_its_own(alerting: Alerting, sink: Sink, dead: int) -> None:
    sink.answers = [503]
    alerting.sweep(FAR)
    alerting.clock.advance(30)  # type: ignore[attr-defined]
    alerting.sweep(FAR)
    (path, headers, body), (_, again, _) = sink.posts
    expected = hmac.new(b"word", body, sha256).hexdigest()
    assert (path, headers["Headrace-Signature"]) == ("/ops", f"sha256={expected}")
    assert headers["Idempotency-Key"] == again["Idempotency-Key"] != ""


def test_a_message_that_was_not_taken_is_sent_again_later_and_shown_until_then(
    alerting: Alerting, database: Database, clock: ManualClock, sink: Sink, dead: int
) -> None:
    sink.answers = [500, 500]
    assert alerting.sweep(FAR)["notified"] == 0
    alerts = Alerts(database, clock, ())
    (unsent,) = alerts.list(limit=1)["unsent"]
    assert (unsent["state"], unsent["attempts"], unsent["error"]) == ("waiting", 1, "127.0.0.1 answered 500")
    alerting.sweep(FAR)
    assert len(sink.posts) == 1, "its time has not come"
    clock.advance(30)
    assert alerting.sweep(FAR)["notified"] == 0
    clock.advance(60)
    assert alerting.sweep(FAR)["notified"] == 1
    assert alerts.list(limit=1)["unsent"] == []


def test_a_message_that_nobody_takes_is_given_up_and_said_so(
    alerting: Alerting, database: Database, clock: ManualClock, sink: Sink, dead: int
) -> None:
    sink.answers = [500] * 100
    for _ in range(30):
        alerting.sweep(FAR)
        clock.advance(HOUR)
    assert len([told for told in sink.told if told["state"] == "firing"]) == 20
    assert {each["state"] for each in Alerts(database, clock, ()).list(limit=1)["unsent"]} >= {"failed"}


def test_other_routes_get_theirs_when_one_fails(
    database: Database, clock: ManualClock, instance: Instance, sink: Sink, mailbox: Sink, dead: int, unused_port: int
) -> None:
    routes = [
        Route("gone", Webhook(f"http://127.0.0.1:{unused_port}/")),
        Route("channel", Chat(f"{sink.url}/services/secret")),
        Route(
            "on-call", Mail("127.0.0.1", mailbox.port, "headrace@service.test", ("ada@service.test",), starttls=False)
        ),
        Route("queues", Webhook(f"{sink.url}/queues"), rules=(Rule.QUEUE_FULL,)),
    ]
    alerting = make_alerting(database, instance.contract, clock, routes=routes, service_url="http://service")
    assert alerting.sweep(FAR)["notified"] == 2
    (told,) = sink.told
    assert told["text"].splitlines()[0] == f"Firing: dead {HANDLER}"
    (letter,) = mailbox.letters
    assert (letter["Subject"], letter["To"]) == (f"[Headrace] Firing: dead {HANDLER}", "ada@service.test")
    assert "1 batch died" in letter.get_payload()
    (unsent,) = Alerts(database, clock, routes).list(limit=1)["unsent"]
    assert (unsent["route"], "does not answer" in unsent["error"]) == ("gone", True)


def test_a_mail_that_must_be_encrypted_is_not_told_to_a_host_that_does_not(mailbox: Sink) -> None:
    target = Mail("127.0.0.1", mailbox.port, "headrace@service.test", ("ada@service.test",))
    message = {"state": "firing", "rule": "dead", "object": "x", "detail": "", "fired_at": "", "page": ""}
    with pytest.raises(SendError, match="STARTTLS"):
        NetworkSender().send(Route("on-call", target), message, "1/1/firing/on-call")
    assert mailbox.letters == []


def test_a_crash_between_alert_and_sending_loses_no_message(
    alerting: Alerting, database: Database, clock: ManualClock, instance: Instance, sink: Sink, dead: int
) -> None:
    class Killed(BaseException):
        pass

    class Dying:
        def send(self, route: Route, message: dict[str, Any], key: str) -> None:
            raise Killed

        def ping(self, url: str) -> None:
            raise AssertionError("nothing is to be pinged")

    dying = make_alerting(database, instance.contract, clock, routes=alerting.outbox.routes, sender=Dying())
    with pytest.raises(Killed):
        dying.sweep(FAR)
    clock.advance(30)
    assert alerting.sweep(FAR) == {"alerts": 1, "notified": 1}
    assert len(sink.told) == 1


def test_two_sweeps_at_once_send_a_message_once(
    alerting: Alerting, database: Database, clock: ManualClock, instance: Instance, sink: Sink, dead: int
) -> None:
    class Slow(NetworkSender):
        def send(self, route: Route, message: dict[str, Any], key: str) -> None:
            alerting.sweep(FAR)
            super().send(route, message, key)

    slow = make_alerting(database, instance.contract, clock, routes=alerting.outbox.routes, sender=Slow())
    slow.sweep(FAR)
    assert len(sink.told) == 1


def test_an_acknowledged_alert_says_by_whom_and_the_next_firing_asks_again(
    alerting: Alerting, instance: Instance, queue: QueueInMemory, database: Database, clock: ManualClock, dead: int
) -> None:
    alerting.sweep(FAR)
    alerts = Alerts(database, clock, ())
    (alert,) = shown(alerting)
    alerts.acknowledge(alert["id"], actor=ADA)
    assert shown(alerting)[0]["acknowledged_by"] == ADA
    row = audited(database)[-1]
    assert (row.actor, row.action, row.object, row.new) == (
        ADA,
        "acknowledge",
        f"alert/{alert['id']}",
        f"dead {HANDLER}",
    )
    with pytest.raises(WrongState, match="acknowledged by ada"):
        alerts.acknowledge(alert["id"], actor="bob")
    with pytest.raises(NotFound):
        alerts.acknowledge(alert["id"] + 1, actor="bob")
    instance.operators.dead_letters.discard(dead, actor=ADA)
    alerting.sweep(FAR)
    with pytest.raises(WrongState, match="resolved"):
        alerts.acknowledge(alert["id"], actor="bob")
    die(instance, queue)
    alerting.sweep(FAR)
    (alert,) = shown(alerting)
    assert (alert["state"], alert["acknowledged_by"]) == ("firing", None)


def test_what_fires_stands_before_what_was_resolved(
    alerting: Alerting, instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock, dead: int
) -> None:
    alerting.sweep(FAR)
    instance.operators.dead_letters.discard(dead, actor=ADA)
    application.count = 1
    instance.start()
    deliver_all(queue, instance)
    instance.operators.dead_letters.discard(*dead_ids(instance), actor=ADA)
    clock.advance(60)
    alerting.sweep(FAR)
    clock.advance(60)
    application.count = 0
    alerting.sweep(FAR)
    order = [(alert["state"], alert["rule"]) for alert in shown(alerting)]
    assert order == sorted(order)
    assert Alerts(alerting.database, clock, ()).list(limit=1)["alerts"] == shown(alerting)[:1]


def test_the_heartbeat_is_heard_while_all_is_well_at_most_once_a_minute(
    database: Database, clock: ManualClock, instance: Instance, sink: Sink
) -> None:
    alerting = make_alerting(database, instance.contract, clock, heartbeat=f"{sink.url}/beat?id=1")
    alerting.sweep(FAR)
    clock.advance(59)
    alerting.sweep(FAR)
    assert [path for path, _, _ in sink.posts] == ["/beat?id=1"]
    clock.advance(1)
    alerting.sweep(FAR)
    assert len(sink.posts) == 2


def test_the_heartbeat_is_silent_while_work_waits_and_none_ends(
    database: Database, clock: ManualClock, instance: Instance, queue: QueueInMemory, sink: Sink
) -> None:
    alerting = make_alerting(database, instance.contract, clock, heartbeat=f"{sink.url}/beat")
    with database.write() as connection:
        instance.pusher.push(connection, instance.application.work, [1])
    clock.advance(601)
    alerting.sweep(FAR)
    assert states(alerting) == {("waiting", HANDLER): "firing"}
    assert sink.posts == []
    deliver_all(queue, instance)
    alerting.sweep(FAR)
    assert states(alerting) == {("waiting", HANDLER): "resolved"}
    assert len(sink.posts) == 1


def test_a_heartbeat_that_nobody_hears_does_not_stop_the_sweep(
    database: Database, clock: ManualClock, instance: Instance, unused_port: int
) -> None:
    alerting = make_alerting(database, instance.contract, clock, heartbeat=f"http://127.0.0.1:{unused_port}/")
    assert alerting.sweep(FAR) == {"alerts": 0, "notified": 0}


def test_messages_are_kept_for_a_week(alerting: Alerting, database: Database, clock: ManualClock, dead: int) -> None:
    alerting.sweep(FAR)
    clock.advance(7 * 86_400)
    alerting.sweep(FAR)
    assert messages(database) == 2, "the resolved one has come"
    clock.advance(1)
    alerting.sweep(FAR)
    assert messages(database) == 1


def messages(database: Database) -> int:
    with database.read() as connection:
        counted = connection.exec_driver_sql("SELECT count(*) FROM headrace_notifications")
        return int(counted.scalar_one())


def test_no_object_adds_a_line_to_a_headline() -> None:
    message = {"state": "firing", "rule": "late", "object": "/v1/cron/x\r\nBcc: all@service.test"}
    assert headline(message) == "Firing: late /v1/cron/x Bcc: all@service.test"
    assert json.dumps(headline(message)).isascii()
