"""The console of a service: its pages, over the service's own read models and actions."""

from flask import Flask

from headrace.console.access import Access
from headrace.console.sessions import Sessions
from headrace.console.site import BASE, Page, make_site
from headrace.contract.operations import Permission
from headrace.contract.principals import RootToken
from headrace.service.current import Service

PAGES = (
    Page("", "Overview", "o"),
    Page("/queues", "Queues", "q"),
    Page("/runs", "Runs", "r"),
    Page("/tasks", "Tasks", "t"),
    Page("/dead", "Dead letters", "d"),
    Page("/decisions", "Decisions", "e"),
    Page("/schedules", "Schedules", "s"),
    Page("/alerts", "Alerts", "a"),
    Page("/workers", "Workers", "w"),
    Page("/settings", "Settings", "n"),
    Page("/audit", "Audit", "u"),
    Page("/tokens", "Tokens", "k", needs=Permission.ADMIN),
)


def mount(app: Flask, service: Service) -> None:
    """Serve the console of `service` at /console. It stays closed where no admin token is set."""
    # The views are imported with the first console that is mounted: a service without one pays nothing.
    from headrace.console.views import register_all

    token = service.settings.admin_token
    access = Access(BASE, None if token is None else Sessions(token), service.tokens or RootToken(token))
    site = make_site(access, service.clock, PAGES)
    register_all(site)
    app.register_blueprint(site.blueprint)
