"""The child process that runs the real model: `python -m gateway.demo.real_server MODEL.gguf`.

Writes its URL and serves OpenAI's chat completions until its standard input ends, so that it never outlives the demo.
The only module that imports xllamacpp: llama.cpp crashes, if it does, in a process of its own.
"""

from __future__ import annotations

import sys

# Two answers at once, each with room for the prompt, the passages and a short answer.
SLOTS, TOKENS_A_SLOT = 2, 2048
THREADS = 2
ALIAS = "smollm2-135m-instruct"


def main(model: str) -> None:
    """Serve until nobody is there any more."""
    import xllamacpp  # noqa: PLC0415  # only in this process

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {ALIAS}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * TOKENS_A_SLOT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    # llama.cpp can load models over the network; this one never does.
    params.offline = True
    params.ui = False
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
