/** Whether the backends issue session ids, as their answers to `initialize` show, here or at another proxy. */
import { BoundedSet } from './bounded.ts';
import type { Backends, JsonObject, Peers } from './contract.ts';

export interface Issuers {
  /** A backend has answered an `initialize`, with an id or without. */
  learn(backend: string, issues: boolean): void;
  /** What other proxies have learnt. */
  hear(answers: readonly JsonObject[]): void;
  /**
   * None of the backends that are known issues ids: one that is in no registry was made up by the client, and is for it
   * and them to understand.
   */
  readonly none: boolean;
  /** The registry does not know the id. */
  unknown(id: string): void;
  /** It is one that the client has made up: the registry need not be asked again. */
  isOwn(id: string): boolean;
  close(): void;
}

const TOPIC = 'session/issuers';
/** Another proxy's word counts for so long, in milliseconds, where this one has learnt nothing. */
const HEARD_MS = 60_000;
/** Ids of clients' own that are remembered. */
const MOST_OWN = 20_000;

/** `askedTopic`: the question about a session that nobody here knows; what is known here goes along with its answer. */
export function createIssuers(
  peers: Peers,
  backends: Pick<Backends, 'list'>,
  askedTopic: string,
  now: () => number,
): Issuers {
  let known = new Map<string, boolean>();
  let heardNone = -Infinity;
  let ownIds = new BoundedSet(MOST_OWN);

  function own(): boolean | undefined {
    const listed = backends.list().flatMap(({ id }) => known.get(id) ?? []);
    return listed.length === 0 ? undefined : listed.some(Boolean);
  }
  function none(): boolean {
    const issues = own();
    return issues === undefined ? now() - heardNone < HEARD_MS : !issues;
  }
  function hear({ issuesIds }: JsonObject): void {
    if (issuesIds === false) heardNone = now();
    if (issuesIds === true) heardNone = -Infinity;
  }
  function answer(): JsonObject {
    const issuesIds = own();
    return issuesIds === undefined ? {} : { issuesIds };
  }
  const undo = [
    peers.on(askedTopic, answer),
    peers.on(TOPIC, (message) => {
      hear(message);
      return undefined;
    }),
  ];

  return {
    learn(backend, issues) {
      if (known.get(backend) === issues) return;
      const listed = new Set(backends.list().map(({ id }) => id));
      known = new Map([...known].filter(([id]) => listed.has(id)));
      known.set(backend, issues);
      if (issues) ownIds = new BoundedSet(MOST_OWN);
      peers.tell(TOPIC, answer());
    },
    hear: (answers) => answers.forEach(hear),
    get none() {
      return none();
    },
    unknown(id) {
      if (none()) ownIds.add(id);
    },
    isOwn: (id) => none() && ownIds.has(id),
    close: () => undo.forEach((one) => one()),
  };
}
