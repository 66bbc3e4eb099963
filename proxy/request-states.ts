/** Which backend issued which `requestState`: a server without sessions may seal it with a key of its own process. */
import { hash as digest } from 'node:crypto';
import { BoundedMap } from './bounded.ts';
import type { Exchange, JsonObject, JsonRpcMessage, Peers, Sink } from './contract.ts';
import { parseMessages } from './jsonrpc.ts';

export interface RequestStates {
  /**
   * The sink with an ear: what the backend's answer bears as `requestState` (MCP 2026-07-28, "Multi Round-Trip Requests")
   * is remembered, and told to the other proxies, before the client sees it.
   */
  hear(sink: Sink, backend: string): Sink;
  /**
   * The id of the backend that issued the `requestState` which the exchange brings back; undefined where it brings none,
   * or nobody knows. `ask`: the other proxies are asked where this one does not know.
   */
  issuerOf(exchange: Exchange, ask: boolean): Promise<string | undefined>;
  close(): void;
}

/** Said with the SHA-256 of a state and the backend's id; and asked, with the SHA-256 alone. */
const TOPIC = { issued: 'request-state/issued', whoIssued: 'request-state/who-issued' } as const;
const MOST = 10_000;
/** Milliseconds. The codec of the TypeScript SDK seals a state for as long. */
const LIFE = 600_000;
/** Milliseconds until other proxies are not waited for any longer. */
const OTHERS_TAKE = 300;
/** States that are asked for at the same time; with more, any backend is taken. */
const MOST_ASKED = 64;
/** Characters of a backend's id that is heard of. */
const LONGEST_ID = 1_024;
const KEY = 'requestState';
const QUOTED = `"${KEY}"`;

/** `now` is in milliseconds. */
export function createRequestStates(peers: Peers, now: () => number): RequestStates {
  const issued = newIssued(now);
  let asked = 0;
  const undo = [
    peers.on(TOPIC.issued, (message) => {
      issued.hear(message);
      return undefined;
    }),
    peers.on(TOPIC.whoIssued, ({ hash }) => {
      const backend = typeof hash === 'string' ? issued.by(hash) : undefined;
      return backend === undefined ? undefined : { hash, backend };
    }),
  ];

  function learn(messages: readonly JsonRpcMessage[], backend: string): void {
    for (const message of messages) {
      const state = 'result' in message ? message.result[KEY] : undefined;
      if (typeof state !== 'string') continue;
      const hash = digest('sha256', state);
      issued.add(hash, backend);
      peers.tell(TOPIC.issued, { hash, backend });
    }
  }
  /** A state may come back through another proxy sooner than what is told of it. */
  async function askOthers(hash: string): Promise<string | undefined> {
    if (asked >= MOST_ASKED) return undefined;
    asked += 1;
    const until = (answer: JsonObject): boolean => answer['hash'] === hash;
    const { answers } = await peers.ask(TOPIC.whoIssued, { hash }, { ms: OTHERS_TAKE, until });
    asked -= 1;
    for (const answer of answers) if (until(answer)) issued.hear(answer);
    return issued.by(hash);
  }

  return {
    hear: (sink, backend) => new HearingSink(sink, (messages) => learn(messages, backend)),
    async issuerOf({ intent }, ask) {
      const state = intent.kind === 'any' ? stateIn(intent.messages) : undefined;
      if (state === undefined) return undefined;
      const hash = digest('sha256', state);
      return issued.by(hash) ?? (ask ? askOthers(hash) : undefined);
    },
    close: () => undo.forEach((one) => one()),
  };
}

function stateIn(messages: readonly JsonRpcMessage[]): string | undefined {
  for (const message of messages) {
    const state = 'method' in message ? message.params?.[KEY] : undefined;
    if (typeof state === 'string') return state;
  }
  return undefined;
}

/** Backends by the hash of a state: the latest, each for its life. */
function newIssued(now: () => number) {
  const backends = new BoundedMap<{ readonly backend: string; readonly until: number }>(MOST);
  function add(hash: string, backend: string): void {
    backends.set(hash, { backend, until: now() + LIFE });
  }
  return {
    add,
    hear({ hash, backend }: JsonObject): void {
      if (typeof hash !== 'string' || hash.length !== 64) return;
      if (typeof backend === 'string' && backend.length <= LONGEST_ID) add(hash, backend);
    },
    by(hash: string): string | undefined {
      const found = backends.get(hash);
      return found !== undefined && found.until > now() ? found.backend : undefined;
    },
  };
}

/** Passes everything on as it came. A body that comes in pieces, one over a mebibyte, is not read. */
class HearingSink implements Sink {
  readonly #sink: Sink;
  readonly #heard: (messages: readonly JsonRpcMessage[]) => void;

  constructor(sink: Sink, heard: (messages: readonly JsonRpcMessage[]) => void) {
    this.#sink = sink;
    this.#heard = heard;
  }

  get shown(): Sink['shown'] {
    return this.#sink.shown;
  }

  heard(headers: Parameters<NonNullable<Sink['heard']>>[0]): void {
    this.#sink.heard?.(headers);
  }

  head(...head: Parameters<Sink['head']>): void {
    this.#sink.head(...head);
  }

  event(event: Parameters<Sink['event']>[0]): boolean {
    this.#heard(event.messages);
    return this.#sink.event(event);
  }

  chunk(bytes: Buffer): boolean {
    if (bytes.includes(QUOTED)) {
      const parsed = parseMessages(bytes.toString('utf8'));
      if (parsed.kind === 'messages') this.#heard(parsed.messages);
    }
    return this.#sink.chunk(bytes);
  }

  drained(): Promise<void> {
    return this.#sink.drained();
  }

  end(): void {
    this.#sink.end();
  }

  cut(): void {
    this.#sink.cut();
  }
}
