"""gunicorn finds this file by its name; the settings are the product's own."""

from headrace.service.gunicorn_conf import *  # noqa: F403
