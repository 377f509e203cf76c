"""Other programs' files become a document of ours, with a report of what was taken and what was not.

flagd.py     a flagd file of flags
litellm.py   a LiteLLM `config.yaml`, section by section
models.py    its deployments: models with where they are asked
versions.py  deployments of one name become a flag's version
upstreams.py where they are asked: one upstream for each provider, address and key
providers.py what is known of providers: addresses, keys, who speaks OpenAI's format
secrets.py   references in the place of secrets
report.py    what became of each path of the file

Pure: nothing here reads a file or the environment, or knows a store; both are passed in.
"""
