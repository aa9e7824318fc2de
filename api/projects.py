"""Starts the work on projects."""

from governance.users import ids_with_projects_after
from handlers import projects
from headrace import Job


def audit_project_access(job: Job) -> None:
    """The grants of every user in a project are audited, a batch of users a task."""
    job.split(projects.audit_project_access, items=ids_with_projects_after)
