"""What one process serves while its local brake holds something back."""

from __future__ import annotations

from flags.model import Kind, ObjectKey
from gateway.compiling import compile_serving
from gateway.overlay import overlaid
from policies.act import Breach
from policies.case import docket_of, layer_flags
from policies.diversion import Diversion
from policies.policy import ERROR_RATE, Policy
from policies.verdict import Standing, Verdict
from tests.gateway.builders import PROMPT, rollout, serving

FLAG = "support-bot.prompt"
ERRORS = Policy("errors", ERROR_RATE, limit=0.05)


def test_the_diverted_candidate_is_served_to_nobody_and_the_snapshot_itself_stays() -> None:
    before = serving({"v6": PROMPT, "v7": {"messages": []}}, prompt_state=rollout("v7", 50))
    flags = {key: compiled.flag for key, compiled in before.snapshot.flags.items()}
    docket = docket_of(flags, {"support-bot": layer_flags("support-bot", {})}, {"errors": ERRORS})
    case = docket.of_flag[FLAG]
    diversion = Diversion(Breach(case, ERRORS, Verdict("errors", case.key, Standing.BREACHED, 1.0, "failed")))

    snapshot = overlaid(before.snapshot, {FLAG: diversion, "gone.prompt": diversion})
    after = compile_serving(snapshot, before, {ObjectKey(Kind.FLAG, FLAG)})

    assert snapshot.flags[FLAG].coin is None
    assert after.routes["support-bot"].layers[0].flag.flag.withdrawn == {"v7"}
    assert before.snapshot.flags[FLAG].coin is not None
    assert overlaid(before.snapshot, {}) is before.snapshot
