"""A program in an environment of its own that reads a flag file by flagd's provider: questions in, answers out.

Line by line on stdin: [type, flag, fallback, targeting key or null, attributes]; on stdout: [value, variant, error code].
"""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext


def main(path: str) -> None:
    """Answer every question of stdin from the file at `path`."""
    api.set_provider_and_wait(FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=path))
    client = api.get_client()
    for line in sys.stdin:
        kind, flag, fallback, key, attributes = json.loads(line)
        ask = getattr(client, f"get_{kind}_details")
        details = ask(flag, fallback, EvaluationContext(key, attributes))
        sys.stdout.write(json.dumps([details.value, details.variant, details.error_code]) + "\n")
    api.shutdown()


main(sys.argv[1])
