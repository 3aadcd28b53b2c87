"""Deploy Node apps under PM2 to groups of hosts over SSH, without losing a request."""

from invoke import Collection

from . import build, deploy, init, logs, migrate, ops, picture, reload, resume, rollback, touch

# No default task: a bare `fab` must print help, not deploy.
namespace = Collection(
    deploy.deploy, build.build, migrate.migrate, reload.reload, reload.rolling, rollback.rollback, resume.resume, resume.abort,
    *ops.verbs,
    *logs.verbs,
    *touch.verbs,
    picture.report,
    init.init, init.schema,
)
