// A program that uses flags: the same file in Node and in a page. It asks its test what to do next, does it, and says
// what came of it and which events the provider told. It knows OpenFeature's SDKs, and nothing of Pointsman.

const inPage = typeof window !== 'undefined';
const control = inPage ? location.origin : process.argv[2];

// All that changes here: the SDK at work, its client, and the requests that the provider made.
let client;
let sdk;
const requests = [];

async function say(what) {
  await fetch(`${control}/said`, { method: 'POST', body: JSON.stringify(what) });
}

// The provider's own requests (not its event stream's): what it asked, and the answer's head.
async function recorded(...asked) {
  const request = new Request(...asked);
  const url = new URL(request.url);
  const made = { path: url.pathname, query: url.search, match: request.headers.get('if-none-match') };
  requests.push(made);
  const answer = await fetch(request);
  return Object.assign(made, { status: answer.status, etag: answer.headers.get('etag') }) && answer;
}

const kinds = {
  async web(options) {
    sdk = await import('@openfeature/web-sdk');
    const { OFREPWebProvider } = await import('@openfeature/ofrep-web-provider');
    return new OFREPWebProvider({ ...options, fetchImplementation: recorded });
  },
  async server(options) {
    sdk = await import('@openfeature/server-sdk');
    const { OFREPProvider } = await import('@openfeature/ofrep-provider');
    return new OFREPProvider({ ...options, fetchImplementation: recorded });
  },
};

function listen(api, events) {
  for (const event of Object.values(events)) {
    api.addHandler(event, (told) => {
      void say({ event, at: Date.now(), flags: told?.flagsChanged ?? [], message: told?.message ?? '' });
    });
  }
}

const verbs = {
  async start({ kind, options, context }) {
    const provider = await kinds[kind](options);
    const { OpenFeature } = sdk;
    if (!client) listen(OpenFeature, sdk.ProviderEvents);
    client = OpenFeature.getClient();
    if (context) await OpenFeature.setContext(context);
    await OpenFeature.setProviderAndWait(provider);
  },
  async ask({ type, key, fallback, context }) {
    const method = { boolean: 'Boolean', string: 'String', number: 'Number', object: 'Object' }[type];
    const details = await client[`get${method}Details`](key, fallback, context ?? undefined);
    return { ...details, isInteger: Number.isInteger(details.value) };
  },
  async context({ context }) {
    await sdk.OpenFeature.setContext(context);
  },
  async requests() {
    return requests;
  },
  async status() {
    return client.providerStatus;
  },
  async close() {
    await sdk.OpenFeature.close();
  },
};

async function obey() {
  for (;;) {
    const answer = await fetch(`${control}/next`);
    if (answer.status === 204) continue;
    if (answer.status === 410) return;
    const { id, verb, ...rest } = await answer.json();
    try {
      await say({ id, result: (await verbs[verb](rest)) ?? null });
    } catch (error) {
      await say({ id, error: `${error.name}: ${error.message}` });
    }
  }
}

await obey();
