"""`headrace schedules`: cron.yaml and the times in it; and the schedules of a running service, by its admin API."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from headrace.cli.faults import count, report, summarise
from headrace.cli.services import client_of, folder_option, json_option, tell
from headrace.clock import SystemClock
from headrace.config import load_cron_file
from headrace.errors import ConfigError, Fault
from headrace.schedules import ScheduleError, TimezoneError, parse_schedule

MOST_TIMES = 1000
_ENDPOINT: Final = "/api/v1/schedules"
_FILE: Final = "file"


@click.group()
def command() -> None:
    """List and judge the schedules of cron.yaml; show when one fires; change those of a running service.

    show, set, pause, resume and send speak to the service that `headrace dev` started in the application's folder;
    or to the one that HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN. The others read files.
    """


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--env", "environment", metavar="NAME", help="Lay cron.NAME.yaml beside it over the file first.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of faults instead of lines.")
def check(file: Path, environment: str | None, as_json: bool) -> None:
    """Judge one cron.yaml, by itself: keys, schedules and time zones.

    Prints each fault as file:line:column and what to do about it. Exit status 1 when there is an error.
    With an overlay it also prints the jobs that the overlay skips, and why.
    """
    faults: tuple[Fault, ...] = ()
    content = ""
    try:
        loaded = load_cron_file(file, environment)
    except ConfigError as error:
        faults = error.faults
    else:
        content = count(len(loaded.entries), "schedule")
        if not as_json:
            for url, reason in loaded.skipped:
                click.echo(f"skipped: {url}: {reason}")
    report(faults, summarise(file, faults, content), as_json=as_json)


@command.command("list")
@click.option(
    "--app", "folder", type=click.Path(file_okay=False, path_type=Path), default=".", help="The application's folder."
)
@click.option("--env", "environment", metavar="NAME", help="Lay cron.NAME.yaml over cron.yaml first.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_schedules(folder: Path, environment: str | None, as_json: bool) -> None:
    """List the schedules of an application's cron.yaml, each with its next time from now."""
    loaded = load_cron_file(folder / "cron.yaml", environment)
    now = datetime.fromtimestamp(SystemClock().now(), UTC)
    rows = [
        {
            "url": entry.url,
            "schedule": entry.schedule,
            "timezone": entry.timezone,
            "next": _utc(parse_schedule(entry.schedule, entry.timezone).next_after(now)),
        }
        for entry in loaded.entries
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['next']}  {row['url']}  ({row['schedule']}, {row['timezone']})")
    for url, reason in loaded.skipped:
        click.echo(f"skipped: {url}: {reason}")


class _Instant(click.ParamType[datetime]):
    """A point in time with its offset from UTC, as RFC 3339 writes it."""

    name = "instant"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f'"{value}" is no time; write one such as 2026-03-07T00:00:00Z', param, ctx)
        if instant.tzinfo is None:
            self.fail(f'"{value}" lacks its offset from UTC; end it with Z', param, ctx)
        return instant


@command.command("next")
@click.argument("schedule")
@click.option("--timezone", default="UTC", show_default=True, help="IANA name, such as America/Chicago.")
@click.option("--start", type=_Instant(), help="Show times after this one; now, if not given.")
@click.option("--count", "how_many", type=click.IntRange(1, MOST_TIMES), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of times in UTC.")
def next_times(schedule: str, timezone: str, start: datetime | None, how_many: int, as_json: bool) -> None:
    """Show the next times of SCHEDULE, in UTC and beside it in its own time zone.

    SCHEDULE is in App Engine's words ("every day 22:00", "1st monday of month 09:00", "every 5 minutes from
    10:00 to 14:00") or in the five fields of unix-cron ("*/5 * * * *").
    """
    try:
        parsed = parse_schedule(schedule, timezone)
        times = parsed.times(start or datetime.fromtimestamp(SystemClock().now(), UTC), how_many)
    except TimezoneError as error:
        raise click.BadParameter(str(error), param_hint="--timezone") from error
    except ScheduleError as error:
        raise click.BadParameter(str(error), param_hint="SCHEDULE") from error
    if as_json:
        click.echo(json.dumps([_utc(instant) for instant in times]))
        return
    for instant in times:
        wall = instant.astimezone(parsed.zone.info)
        click.echo(f"{_utc(instant)}  {wall:%a %Y-%m-%d %H:%M} {parsed.timezone}")


@command.command("show")
@folder_option
@json_option
def show_schedules(folder: Path, as_json: bool) -> None:
    """Show the schedules of a running service: what is in force, state, next time, last run."""
    schedules = client_of(folder).ask(_ENDPOINT)["schedules"]
    if as_json:
        click.echo(json.dumps(schedules))
        return
    table = Table("url", "schedule", "timezone", "missed", "state", "next", "last run")
    for each in schedules:
        text = f"{each['schedule']} (set; file: {each['file']['schedule']})" if each["edited"] else each["schedule"]
        last = "" if each["last_run"] is None else f"{each['last_at'] or ''} {each['last_run']['state']}".strip()
        upcoming = each["next"][0] if each["next"] else ""
        table.add_row(each["url"], text, each["timezone"], each["missed"], each["state"], upcoming, last)
    Console().print(table)


@command.command("set")
@click.argument("url")
@click.option("--schedule", help="Another schedule; `file` for cron.yaml's again.")
@click.option("--timezone", help="Another time zone; `file` for cron.yaml's again.")
@click.option("--missed", help="What becomes of times that passed unseen: skip, one, all; `file` for openapi.yaml's.")
@folder_option
@json_option
def set_schedule(
    url: str, schedule: str | None, timezone: str | None, missed: str | None, folder: Path, as_json: bool
) -> None:
    """Set a schedule over cron.yaml's, until it is given back to the file."""
    given = {"schedule": schedule, "timezone": timezone, "missed": missed}
    changes = {name: None if value == _FILE else value for name, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("Give --schedule, --timezone or --missed.")
    shown = client_of(folder).tell(_ENDPOINT, {"url": url, **changes}, method="PATCH")
    tell(shown, f"{url}: {shown['schedule']} {shown['timezone']}, next {_next(shown)}", as_json=as_json)


@command.command("pause")
@click.argument("url")
@folder_option
@json_option
def pause_schedule(url: str, folder: Path, as_json: bool) -> None:
    """Fire a schedule no more, until it is resumed."""
    tell(client_of(folder).tell(f"{_ENDPOINT}:pause", {"url": url}), f"{url}: paused", as_json=as_json)


@command.command("resume")
@click.argument("url")
@folder_option
@json_option
def resume_schedule(url: str, folder: Path, as_json: bool) -> None:
    """Fire a schedule again, from its next time on."""
    shown = client_of(folder).tell(f"{_ENDPOINT}:resume", {"url": url})
    tell(shown, f"{url}: resumed, next {_next(shown)}", as_json=as_json)


@command.command("send")
@click.argument("url")
@folder_option
@json_option
def send_schedule(url: str, folder: Path, as_json: bool) -> None:
    """Start a run of a schedule's job now, also while the schedule is paused."""
    tell(client_of(folder).tell(f"{_ENDPOINT}:send", {"url": url}), f"{url}: sent", as_json=as_json)


def _next(shown: dict[str, Any]) -> str:
    return str(shown["next"][0]) if shown["next"] else "never"


def _utc(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S}Z"
