"""Deploy Node apps under PM2 to groups of hosts over SSH, without losing a request."""

import sys

from invoke import Collection

# Invoke keeps no compiled modules for a file of tasks; this is a package, and would be compiled anew by each command.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

from . import heap  # noqa: E402

heap.collect_seldom()  # before the other modules are loaded

from . import build, deploy, doctor, env, hands, init, logs, migrate, ops, picture, reload, resume, rollback, touch  # noqa: E402
from .folded import Folded  # noqa: E402

# No default task: a bare `fab` must print help, not deploy.
namespace = Collection(
    deploy.deploy, build.build, migrate.migrate, reload.reload, reload.rolling, rollback.rollback, resume.resume, resume.abort,
    doctor.doctor,
    *ops.verbs,
    *logs.verbs,
    *touch.verbs,
    *hands.verbs,
    picture.report,
    init.init,
)
env.namespace.unfold(namespace)
Folded(init.schema).tuck(namespace)  # a listing of thirty lines is none that anybody reads
