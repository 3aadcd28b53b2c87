"""Deploy Node apps under PM2 to groups of hosts over SSH, without losing a request."""

from invoke import Collection

from . import build, deploy, doctor, migrate, ops, reload, resume, rollback

# No default task: a bare `fab` must print help, not deploy.
namespace = Collection(
    deploy.deploy, build.build, migrate.migrate, reload.reload, reload.rolling, rollback.rollback,
    resume.resume, resume.abort, doctor.doctor, *ops.verbs,
)
